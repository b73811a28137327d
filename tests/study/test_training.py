"""What a task asks of every run: decay, clipping, a schedule, averaged weights, histograms of gradients."""

import dataclasses
import json
from itertools import pairwise

import pytest
import torch
from test_resume import NEVER, STEPS, TINY, a_run, run

from rectified.study.config.methods import parse
from rectified.study.execution.execute import train
from rectified.study.execution.gradients import EDGES, parse_histograms
from rectified.study.execution.limits import Limits
from rectified.study.execution.training import Training
from rectified.workloads.tasks.lr_decay import LinearDecay

PLAIN = dataclasses.replace(TINY, weight_decay=0.0, clip=float("inf"), averaged=1)


@pytest.mark.parametrize(
    ("name", "decay", "decoupled"),
    [
        ("adam", 0.1, True),
        ("adamw", 0.1, True),
        ("radam", 0.1, True),
        ("adam+linear-9", 0.1, True),
        ("radam-4adam", 0.1, True),
        ("sgd", 0.1, None),
        ("adam(weight_decay=0.3)", 0.3, False),
        ("adamw(weight_decay=0.3)", 0.3, True),
    ],
)
def test_a_tasks_decay_is_of_methods_without_one_of_their_own(name, decay, decoupled):
    (group,) = parse(name).build([torch.nn.Parameter(torch.ones(1))], 0.5, weight_decay=0.1).param_groups
    assert group["weight_decay"] == decay
    assert group.get("decoupled_weight_decay") == decoupled


def steps_of(this, count):
    """The run after so many steps."""
    data = this.task.load(None)
    training = Training.begin(this, data)
    for batch, _ in zip(this.task.batches(data, this.batch_size, training.generator()), range(count), strict=False):
        assert training.take(batch)
    return training


def test_the_lr_follows_the_tasks_schedule_and_the_gradients_are_clipped():
    """Against a loop written out with torch's own optimizer."""
    clipped = dataclasses.replace(PLAIN, clip=0.5)
    this = a_run("sgd(momentum=0.0)", lr=0.2, task=clipped)
    taken = steps_of(this, 5)
    alone = Training.begin(this, data := clipped.load(None))
    model, batches = alone.model, clipped.batches(data, this.batch_size, alone.generator())
    shortened = 0
    for step, batch in zip(range(5), batches, strict=False):
        model.zero_grad()
        clipped.loss(model, batch).backward()
        norm = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
        shortened += norm > 0.5
        factor = min(1.0, 0.5 / (float(norm) + 1e-6)) * 0.2 * (1 - step / STEPS)
        with torch.no_grad():
            for p in model.parameters():
                p -= factor * p.grad
    assert shortened, "or it shows nothing"
    for ours, theirs in zip(taken.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert taken.optimizer.param_groups[0]["lr"] == pytest.approx(0.2 * LinearDecay()(4, STEPS))


def test_what_is_measured_last_is_of_the_mean_weights(monkeypatch, tmp_path):
    """Of the last two of three epochs; the epoch's own measure is of the weights as they are."""
    seen, measured = [], []
    evaluate, final = type(TINY).evaluate, type(TINY).final

    def state(model):
        return {name: value.clone() for name, value in model.state_dict().items()}

    monkeypatch.setattr(type(TINY), "evaluate", lambda self, m, d: seen.append(state(m)) or evaluate(self, m, d))
    monkeypatch.setattr(type(TINY), "final", lambda self, m, d: measured.append(state(m)) or final(self, m, d))
    run(a_run(epochs=3), TINY.load(None), tmp_path / "run", limits=NEVER)
    ((mean,), (_, second, third)) = measured, seen
    for name, value in mean.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (second[name] + third[name]) / 2)
        else:
            assert torch.equal(value, third[name])
    assert not torch.equal(second["0.weight"], third["0.weight"])
    rows = [json.loads(line) for line in (tmp_path / "run" / "rows.jsonl").read_text().splitlines()]
    assert ["averaged_loss" in row for row in rows] == [False, False, True]
    assert rows[-1]["averaged_loss"] != rows[-1]["test_loss"]


def test_histograms_count_every_gradient_before_it_is_clipped(tmp_path):
    """As the same loss gives them, also where it is scaled and clipped."""
    task = dataclasses.replace(PLAIN, loss_scale=1024.0, clip=1e-3)
    this = a_run("adam", task=task)
    run(this, task.load(None), tmp_path / "run", limits=Limits(gradients=3))
    found = parse_histograms((tmp_path / "run" / "gradients.csv").read_bytes())
    assert [h.step for h in found] == [1, 2, 3]
    begun = Training.begin(this, data := task.load(None))
    task.loss(begun.model, next(task.batches(data, 8, begun.generator()))).backward()
    sizes = torch.cat([p.grad.flatten() for p in begun.model.parameters()]).abs()
    inner = [int(((sizes >= 10**low) & (sizes < 10**high)).sum()) for low, high in pairwise(EDGES)]
    assert abs(sum(found[0].counts) + found[0].zeros - sizes.numel()) == 0
    assert sum(abs(a - b) for a, b in zip(found[0].counts, inner, strict=True)) <= 4, "on an edge by rounding"


def test_without_being_asked_none_are_recorded(tmp_path):
    run(a_run(), TINY.load(None), tmp_path / "run")
    assert not (tmp_path / "run" / "gradients.csv").exists()
    with pytest.raises(ValueError, match=r"^gradients is -1: it must be 0 or a number of steps$"):
        Limits(gradients=-1)


def test_tensorboard_has_the_histograms(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(a_run(), TINY.load(None), tmp_path / "run", limits=Limits(gradients=2))
    board = EventAccumulator(str(tmp_path / "run"), size_guidance={"histograms": 0}).Reload()
    assert [event.step for event in board.Histograms("log10 of gradients")] == [1, 2]


@pytest.mark.parametrize("change", [{"clip": 0.0}, {"weight_decay": -1.0}, {"loss_scale": 0.0}])
def test_a_task_that_cannot_be_is_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        dataclasses.replace(TINY, **change)


class Halving(torch.optim.SGD):
    """An optimizer that sets its own lr."""

    def step(self, closure=None):
        super().step(closure)
        for group in self.param_groups:
            group["lr"] *= 0.5


def test_an_optimizer_that_sets_its_own_lr_is_scheduled_in_proportion():
    task, this = PLAIN, a_run("sgd", lr=0.2, task=PLAIN)
    data = task.load(None)
    training = Training.begin(this, data)
    training.optimizer = Halving(training.model.parameters(), lr=0.2)
    for step, batch in zip(range(4), task.batches(data, this.batch_size, training.generator()), strict=False):
        assert training.take(batch)
        after = 0.2 * 0.5 ** (step + 1) * task.schedule(step, STEPS)
        assert training.optimizer.param_groups[0]["lr"] == pytest.approx(after)


def test_a_schedule_free_method_is_evaluated_with_its_averaged_weights():
    training = steps_of(a_run("schedulefree.AdamWScheduleFree", task=PLAIN), 4)
    weights = [p.detach().clone() for p in training.model.parameters()]
    training.switch(training=False)
    assert not training.model.training
    assert any(not torch.equal(p, w) for p, w in zip(training.model.parameters(), weights, strict=True))
    training.switch(training=True)
    for p, w in zip(training.model.parameters(), weights, strict=True):
        torch.testing.assert_close(p.detach(), w)


class Moved(tuple):
    """The tiny task's data after a move."""


def test_a_task_may_move_its_data_once_for_the_run(monkeypatch):
    """Batches, evaluation and the last measure then read the moved data, and the model is made from the loaded one."""
    moves, read = [], []
    kind = type(TINY)

    def on_device(self, data, device):
        moves.append(device)
        return Moved(data)

    def watched(name):
        original = getattr(kind, name)

        def method(self, *args, **rest):
            read.append((name, any(isinstance(each, Moved) for each in args)))
            return original(self, *args, **rest)

        monkeypatch.setattr(kind, name, method)

    monkeypatch.setattr(kind, "on_device", on_device, raising=False)
    for name in ("model", "batches", "evaluate", "final"):
        watched(name)
    this = a_run("adam")
    training = Training.begin(this, data := this.task.load(None))
    list(train(training, data, NEVER))
    assert moves == [torch.device("cpu")]
    each_epoch = [("batches", True), ("evaluate", True)]
    assert read == [("model", False), *each_epoch * 2, ("final", True)]
