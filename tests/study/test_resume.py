"""A run that goes on from its checkpoint is the run that was never interrupted, bit for bit."""

import dataclasses
import json

import pytest
import torch
from tiny_runs import EVERY_STEP, NEVER, TINY, a_run, run

from killed_runs import Killed, killed_after_every_checkpoint
from rectified.study.config.methods import known
from rectified.study.execution import checkpoint
from rectified.study.execution import execute as execute_module
from rectified.study.execution.training import Training
from rectified.workloads.tasks import TASKS

MINI = TASKS["fashion-mnist-mini"]
AUGMENTED = dataclasses.replace(TASKS["fashion-mnist-resnet20"], images=6000)
# Every optimizer, and every warmup on one of them.
NAMES = [name for name in known() if "+" not in name or name.startswith("adam+")]
METHODS = [
    *(name.replace("-N%", "-50%").replace("-N", "-9") for name in NAMES),
    "schedulefree.RAdamScheduleFree",
    "torch.optim.NAdam+rectified",
    "pytorch_optimizer.AdaBelief",
]
USUAL = ("adam", "radam", "sgd", "lamb", "cocob", "adam+untuned-linear", "schedulefree.RAdamScheduleFree")
assert set(USUAL) <= set(METHODS)
STEPS = 14


@pytest.fixture
def tiny():
    """The tiny task's data."""
    return TINY.load(None)


@pytest.fixture
def begun(monkeypatch):
    """Every run that was begun, as it is in the end."""
    found = []
    begin = Training.begin

    def watch(*args):
        found.append(begin(*args))
        return found[-1]

    monkeypatch.setattr(Training, "begin", watch)
    return found


def everything(training):
    """Weights, statistics, moments, clocks, generators, losses: the bytes of a checkpoint, without the time."""
    state = training.state()
    del state["seconds"]
    return state


def same(a, b):
    """Whether two states are equal to the bit and to the stride."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.stride() == b.stride() and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.mark.parametrize(
    "method", [pytest.param(method, marks=[pytest.mark.slow] * (method not in USUAL)) for method in METHODS]
)
def test_killed_at_every_step_it_ends_as_if_it_never_was(method, tiny, begun, tmp_path, monkeypatch):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(a_run(method), tiny, whole, limits=NEVER)
    undisturbed = everything(begun[-1])
    times = killed_after_every_checkpoint(monkeypatch, lambda: run(a_run(method), tiny, killed, limits=EVERY_STEP))
    assert times == STEPS + 1, "at each step, and at the end of the first epoch"
    assert same(everything(begun[-1]), undisturbed)
    for name in ("rows.jsonl", "gradients.csv", "steps.csv"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    done = [json.loads((folder / "done.json").read_text()) for folder in (whole, killed)]
    assert [(d["status"], d["step"], d["rows"]) for d in done] == [("done", STEPS, 2)] * 2
    assert not (killed / checkpoint.NAME).exists()


def test_data_that_cannot_be_entered_in_the_middle_goes_on_from_the_last_whole_epoch(
    tiny, begun, tmp_path, monkeypatch
):
    """However seldom checkpoints are due: docs/your-own-task.md promises it."""
    streamed = a_run(task=dataclasses.replace(TINY, resumable=False))
    run(streamed, tiny, tmp_path / "whole", limits=NEVER)
    undisturbed, taken = everything(begun[-1]), []
    take = Training.take

    def die_in_the_second_epoch(self, batch):
        taken.append(self.step)
        if len(taken) == STEPS // 2 + 3:
            raise Killed
        return take(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "take", die_in_the_second_epoch)
        with pytest.raises(Killed):
            run(streamed, tiny, tmp_path / "killed", limits=EVERY_STEP)
        run(streamed, tiny, tmp_path / "killed", limits=NEVER)
    assert taken == [*range(STEPS // 2 + 3), *range(STEPS // 2, STEPS)], "the second epoch begins again"
    assert same(everything(begun[-1]), undisturbed)
    for name in ("rows.jsonl", "steps.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("method", ["radam", pytest.param("sgd", marks=pytest.mark.slow)])
def test_so_does_a_real_network(method, begun, tmp_path, monkeypatch):
    data = MINI.load(MINI.find(None, print))
    this = a_run(method, batch_size=1500, task=MINI)
    run(this, data, tmp_path / "whole", limits=NEVER)
    undisturbed = everything(begun[-1])
    killed_after_every_checkpoint(monkeypatch, lambda: run(this, data, tmp_path / "killed", limits=EVERY_STEP))
    assert same(everything(begun[-1]), undisturbed)


@pytest.mark.parametrize("task", [MINI, AUGMENTED], ids=["plain", "augmented"])
def test_an_epoch_can_begin_at_any_of_its_batches(task):
    data = task.load(MINI.find(None, print))
    size = 2500
    whole = list(task.batches(data, size, first := torch.Generator().manual_seed(5)))
    for skip in range(len(whole) + 1):
        rest = list(task.batches(data, size, generator := torch.Generator().manual_seed(5), skip=skip))
        assert same(rest, whole[skip:])
        assert torch.equal(generator.get_state(), first.get_state())


def test_a_killed_run_is_drawn_once_in_tensorboard(tiny, tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    # As if it had been killed after its last row, its last checkpoint of before that.
    write = checkpoint.write_checkpoint
    kept = tmp_path / "kept"
    kept.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(execute_module, "write_checkpoint", lambda _, now: write(kept, now) if now["step"] == 9 else None)
        run(a_run(), tiny, tmp_path / "run", limits=EVERY_STEP)
    (tmp_path / "run" / "done.json").unlink()
    (kept / checkpoint.NAME).rename(tmp_path / "run" / checkpoint.NAME)
    told = run(a_run(), tiny, tmp_path / "run", limits=NEVER)
    assert [(kind, row["epoch"]) for kind, row, _ in told] == [("resumed", 1), ("row", 2)]
    board = EventAccumulator(str(tmp_path / "run")).Reload()
    assert len(list((tmp_path / "run").glob("events.*"))) == 2
    assert [event.step for event in board.Scalars("train_loss")] == [7, 14]
    assert [event.step for event in board.Scalars("step/loss")] == list(range(1, STEPS + 1))
