"""Configurations and exactly what a check finds in them: each was judged wrongly once, or is close to one that was."""

import math
import warnings

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW
from torch.optim import lr_scheduler as schedules

import rectified
from rectified import check
from rectified.warmup import Linear

BORED = {"no-warmup", "memory-longer-than-run", "warmup-shorter-than-memory", "decay-not-warmed-up"}


def weights(count=1):
    return [nn.Parameter(torch.randn(4, 4)) for _ in range(count)]


def after(optimizer, steps):
    """An optimizer that has taken some steps."""
    for _ in range(steps):
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad = torch.randn_like(p)
        optimizer.step()
    optimizer.zero_grad()
    return optimizer


def stepped(scheduler, steps):
    for _ in range(steps):
        scheduler.step()
    return scheduler


def found_by(optimizer, make, steps, **options):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected call of", UserWarning)
        scheduler = make(optimizer)
        return check(optimizer, scheduler, steps, **options)


def chain(*factors):
    """Linear warmups of these lengths, in one ChainedScheduler."""
    return lambda o: schedules.ChainedScheduler([schedules.LinearLR(o, 0.01, total_iters=n) for n in factors])


def sequence(o):
    stages = [schedules.LinearLR(o, 0.01, total_iters=5), schedules.CosineAnnealingLR(o, 95)]
    return schedules.SequentialLR(o, stages, [5])


def ramp(length):
    return lambda t: min(1.0, (t + 1) / length)


def cosine(length, **options):
    return lambda o: schedules.CosineAnnealingLR(o, length, **options)


def milestones(*at):
    return lambda o: schedules.MultiStepLR(o, list(at))


def factor(*functions):
    return lambda o: schedules.LambdaLR(o, list(functions) if len(functions) > 1 else functions[0])


def sgd(lr=0.1, **options):
    return SGD(weights(), lr, **options)


def adamw(lr=1e-3):
    return AdamW(weights(), lr)


def two_groups(first=1e-3, second=1e-3, kind=AdamW):
    a, b = weights(2)
    return kind([{"params": [a], "lr": first}, {"params": [b], "lr": second}])


class Renamed(torch.optim.RAdam):
    pass


class Mine(Adam):
    pass


EPOCHS = {"batches_per_epoch": 100}
PER_EPOCH = {**EPOCHS, "interval": "epoch"}

# What is made, and the findings other than BORED, as "severity: rule".
CASES = {
    # An end in epochs: torch's cosine drifts by rounding.
    "a cosine per epoch": (lambda: found_by(sgd(), cosine(90), 9000, **PER_EPOCH), []),
    "a sequence per epoch": (lambda: found_by(sgd(), sequence, 10_000, **PER_EPOCH), []),
    "T_max in epochs": (
        lambda: found_by(adamw(), cosine(90), 9000, **EPOCHS),
        ["error: counted-in-epochs", "warning: schedule-rises-again"],
    ),
    "milestones in epochs": (
        lambda: found_by(sgd(), milestones(30, 60, 80), 9000, **EPOCHS),
        ["error: counted-in-epochs"],
    ),
    "one milestone in epochs": (
        lambda: found_by(sgd(), milestones(30), 9000, **EPOCHS),
        ["warning: counted-in-epochs"],
    ),
    "milestones in steps, per epoch": (
        lambda: found_by(sgd(), milestones(3000, 6000, 8000), 9000, **PER_EPOCH),
        ["warning: counted-in-epochs"],
    ),
    "milestones in steps": (lambda: found_by(sgd(), milestones(3000, 6000, 8000), 9000, **EPOCHS), []),
    "milestones per epoch": (lambda: found_by(sgd(), milestones(30, 60, 80), 9000, **PER_EPOCH), []),
    "an exponential per epoch, low after as many epochs as the run has steps": (
        lambda: found_by(
            sgd(), lambda o: schedules.ExponentialLR(o, 0.95), 250, batches_per_epoch=125, interval="epoch"
        ),
        [],
    ),
    # An end in micro-batches or steps of processes.
    "a cosine in micro-batches": (
        lambda: found_by(adamw(), cosine(4000, eta_min=1e-5), 1000, accumulation=4),
        ["error: counted-in-other-units"],
    ),
    "a long decay in steps of processes": (
        lambda: found_by(adamw(), factor(lambda t: max(0.0, 1 - t / 8e5)), 100_000, processes=8),
        ["error: counted-in-other-units"],
    ),
    "milestones in micro-batches": (
        lambda: found_by(sgd(), milestones(4000, 6000), 1000, accumulation=8),
        ["warning: counted-in-other-units"],
    ),
    "a plateau and a decay in micro-batches": (
        lambda: found_by(sgd(), factor(lambda t: min(1.0, max(0.0, (4000 - t) / 1000))), 1000, accumulation=4),
        ["error: counted-in-other-units"],
    ),
    "micro-batches, with a frozen group": (
        lambda: found_by(two_groups(0.0), factor(lambda t: max(0.0, 1 - t / 4000)), 1000, accumulation=4),
        ["error: counted-in-other-units"],
    ),
    "a warmup in epochs, with a frozen group": (
        lambda: found_by(two_groups(0.0), factor(ramp(5)), 9000, batches_per_epoch=200),
        ["warning: warmup-counted-in-epochs"],
    ),
    "milestones that meet half of the run": (
        lambda: found_by(sgd(), lambda o: schedules.StepLR(o, 1000, 0.1), 8000, processes=2),
        [],
    ),
    "a decay to a tenth at half of the run": (
        lambda: found_by(adamw(), lambda o: schedules.LinearLR(o, 1.0, 0.1, 5000), 10_000, accumulation=2),
        ["warning: counted-in-other-units"],
    ),
    "as many restarts as micro-batches": (
        lambda: found_by(
            sgd(), lambda o: schedules.CosineAnnealingWarmRestarts(o, 250, eta_min=1e-5), 1000, accumulation=4
        ),
        ["warning: restart-without-warmup"],
    ),
    # The end of a schedule.
    "a cosine that rises for 15 % of the run": (
        lambda: found_by(sgd(), cosine(850), 1000),
        ["warning: schedule-rises-again"],
    ),
    "a cosine whose T_max is 2 % short": (lambda: found_by(sgd(), cosine(980), 1000), []),
    "OneCycleLR for one step less": (
        lambda: found_by(sgd(), lambda o: schedules.OneCycleLR(o, 0.1, 99, cycle_momentum=False), 100),
        ["error: schedule-too-short"],
    ),
    "a steep decay": (lambda: found_by(sgd(), lambda o: schedules.ExponentialLR(o, 0.3), 8), []),
    "a negative lr": (lambda: found_by(sgd(), factor(lambda t: 1 - t / 990), 1000), ["error: lr-invalid"]),
    "an lr that is not a number": (
        lambda: found_by(sgd(), factor(lambda t: math.nan if t > 500 else 1.0), 1000),
        ["error: lr-invalid"],
    ),
    "an infinite lr": (
        lambda: found_by(sgd(weight_decay=0.1), factor(lambda t: math.inf if t > 500 else 1.0), 1000),
        ["error: lr-invalid"],
    ),
    # The peak.
    "one of two groups is frozen": (
        lambda: found_by(two_groups(), factor(lambda t: 0.0, ramp(100)), 5000),
        ["note: peak-lr-not-reached"],
    ),
    "layer-wise lrs by lambdas": (
        lambda: found_by(two_groups(), factor(lambda t: 0.75**12 * ramp(100)(t), ramp(100)), 5000),
        ["note: peak-lr-not-reached"],
    ),
    "no group reaches its lr": (
        lambda: found_by(two_groups(), factor(lambda t: 0.1, lambda t: 0.01), 5000),
        ["error: peak-lr-not-reached"] * 2,
    ),
    # Clocks.
    "a plateau scheduler of a resumed optimizer": (
        lambda: found_by(after(adamw(), 3), schedules.ReduceLROnPlateau, 1000),
        [],
    ),
    "a chain of a resumed optimizer": (
        lambda: found_by(after(adamw(), 3), chain(100), 1000),
        ["error: schedule-restarts"],
    ),
    "a function for a resumed optimizer": (
        lambda: found_by(after(adamw(), 3), lambda o: lambda t: 1 - t / 1000, 1000),
        ["warning: schedule-restarts"],
    ),
    "a constant schedule of a resumed optimizer": (
        lambda: found_by(after(adamw(), 3), factor(lambda t: 1.0), 1000),
        [],
    ),
    "a schedule per epoch of a resumed optimizer": (
        lambda: found_by(after(adamw(), 20), cosine(100), 1000, batches_per_epoch=10, interval="epoch"),
        ["error: schedule-restarts"],
    ),
    "a schedule per epoch, resumed in the first epoch": (
        lambda: found_by(after(adamw(), 3), cosine(100), 1000, batches_per_epoch=10, interval="epoch"),
        [],
    ),
    "a resumed chain of a new optimizer": (
        lambda: found_by(adamw(), lambda o: stepped(chain(100)(o), 9), 1000),
        ["error: moments-missing"],
    ),
    "a resume after one step of SGD": (
        lambda: found_by(after(sgd(momentum=0.9), 1), lambda o: stepped(factor(lambda t: 1 - t / 1000)(o), 1), 999),
        [],
    ),
    # Two warmups.
    "two chained warmups": (lambda: found_by(sgd(), chain(100, 200), 1000), ["error: two-warmups"]),
    "two warmups in a list": (
        lambda: found_by(sgd(), lambda o: [chain(100)(o), chain(200)(o)], 1000),
        ["error: two-warmups"],
    ),
    "a warmup that overwrites another": (
        lambda: found_by(sgd(), lambda o: [chain(100)(o), factor(ramp(100))(o)], 1000),
        [],
    ),
    "two warmups in a sequence": (lambda: found_by(sgd(), sequence, 100), []),
    # What an optimizer is.
    "a subclass of RAdam that stays in its start": (
        lambda: check(Renamed(weights(), betas=(0.5, 0.6)), steps=1000),
        ["error: never-leaves-start"],
    ),
    "a subclass of Adam with L2": (
        lambda: check(Mine(weights(), weight_decay=0.1), steps=1000),
        ["warning: l2-in-adam"],
    ),
    "AdamW, which extends Adam": (lambda: check(AdamW(weights(), weight_decay=0.1), steps=1000), []),
    "Adam with complex gradients": (lambda: check(with_complex_gradients(AdamW), steps=1000), []),
    # Groups that were added.
    "a group that no sequence knows": (
        lambda: found_by(sgd(), lambda o: with_another_group(o, sequence(o)), 100),
        ["error: groups-without-schedule"],
    ),
    "a group that no chain knows": (
        lambda: found_by(sgd(), lambda o: with_another_group(o, chain(10)(o)), 100),
        ["error: groups-without-schedule"],
    ),
}


def with_another_group(optimizer, scheduler):
    optimizer.add_param_group({"params": weights()})
    return scheduler


def with_complex_gradients(kind):
    p = nn.Parameter(torch.randn(3, dtype=torch.complex64))
    p.grad = torch.randn(3, dtype=torch.complex64)
    return kind([p])


@pytest.mark.parametrize("name", CASES)
def test_what_is_found(name):
    make, expected = CASES[name]
    found = [f"{f.severity}: {f.rule}" for f in make() if f.rule not in BORED]
    assert found == expected


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: found_by(sgd(), cosine(500), 5000), "rises again from step 502 on, to 0.1"),
        (lambda: found_by(sgd(), factor(ramp(5000)), 1000), "it would end at step 5,000"),
        (lambda: found_by(sgd(), chain(5000), 1000), "it would end at step 5,001"),
        (lambda: found_by(sgd(), chain(200_000), 1000), "it would end later than step 21,000"),
        (lambda: check(rectified.AdamW(weights(), warmup=Linear(1100)), steps=1000), "omega is only 0.909 at the last"),
        (lambda: check(rectified.AdamW(weights(), warmup=Linear(550)), steps=1000), "takes 550 of 1,000 steps"),
        (lambda: check(rectified.AdamW(weights(), warmup=Linear(90)), steps=2000), "takes 90 steps, v remembers 1,000"),
        (lambda: found_by(sgd(), factor(lambda t: 1 - t / 990), 1000), "step 992 of 1,000 the lr is negative"),
        (
            lambda: found_by(sgd(), lambda o: schedules.OneCycleLR(o, 0.1, 99, cycle_momentum=False), 100),
            "raises an error after the last of 100 steps",
        ),
        (lambda: found_by(sgd(), chain(100, 200), 1000), "over 100 and 200 steps"),
        (lambda: check(torch.optim.RAdam(weights()), steps=9), "only 0.0441 at the last of 9 steps"),
    ],
)
def test_the_numbers_in_a_title(make, says):
    assert any(says in finding.title for finding in make())


def test_a_rectification_has_no_length_to_shorten():
    (found,) = [f for f in check(torch.optim.RAdam(weights()), steps=9) if f.rule == "warmup-outlives-run"]
    assert "a smaller beta2" in found.advice
    assert "Shorten" not in found.advice


@pytest.mark.parametrize("steps", [2, 5, 9, 20, 60, 300, 900])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.95, 0.999), (0.99, 0.9995), (0.0, 0.85), (0.98, 0.99)])
def test_the_beta2_that_is_advised_breaks_no_other_rule(betas, steps):
    for finding in check(Adam(weights(), betas=betas), steps=steps):
        if finding.rule == "memory-longer-than-run" and "such as" in finding.advice:
            beta2 = float(finding.advice.split("such as ")[1].split(",")[0])
            assert beta2 < betas[1]
            again = check(Adam(weights(), betas=(betas[0], beta2)), steps=steps)
            assert "betas-swapped" not in [other.rule for other in again]


@pytest.mark.parametrize("steps", [100, 500, 1500, 3000, 20_000])
def test_the_warmup_that_is_advised_breaks_no_other_rule(steps):
    (found,) = [f for f in check(Adam(weights()), steps=steps) if f.rule == "no-warmup"]
    length = int(found.advice.split("Linear(")[1].split(")")[0])
    again = check(rectified.Adam(weights(), warmup=Linear(length)), steps=steps)
    assert not [f.rule for f in again if "warmup" in f.rule]


def test_groups_whose_lr_differs_by_a_factor_are_one_finding():
    groups = [{"params": [p], "lr": 1e-3 * 0.8**index} for index, p in enumerate(weights(24))]
    found = check(AdamW(groups), lambda t: max(0.0, 1 - t / 500), steps=1000)
    assert [(f.rule, len(f.groups)) for f in found] == [("schedule-too-short", 24), ("no-warmup", 24)]


# Nothing is changed, not even the objects behind a schedule.


class Counter:
    def __init__(self):
        self.calls = 0

    def factor(self, step):
        self.calls += 1
        return 1.0

    __call__ = factor


@pytest.mark.parametrize("how", ["method", "object"])
@pytest.mark.parametrize("scheduler", ["LambdaLR", "function"])
def test_a_schedule_that_counts_its_calls_is_copied(how, scheduler):
    counter = Counter()
    optimizer = adamw()
    function = counter.factor if how == "method" else counter
    given = schedules.LambdaLR(optimizer, function) if scheduler == "LambdaLR" else function
    before = counter.calls
    check(optimizer, given, steps=100, accumulation=2, batches_per_epoch=5)
    assert counter.calls == before


def test_numbers_of_numpy():
    np = pytest.importorskip("numpy")
    options = {"steps": np.int64(100), "accumulation": np.int32(2), "batches_per_epoch": np.int16(10)}
    assert check(adamw(), **options) == check(adamw(), **{name: int(x) for name, x in options.items()})
