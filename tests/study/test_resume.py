"""A run that goes on from its checkpoint is the run that was never interrupted, bit for bit."""

import dataclasses
import json
import shutil
import threading

import pytest
import torch
from torch import nn

from rectified.study.config.methods import known, parse
from rectified.study.config.runs import Run
from rectified.study.execution import checkpoint
from rectified.study.execution import execute as execute_module
from rectified.study.execution.execute import execute
from rectified.study.execution.limits import ANY, Limits, TimeLimitError
from rectified.study.execution.ranks import Ranks
from rectified.study.execution.training import Training
from rectified.study.storage.locks import LOCK, locked
from rectified.workloads.tasks import TASKS, BaseTask
from rectified.workloads.tasks.lr_decay import LinearDecay

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
EVERY_STEP = Limits(checkpoint_every=0, gradients=9)
NEVER = Limits(checkpoint_every=1e9, gradients=9)


class Killed(BaseException):
    """What no code catches, as it could not catch a signal."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tiny(BaseTask):
    """A task of seven batches, the last one smaller, whose model draws from the generator and remembers statistics.

    Its lr falls from step to step, gradients are clipped, weights decay, and those of the last two epochs are averaged.
    """

    def find(self, folder, say, fetch=True):
        raise NotImplementedError

    def load(self, folder):
        generator = torch.Generator().manual_seed(1)
        return torch.randn(52, 3, 4, 4, generator=generator), torch.randint(0, 3, (52,), generator=generator)

    def steps_per_epoch(self, batch_size):
        return -(-52 // batch_size)

    def model(self, data):
        layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.3), nn.Flatten(), nn.Linear(16, 3)]
        return nn.Sequential(*layers).to(memory_format=torch.channels_last)

    def batches(self, data, batch_size, generator, skip=0):
        order = torch.randperm(52, generator=generator)
        for indices in torch.split(order, batch_size)[skip:]:
            yield data[0][indices], data[1][indices]

    def loss(self, model, batch):
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    def evaluate(self, model, data):
        return {"test_loss": float(self.loss(model, data)), "test_accuracy": 0.0}

    def final(self, model, data):
        return {"averaged_loss": float(self.loss(model, data))}


TINY = Tiny(
    name="tiny",
    title="Tiny",
    metric="test_accuracy",
    metric_label="",
    larger_is_better=True,
    methods=("adam",),
    lrs=(0.1,),
    seeds=(0,),
    epochs=2,
    batch_size=8,
    weight_decay=0.01,
    clip=1.0,
    schedule=LinearDecay(),
    averaged=2,
)
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


def a_run(method="radam", lr=0.01, epochs=2, batch_size=8, task=TINY):
    at = parse(method).over(epochs * task.steps_per_epoch(batch_size))
    return Run(task, at, lr, 0, epochs, batch_size)


def run(this, data, folder, limits=ANY):
    """Execute to the end; returns what was reported on the way, without the last, which is that it is done."""
    *told, end = execute(this, data, folder, limits=limits)
    assert end == ("done", None, "")
    return told


def killed_after_every_checkpoint(monkeypatch, run_once):
    """Call that again and again, each time killed as soon as it has written a checkpoint; how often it was."""
    write, killed = checkpoint.write_checkpoint, 0

    def write_and_die(folder, state):
        write(folder, state)
        raise Killed

    monkeypatch.setattr(execute_module, "write_checkpoint", write_and_die)
    while True:
        try:
            run_once()
        except Killed:
            killed += 1
            assert killed < 100, "it gets nowhere"
        else:
            return killed


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


def damaged(path, how):
    content = path.read_bytes()
    if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    else:
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])


def half_a_run(tiny, folder, monkeypatch, steps=9):
    """A folder in which a run was killed after so many steps."""
    write = checkpoint.write_checkpoint

    def write_and_die(folder, state):
        write(folder, state)
        if state["step"] == steps:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(execute_module, "write_checkpoint", write_and_die)
        with pytest.raises(Killed):
            run(a_run(), tiny, folder, limits=EVERY_STEP)


@pytest.mark.parametrize("how", ["truncated", "empty", "one bit"])
def test_a_damaged_checkpoint_is_told_and_the_run_begins_anew(how, tiny, tmp_path, monkeypatch):
    whole, folder = tmp_path / "whole", tmp_path / "folder"
    run(a_run(), tiny, whole)
    half_a_run(tiny, folder, monkeypatch)
    damaged(folder / checkpoint.NAME, how)
    told = run(a_run(), tiny, folder)
    assert [kind for kind, *_ in told] == ["note", "row", "row"]
    assert "checkpoint.pt is damaged" in told[0][2]
    assert "starts over" in told[0][2]
    assert (folder / "rows.jsonl").read_bytes() == (whole / "rows.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"versions": {"rectified": "0.0.1"}}, "rectified 0.0.1, now"),
        ({"run": a_run("adam").key.as_dict()}, "belongs to another run, adam lr 0.01 seed 0"),
        ({"model": {}}, "belongs to another model or optimizer"),
        ({"losses": torch.tensor([float("nan")])}, "a loss that is not finite"),
        ({"losses": [0.5]}, "not the state of a run"),
        ({"order": torch.zeros(3)}, "not the state of a run"),
        ({"order": "today's"}, "not the state of a run"),
        ({"mean": {"weight": torch.zeros(3)}}, "the mean weights of another model"),
        ({"mean": 5}, "not the state of a run"),
        ({"steps": torch.tensor([[2.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]])}, "not in order"),
        ({"steps": torch.tensor([[1.0, float("inf"), 1.0, 1.0]])}, "must be finite"),
        ({"gradients": [(1, 2, (3.5,))]}, "not a histogram"),
        ({"gradients": [(1, 2)]}, "not the state of a run"),
        ({"step": 10**9}, "beyond the end of the run"),
        ({"step": -10}, "not the state of a run"),
        ({"step": "x"}, "not the state of a run"),
        ({"seconds": -1.0}, "seconds is -1.0"),
        ({"seconds": "x"}, "not the state of a run"),
        ({"rows": [5]}, "not the state of a run"),
        ({"rows": None}, "not the state of a run"),
        ({"random": [torch.zeros(3)]}, "not the state of a run"),
    ],
)
def test_a_checkpoint_of_something_else_is_told_and_the_run_begins_anew(change, says, tiny, tmp_path, monkeypatch):
    whole, folder = tmp_path / "whole", tmp_path / "folder"
    run(a_run(), tiny, whole)
    half_a_run(tiny, folder, monkeypatch)
    checkpoint.write_checkpoint(folder, checkpoint.read_checkpoint(folder) | change)
    told = run(a_run(), tiny, folder)
    assert says in told[0][2]
    assert (folder / "rows.jsonl").read_bytes() == (whole / "rows.jsonl").read_bytes()


def test_a_checkpoint_of_an_earlier_version_is_gone_on_from(tiny, tmp_path, monkeypatch):
    """When a run was called a cell, and single steps were not recorded."""
    whole, folder = tmp_path / "whole", tmp_path / "folder"
    run(a_run(), tiny, whole)
    half_a_run(tiny, folder, monkeypatch)
    state = checkpoint.read_checkpoint(folder)
    state["cell"] = state.pop("run")
    del state["steps"]
    checkpoint.write_checkpoint(folder, state)
    assert [kind for kind, *_ in run(a_run(), tiny, folder)] == ["resumed", "row"]
    assert (folder / "rows.jsonl").read_bytes() == (whole / "rows.jsonl").read_bytes()
    header, *steps = (whole / "steps.csv").read_text().splitlines()
    assert (folder / "steps.csv").read_text().splitlines() == [header, *steps[9:]]


def test_commits_may_change_within_a_run_and_are_all_kept(tiny, tmp_path, monkeypatch):
    for commit in ("aaa", "bbb"):
        here = {"torch": "2", "commit": commit}
        monkeypatch.setattr("rectified.study.execution.training.versions", lambda device, here=here: here)
        if commit == "aaa":
            half_a_run(tiny, tmp_path, monkeypatch)
    run(a_run(), tiny, tmp_path)
    assert json.loads((tmp_path / "done.json").read_text())["versions"]["commit"] == "aaa then bbb"


@pytest.mark.parametrize("rows", [b"", b'{"epoch": 1, "st', b"nonsense\n"])
def test_rows_are_those_of_the_checkpoint_whatever_the_file_holds(rows, tiny, tmp_path, monkeypatch):
    whole, folder = tmp_path / "whole", tmp_path / "folder"
    run(a_run(), tiny, whole)
    half_a_run(tiny, folder, monkeypatch)
    (folder / "rows.jsonl").write_bytes(rows)
    (folder / f".checkpoint.pt.{'0' * 16}.rectified-99999999").touch()  # of a write that was killed
    told = run(a_run(), tiny, folder)
    assert [kind for kind, *_ in told] == ["resumed", "row"]
    assert told[0][2] == "epoch 2 of 2, after step 9"
    assert (folder / "rows.jsonl").read_bytes() == (whole / "rows.jsonl").read_bytes()
    assert [path.name for path in folder.glob(".*")] == [LOCK]


def test_an_exception_takes_the_checkpoint_with_it_a_full_disk_does_not(tiny, tmp_path, monkeypatch):
    for error, stays in ((RuntimeError("a bug"), False), (OSError(28, "No space left on device"), True)):
        folder = tmp_path / type(error).__name__
        half_a_run(tiny, folder, monkeypatch)
        with monkeypatch.context() as patch:
            patch.setattr(Tiny, "evaluate", lambda *_, error=error: (_ for _ in ()).throw(error))
            with pytest.raises(type(error)):
                run(a_run(), tiny, folder)
        assert (folder / checkpoint.NAME).exists() == stays


def test_of_several_ranks_the_error_of_one_leaves_the_checkpoint_to_their_worker(tiny, tmp_path, monkeypatch):
    """It may be no more than the death of another."""

    class Two(Ranks):
        count = 2

    monkeypatch.setattr(Tiny, "evaluate", lambda *_: (_ for _ in ()).throw(RuntimeError("gloo: connection closed")))
    with pytest.raises(RuntimeError, match="gloo"):
        list(execute(a_run(), tiny, tmp_path, limits=EVERY_STEP, ranks=Two()))
    assert checkpoint.read_checkpoint(tmp_path)["step"] == 7


def test_a_row_is_reported_once_the_checkpoint_that_is_due_has_it(tiny, tmp_path):
    """Whoever is killed after a report does not make it again."""
    told = execute(a_run(), tiny, tmp_path, limits=EVERY_STEP)
    assert next(told).row["epoch"] == 1
    assert [row["epoch"] for row in checkpoint.read_checkpoint(tmp_path)["rows"]] == [1]
    told.close()


def test_a_run_out_of_time_stops_with_a_checkpoint_and_goes_on_when_it_is_given_more(tiny, tmp_path):
    whole, folder = tmp_path / "whole", tmp_path / "folder"
    run(a_run(), tiny, whole)
    for _ in range(2):  # the time is that of all calls together
        with pytest.raises(TimeLimitError, match=r"--run-minutes is 1e-09: stopped in epoch 1 of 2, after step 0"):
            run(a_run(), tiny, folder, limits=Limits(minutes=1e-9))
    told = run(a_run(), tiny, folder, limits=Limits(minutes=10))
    assert told[0][0] == "resumed"
    assert (folder / "rows.jsonl").read_bytes() == (whole / "rows.jsonl").read_bytes()


def test_a_folder_that_somebody_is_still_at_is_waited_for(tiny, tmp_path):
    """As a worker is whose parent was killed, for a moment."""
    with locked(tmp_path, wait=False):
        second = threading.Thread(target=run, args=(a_run(), tiny, tmp_path))
        second.start()
        second.join(0.5)
        assert second.is_alive()
        assert list(tmp_path.iterdir()) == [tmp_path / LOCK]
    second.join(60)
    assert (tmp_path / "done.json").exists()


def test_time_is_counted_over_calls(tiny, tmp_path, monkeypatch):
    half_a_run(tiny, tmp_path, monkeypatch)
    state = checkpoint.read_checkpoint(tmp_path)
    checkpoint.write_checkpoint(tmp_path, state | {"seconds": 3600.0})
    shutil.copytree(tmp_path, tmp_path / "copy")
    with pytest.raises(TimeLimitError, match=r"it ran for 60 minutes"):
        run(a_run(), tiny, tmp_path / "copy", limits=Limits(minutes=59))
    run(a_run(), tiny, tmp_path)
    assert json.loads((tmp_path / "done.json").read_text())["seconds"] > 3600
