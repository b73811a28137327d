"""check: it plays what a training would do, changes nothing, and says what is wrong with its arguments."""

import copy
import functools
import json
import math

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW
from torch.optim import lr_scheduler as schedules

import rectified
from rectified import check
from rectified.probe.finding import Finding, as_json, at_least
from rectified.probe.play.played import play
from rectified.probe.rules import RULES
from rectified.warmup import Linear, UntunedLinear


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))


def rules(found):
    return [finding.rule for finding in found]


SCHEDULES = {
    "lambda": lambda o: schedules.LambdaLR(o, lambda t: min(1, (t + 1) / 10) * 0.99**t),
    "linear": lambda o: schedules.LinearLR(o, 0.1, total_iters=10),
    "cosine": lambda o: schedules.CosineAnnealingLR(o, 40),
    "exponential": lambda o: schedules.ExponentialLR(o, 0.95),
    "steps": lambda o: schedules.MultiStepLR(o, [10, 30]),
    "one cycle": lambda o: schedules.OneCycleLR(o, 0.1, 60),
    "cyclic": lambda o: schedules.CyclicLR(o, 0.001, 0.1, 7, cycle_momentum=False),
    "restarts": lambda o: schedules.CosineAnnealingWarmRestarts(o, 9),
    "sequential": lambda o: schedules.SequentialLR(
        o, [schedules.LinearLR(o, 0.1, total_iters=10), schedules.ExponentialLR(o, 0.9)], [10]
    ),
    "chained": lambda o: schedules.ChainedScheduler(
        [schedules.LinearLR(o, 0.1, total_iters=10), schedules.ExponentialLR(o, 0.9)]
    ),
}
OPTIMIZERS = {
    "AdamW": lambda params: AdamW(params, lr=0.01),
    "tensor lr": lambda params: Adam(params, lr=torch.tensor(0.01)),
    "rectified.Adam": lambda params: rectified.Adam(params, lr=0.01, warmup=Linear(20)),
    "RAdam": lambda params: rectified.RAdam(params, lr=0.01),
    "torch RAdam": lambda params: torch.optim.RAdam(params, lr=0.01),
    "rectify": lambda params: rectified.rectify(AdamW(params, lr=0.01), UntunedLinear()),
}


def train(model, optimizer, scheduler, steps):
    """Train, and return the lr of every step."""
    lrs = []
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(8, 3)).square().mean().backward()
        lrs.append([float(group["lr"]) for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return lrs


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("taken", [0, 7])
def test_what_is_played_is_what_a_training_does(schedule, taken):
    model = net()
    optimizer = AdamW([{"params": model[0].parameters(), "lr": 0.03}, {"params": model[2].parameters()}], lr=0.01)
    scheduler = SCHEDULES[schedule](optimizer)
    train(model, optimizer, scheduler, taken)
    played = play(optimizer, scheduler, steps=50)
    lrs = train(model, optimizer, scheduler, 50)
    by_group = {index: group.lr for group in played.groups for index in group.indexes}
    for index in range(2):
        assert list(by_group[index]) == pytest.approx([row[index] for row in lrs], rel=1e-12)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_omega_is_that_of_the_steps(name):
    model = net()
    optimizer = OPTIMIZERS[name](model.parameters())
    train(model, optimizer, schedules.ConstantLR(optimizer, 1.0), 3)
    (group,) = play(optimizer, None, steps=30).groups
    inner = getattr(optimizer, "optimizer", optimizer)
    for expected in group.omega:
        model(torch.randn(8, 3)).square().mean().backward()
        optimizer.step()
        if (omega := inner.param_groups[0].get("omega")) is not None:
            assert omega == expected


@pytest.mark.parametrize("optimizer_name", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_nothing_is_changed(optimizer_name, schedule):
    model = net()
    optimizer = OPTIMIZERS[optimizer_name](model.parameters())
    if optimizer_name == "tensor lr" and schedule in ("one cycle", "cyclic"):
        pytest.skip("torch's own do not take a tensor")
    inner = getattr(optimizer, "optimizer", optimizer)
    scheduler = SCHEDULES[schedule](inner)
    train(model, optimizer, scheduler, 3)

    def everything():
        kept = [
            inner.state_dict(),
            scheduler.state_dict(),
            [dict(g) for g in inner.param_groups],
            torch.get_rng_state(),
        ]
        return copy.deepcopy(str(kept)), [p.detach().clone() for p in model.parameters()]

    before = everything()
    check(optimizer, scheduler, steps=60, accumulation=2, processes=2, batches_per_epoch=20, model=model)
    after = everything()
    assert before[0] == after[0]
    assert all(map(torch.equal, before[1], after[1]))


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 9, 10, 11])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_run_of_a_few_steps_can_be_checked(steps, schedule, name):
    if name == "tensor lr" and schedule in ("one cycle", "cyclic"):
        pytest.skip("torch's own do not take a tensor")
    optimizer = OPTIMIZERS[name](net().parameters())
    inner = getattr(optimizer, "optimizer", optimizer)
    for finding in check(optimizer, SCHEDULES[schedule](inner), steps, batches_per_epoch=2, accumulation=2):
        assert str(finding)
        json.loads(as_json([finding]))
        assert finding.steps is None or 1 <= finding.steps[0] <= finding.steps[1]


def test_a_function_of_the_step_is_a_schedule():
    optimizer = AdamW(net().parameters(), lr=0.1)
    (group,) = play(optimizer, lambda step: 1 / (step + 1), steps=4).groups
    assert list(group.lr) == pytest.approx([0.1, 0.05, 0.1 / 3, 0.025])
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_a_scheduler_per_epoch_and_one_that_steps_several_times():
    def ramp():
        optimizer = SGD(net().parameters(), lr=1.0)
        return optimizer, schedules.LambdaLR(optimizer, lambda t: t + 1)

    (group,) = play(*ramp(), steps=7, interval="epoch", batches_per_epoch=6, accumulation=2).groups
    assert list(group.lr) == [1, 1, 1, 2, 2, 2, 3]
    (group,) = play(*ramp(), steps=4, scheduler_steps=2).groups
    assert list(group.lr) == [1, 3, 5, 7]


def test_groups_with_the_same_plan_are_one_finding():
    model = net()
    groups = [
        {"params": [p], "weight_decay": decay} for p, decay in zip(model.parameters(), [0.0, 0.1] * 3, strict=True)
    ]
    found = [f for f in check(AdamW(groups, lr=1e-3), steps=1000) if f.rule == "no-warmup"]
    assert [f.groups for f in found] == [(0, 1, 2, 3, 4, 5)]


class Uncopied(nn.Module):
    """A model whose schedule is a method of its own."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def __deepcopy__(self, memo):
        raise AssertionError("copied")

    def factor(self, step, scale=1):
        return scale / (1 + step)


def test_a_schedule_that_belongs_to_a_model_does_not_copy_the_model():
    module = Uncopied()
    optimizer = AdamW(module.parameters(), lr=0.1)
    check(optimizer, schedules.LambdaLR(optimizer, module.factor), steps=20, model=module)


def test_a_scheduler_that_cannot_be_copied_is_refused_with_the_way_out():
    optimizer = AdamW(net().parameters(), lr=0.1)
    scheduler = schedules.LambdaLR(optimizer, lambda t: 1.0)
    scheduler.generator = (x for x in ())
    with pytest.raises(ValueError, match=r"LambdaLR cannot be copied.*pass a function of the step"):
        check(optimizer, scheduler, steps=20)


def test_reduce_on_plateau_depends_on_the_run_and_is_left_out():
    optimizer = AdamW(net().parameters(), lr=0.1)
    assert "schedule-too-short" not in rules(check(optimizer, schedules.ReduceLROnPlateau(optimizer), steps=100))


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"steps": 0}, ValueError, "steps is 0; it must be a whole number, 1 or more: how many optimizer steps"),
        ({"steps": 10.0}, ValueError, "steps is 10.0"),
        ({"steps": True}, ValueError, "steps is True"),
        ({"steps": 10, "accumulation": 0}, ValueError, "accumulation is 0"),
        ({"steps": 10, "processes": -1}, ValueError, "processes is -1"),
        ({"steps": 10, "batches_per_epoch": 0}, ValueError, "batches_per_epoch is 0"),
        ({"steps": 10, "interval": "batch"}, ValueError, "interval is 'batch'; it must be 'step' or 'epoch'"),
        ({"steps": 10, "interval": "epoch"}, ValueError, "batches_per_epoch is unknown: pass batches_per_epoch="),
        ({"steps": 10, "scheduler": 3}, TypeError, "scheduler is 3; it must be a torch LRScheduler"),
    ],
)
def test_wrong_arguments(arguments, error, says):
    with pytest.raises(error, match=says.replace("(", r"\(")):
        check(AdamW(net().parameters()), **arguments)


def test_not_an_optimizer():
    with pytest.raises(TypeError, match=r"optimizer is .*; it must be a torch.optim.Optimizer"):
        check(net(), steps=10)


def test_a_finding_is_plain_values():
    (found,) = check(rectified.AdamW(net().parameters(), weight_decay=0, warmup=Linear(5000)), steps=100)[:1]
    again = json.loads(as_json([found]))[0]
    assert again["rule"] == "warmup-outlives-run"
    assert again["evidence"]["omega_at_end"] == pytest.approx(0.02)
    assert json.loads(as_json([Finding("x", "note", "", "", evidence={"y": math.nan})]))[0]["evidence"] == {"y": None}
    with pytest.raises(ValueError, match="severity is 'fatal'"):
        Finding("x", "fatal", "", "")


def test_the_most_severe_come_first():
    found = check(rectified.AdamW(net().parameters(), warmup=Linear(5000)), steps=100)
    order = [("error", "warning", "note").index(f.severity) for f in found]
    assert order == sorted(order)
    assert at_least("error", found) == [f for f in found if f.severity == "error"]
    assert at_least("note", found) == found


def test_every_rule_file_says_when_it_is_wrong():
    for rule in RULES:
        module = __import__(rule.__module__, fromlist=["x"])
        assert "False positives:" in module.__doc__, module.__name__
        assert rule.__doc__


# Coincidences that are no mistakes: each was a false alarm of a first version.


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_constant_schedule_whose_warmup_is_a_part_of_the_run(factor):
    optimizer = AdamW(net().parameters(), lr=1e-3)
    scheduler = schedules.LambdaLR(optimizer, lambda t: min(1, (t + 1) / (4000 // factor)))
    found = check(optimizer, scheduler, 4000, accumulation=factor, processes=factor)
    assert not at_least("error", found)


def test_a_milestone_at_half_of_the_run():
    optimizer = SGD(net().parameters(), lr=0.1)
    scheduler = schedules.MultiStepLR(optimizer, [1000, 2000])
    assert not at_least("error", check(optimizer, scheduler, 4000, accumulation=2, batches_per_epoch=4))


def test_as_many_warmup_steps_as_epochs():
    optimizer = AdamW(net().parameters(), lr=1e-3)
    scheduler = schedules.LambdaLR(optimizer, lambda t: min(1, (t + 1) / 100))
    assert not at_least("error", check(optimizer, scheduler, 5000, batches_per_epoch=50))


def test_a_schedule_that_ends_with_the_run_in_many_processes():
    optimizer = AdamW(net().parameters(), lr=1e-3)
    scheduler = schedules.LambdaLR(optimizer, lambda t: max(0.0, min((t + 1) / 10, 1 - t / 500)))
    assert check(optimizer, scheduler, 500, accumulation=4, processes=8)[0].severity == "note"


@pytest.mark.parametrize(("accumulation", "processes"), [(2, 1), (4, 1), (1, 8), (3, 2)])
@pytest.mark.parametrize("name", ["cosine", "cosine to a floor", "half cosine", "inverse square root", "linear"])
def test_a_schedule_that_goes_on_beyond_the_run(name, accumulation, processes):
    """A cosine rises again after its end, and an inverse square root never ends."""
    optimizer = AdamW(net().parameters(), lr=1e-3)
    warmup = lambda t: min(1.0, (t + 1) / 30)  # noqa: E731
    scheduler = {
        "cosine": lambda: schedules.CosineAnnealingLR(optimizer, 600),
        "cosine to a floor": lambda: schedules.CosineAnnealingLR(optimizer, 600, eta_min=1e-4),
        "half cosine": lambda: schedules.LambdaLR(
            optimizer, lambda t: warmup(t) * max(0.0, 0.5 * (1 + math.cos(math.pi * t / 600)))
        ),
        "inverse square root": lambda: schedules.LambdaLR(optimizer, lambda t: min(warmup(t), ((t + 1) / 30) ** -0.5)),
        "linear": lambda: schedules.LinearLR(optimizer, 1.0, 0.0, total_iters=600),
    }[name]()
    found = check(optimizer, scheduler, 600, accumulation=accumulation, processes=processes, batches_per_epoch=60)
    assert not list(map(str, at_least("error", found)))


@pytest.mark.parametrize("epochs", [2, 3, 6, 30])
def test_a_schedule_per_epoch_that_ends_with_the_run(epochs):
    optimizer = AdamW(net().parameters(), lr=1e-3)
    scheduler = schedules.CosineAnnealingLR(optimizer, epochs)
    found = check(optimizer, scheduler, 10 * epochs, batches_per_epoch=20, accumulation=2, interval="epoch")
    assert not list(map(str, at_least("error", found)))


def test_a_warmup_per_epoch_that_outlives_the_run():
    optimizer = AdamW(net().parameters(), lr=1e-3)
    scheduler = schedules.LinearLR(optimizer, 0.01, total_iters=20)
    found = check(optimizer, scheduler, 60, batches_per_epoch=10, interval="epoch")
    assert found[0].rule == "warmup-outlives-run"


def test_an_incomplete_accumulation_is_a_step():
    optimizer = SGD(net().parameters(), lr=1.0)
    scheduler = schedules.LambdaLR(optimizer, lambda t: t + 1)
    (group,) = play(optimizer, scheduler, 9, accumulation=3, batches_per_epoch=10, interval="epoch").groups
    assert list(group.lr) == [1] * 4 + [2] * 4 + [3]


def test_a_scheduler_of_another_library_that_needs_a_metric_is_left_out():
    class Greedy(schedules.LRScheduler):
        def __init__(self, optimizer):
            self.optimizer, self.last_epoch = optimizer, 0
            self.base_lrs = self._last_lr = [group["lr"] for group in optimizer.param_groups]

        def step(self, metrics, epoch=None):
            raise AssertionError("stepped")

    optimizer = AdamW(net().parameters(), lr=1e-3)
    assert "schedule-too-short" not in rules(check(optimizer, Greedy(optimizer), 100))


def test_clocks_of_a_scheduler_that_steps_once_per_process():
    model = net()
    optimizer = AdamW(model.parameters(), lr=1e-3)
    scheduler = schedules.LambdaLR(optimizer, lambda t: 1 - t / 400)
    for _ in range(12):
        train(model, optimizer, scheduler, 1)
        scheduler.step()
    assert "clocks-differ" not in rules(check(optimizer, scheduler, 88, processes=2, scheduler_steps=2))
    assert "clocks-differ" in rules(check(optimizer, scheduler, 88))


@pytest.mark.parametrize("wrapped", ["partial", "sequential"])
def test_a_model_behind_a_partial_or_in_a_sequence_is_not_copied_either(wrapped):
    module = Uncopied()
    optimizer = AdamW(module.parameters(), lr=0.1)
    scheduler = schedules.LambdaLR(optimizer, functools.partial(module.factor, scale=1.0))
    if wrapped == "sequential":
        scheduler = schedules.SequentialLR(optimizer, [schedules.ConstantLR(optimizer, 0.5), scheduler], [5])
    check(optimizer, scheduler, steps=20)


def test_the_title_of_two_warmups_names_both_lengths():
    optimizer = rectified.AdamW(net().parameters(), warmup=Linear(20))
    scheduler = schedules.LambdaLR(optimizer, lambda t: min(1.0, (t + 1) / 50))
    (found,) = (f for f in check(optimizer, scheduler, 400) if f.rule == "two-warmups")
    assert found.title.startswith("the schedule warms up over 50 steps and the optimizer over 20")
