"""What docs/migration.md says of the ways to here, each against the real thing."""

import math

import pytest
import pytorch_warmup
import schedulefree
import torch
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LambdaLR, LinearLR, SequentialLR
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

import rectified
from rectified.theory import rectification
from rectified.warmup import Linear, Rectified, UntunedExponential, UntunedLinear
from short_runs import BATCH, network, pictures, plain_loop, weights

T = 10


def batches(count):
    return list(zip(*(part.split(BATCH) for part in pictures(count * BATCH)), strict=True))


def train(optimizer_of, scheduler_of, count=24):
    model = network()
    optimizer = optimizer_of(model.parameters())
    plain_loop(model, optimizer, batches(count), scheduler=scheduler_of(optimizer))
    return weights(model)


def assert_close(ours, theirs):
    """Equal to round-off, in float32 over some 20 steps."""
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def factors(schedule_of, count=3 * T):
    """What a schedule multiplies an lr of 1 by, step by step."""
    p = torch.nn.Parameter(torch.ones(1))
    p.grad = torch.ones(1)
    optimizer = torch.optim.SGD([p], lr=1.0)
    schedule, found = schedule_of(optimizer), []
    for _ in range(count):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def decay(step):
    return max(0.0, 1 - step / 100)


def warm_then_decay(optimizer):
    return LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / T) * decay(step))


def test_a_cosine_that_waits_for_the_warmup_is_the_usual_call_a_step_ahead():
    def ours(optimizer):
        rectified.WarmupLR(optimizer, Linear(T))
        waiting, cosine = ConstantLR(optimizer, 1.0, total_iters=T), CosineAnnealingLR(optimizer, T_max=2 * T)
        return SequentialLR(optimizer, [waiting, cosine], milestones=[T])

    def moved(schedule_of):
        p = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
        optimizer = torch.optim.SGD([p], lr=1.0)
        schedule, found = schedule_of(optimizer), []
        for _ in range(3 * T):
            before, p.grad = p.item(), -torch.ones_like(p)
            optimizer.step()
            schedule.step()
            found.append(p.item() - before)
        return found

    usual, here = moved(lambda o: get_cosine_schedule_with_warmup(o, T, 3 * T)), moved(ours)
    assert here[:T] == pytest.approx([t / T for t in range(1, T + 1)])
    assert usual[:T] == pytest.approx([t / T for t in range(T)])
    assert here[T:] == pytest.approx(usual[T:])
    whole = moved(lambda o: CosineAnnealingLR(o, T_max=10_000))
    assert whole[-1] > 0.99
    assert 0.5 * (1 + math.cos(math.pi * 500 / 10_000)) == pytest.approx(0.994, abs=5e-4)


def test_a_run_of_torchs_radam_goes_on_here_and_back():
    model, kept = network(), network()
    theirs = torch.optim.RAdam(model.parameters(), lr=0.01)
    reference = torch.optim.RAdam(kept.parameters(), lr=0.01)
    plain_loop(kept, reference, batches(24))
    plain_loop(model, theirs, batches(24)[:8])
    ours = rectified.RAdam(model.parameters(), lr=0.01)
    ours.load_state_dict(theirs.state_dict())
    assert rectified.explain(ours)[0].t == 9
    plain_loop(model, ours, batches(24)[8:16])
    theirs.load_state_dict(ours.state_dict())
    plain_loop(model, theirs, batches(24)[16:])
    assert_close(weights(model), weights(kept))


@pytest.mark.parametrize(
    "options", [{"capturable": True}, {"differentiable": True}], ids=["capturable", "differentiable"]
)
def test_torchs_own_arguments_are_taken(options):
    rectified.RAdam(network().parameters(), **options)


def test_the_moments_of_narrow_parameters_are_wider_than_torchs():
    def dtype_of_moments(cls):
        p = torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
        p.grad = torch.ones_like(p)
        optimizer = cls([p])
        optimizer.step()
        return optimizer.state[p]["exp_avg_sq"].dtype

    assert dtype_of_moments(torch.optim.RAdam) == torch.bfloat16
    assert dtype_of_moments(rectified.RAdam) == torch.float32


def test_a_beta2_that_never_rectifies_is_refused():
    torch.optim.RAdam(network().parameters(), betas=(0.9, 2 / 3))
    with pytest.raises(ValueError, match="never leave its start"):
        rectified.RAdam(network().parameters(), betas=(0.9, 2 / 3))


def test_the_warmup_of_a_scheduler_goes_into_the_optimizer():
    theirs = train(lambda params: torch.optim.AdamW(params, lr=0.01, weight_decay=0), warm_then_decay)
    ours = train(
        lambda params: rectified.AdamW(params, lr=0.01, weight_decay=0, warmup=Linear(T)),
        lambda optimizer: LambdaLR(optimizer, decay),
    )
    assert_close(ours, theirs)


def test_with_weight_decay_the_weights_lose_as_much_more_as_the_page_says():
    """A parameter whose gradient is 0 does nothing but decay."""

    def left(optimizer, schedule):
        for _ in range(500):
            optimizer.param_groups[0]["params"][0].grad = torch.zeros(1, dtype=torch.float64)
            optimizer.step()
            schedule.step()
        return optimizer.param_groups[0]["params"][0].item()

    def one():
        return [torch.nn.Parameter(torch.ones(1, dtype=torch.float64))]

    theirs = torch.optim.AdamW(one(), lr=1e-3, weight_decay=0.01)
    ours = rectified.AdamW(one(), lr=1e-3, weight_decay=0.01, warmup=Linear(500))
    ratio = left(ours, LambdaLR(ours, lambda step: 1.0)) / left(
        theirs, LambdaLR(theirs, lambda step: min(1.0, (step + 1) / 500))
    )
    assert 1 - ratio == pytest.approx(1e-3 * 0.01 * 500 / 2, rel=0.01)


def test_the_table_of_schedules():
    ours = [Linear(T).omega(t, 0.999) for t in range(1, 3 * T + 1)]
    assert factors(lambda optimizer: LinearLR(optimizer, 1 / T, total_iters=T - 1)) == pytest.approx(ours)
    transformers = factors(lambda optimizer: get_linear_schedule_with_warmup(optimizer, T, 10**9))
    assert transformers[0] == 0.0
    assert transformers[1:] == pytest.approx(ours[:-1], rel=1e-6)


def test_a_decay_that_begins_after_the_warmup():
    theirs = factors(
        lambda optimizer: SequentialLR(
            optimizer,
            [LinearLR(optimizer, 1 / T, total_iters=T - 1), CosineAnnealingLR(optimizer, T_max=20)],
            milestones=[T],
        )
    )
    ours = factors(
        lambda optimizer: SequentialLR(
            optimizer,
            [ConstantLR(optimizer, factor=1.0, total_iters=T), CosineAnnealingLR(optimizer, T_max=20)],
            milestones=[T],
        )
    )
    assert [a * Linear(T).omega(t, 0.999) for t, a in enumerate(ours, 1)] == pytest.approx(theirs)


def test_a_run_with_its_warmup_in_a_scheduler_goes_on_here():
    kept = network()
    reference = torch.optim.AdamW(kept.parameters(), lr=0.01, weight_decay=0)
    plain_loop(kept, reference, batches(24), scheduler=warm_then_decay(reference))

    model = network()
    old = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0)
    old_scheduler = warm_then_decay(old)
    plain_loop(model, old, batches(24)[:6], scheduler=old_scheduler)

    optimizer = rectified.AdamW(model.parameters(), lr=0.01, weight_decay=0, warmup=Linear(T))
    optimizer.load_state_dict(old.state_dict())
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"]
    scheduler = LambdaLR(optimizer, decay, last_epoch=old_scheduler.last_epoch - 1)
    plain_loop(model, optimizer, batches(24)[6:], scheduler=scheduler)
    assert_close(weights(model), weights(kept))


class Exponential:
    def omega(self, t, beta2):
        return -math.expm1(-t / T)


class ShiftedRectified:
    def omega(self, t, beta2):
        return rectification(t + 4, beta2)


class Dampened:
    """pytorch_warmup, called as a scheduler."""

    def __init__(self, warmup):
        self.warmup = warmup

    def step(self):
        with self.warmup.dampening():
            pass


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (lambda optimizer: pytorch_warmup.LinearWarmup(optimizer, T), Linear(T)),
        (lambda optimizer: pytorch_warmup.ExponentialWarmup(optimizer, T), Exponential()),
        (pytorch_warmup.RAdamWarmup, ShiftedRectified()),
    ],
    ids=["linear", "exponential", "radam"],
)
def test_a_warmup_of_pytorch_warmup_is_an_omega(theirs, ours):
    expected = train(
        lambda params: torch.optim.AdamW(params, lr=0.01, weight_decay=0), lambda optimizer: Dampened(theirs(optimizer))
    )
    found = train(lambda params: rectified.AdamW(params, lr=0.01, weight_decay=0, warmup=ours), lambda optimizer: None)
    assert_close(found, expected)


@pytest.mark.parametrize(
    ("beta2", "steps", "most", "steps_exp", "most_exp"),
    [(0.999, 1999, 0.0005, 999, 0.0004), (0.99, 199, 0.005, 99, 0.0037), (0.95, 39, 0.025, 19, 0.019)],
)
def test_the_untuned_periods_of_pytorch_warmup_are_cut_off(beta2, steps, most, steps_exp, most_exp):
    def theirs(kind):
        optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))], betas=(0.9, beta2))
        warmup = kind(optimizer)
        (options,) = warmup.warmup_params
        return options["warmup_period"], [warmup.warmup_factor(t - 1, **options) for t in range(1, 3 * steps)]

    def furthest(factors, warmup):
        return max(a - warmup.omega(t, beta2) for t, a in enumerate(factors, 1))

    period, factors = theirs(pytorch_warmup.UntunedLinearWarmup)
    assert period == steps
    assert furthest(factors, UntunedLinear()) == pytest.approx(most, rel=0.08)
    period, factors = theirs(pytorch_warmup.UntunedExponentialWarmup)
    assert period == steps_exp
    assert furthest(factors, UntunedExponential()) == pytest.approx(most_exp, rel=0.1)


def test_the_shift_of_pytorch_warmups_radam():
    assert rectification(5, 0.999) == pytest.approx(0.017, abs=5e-4)
    assert Rectified().omega(5, 0.999) == 0.0


def test_radam_schedule_free_is_another_algorithm():
    params = [torch.nn.Parameter(torch.ones(2))]
    optimizer = schedulefree.RAdamScheduleFree(params, lr=2.5e-3)
    optimizer.train()
    params[0].grad = torch.ones(2)
    optimizer.step()
    assert set(optimizer.state[params[0]]) == {"z", "exp_avg_sq"}, "no first moment, and an average"
