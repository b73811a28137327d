"""GuardedLinear: omega against a twin in numpy, what its ratio is, and what it costs."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

import rectified
from observed_runs import LR, STEPS, around, expected, ours, parameters, train
from rectified import Adam, AdamW, rectify
from rectified.optim.observe import feedback
from rectified.optim.step.options import OBSERVED
from rectified.warmup import GuardedLinear, Linear


def test_the_gradients_of_these_tests_make_omega_rise_and_fall():
    omegas, _ = expected(40)
    assert any(b < a for a, b in pairwise(omegas))
    assert any(b > a for a, b in pairwise(omegas[10:]))


KINDS = {
    "adam": (Adam, {}),
    "amsgrad": (Adam, {"amsgrad": True}),
    "eps": (Adam, {"eps": 0.1}),
    "eps_hat": (Adam, {"eps": 0.1, "eps_hat": True}),
    "l2": (Adam, {"weight_decay": 0.1}),
    "decoupled": (AdamW, {"weight_decay": 0.1}),
    "betas": (Adam, {"betas": (0.5, 0.9)}),
    "foreach": (Adam, {"foreach": True}),
    "tensor lr": (Adam, {"lr": torch.tensor(LR, dtype=torch.float64)}),
}
TWIN = {"decoupled": {"decoupled": True}}


@pytest.mark.parametrize("name", KINDS)
def test_omega_and_trajectory_are_the_twins(name):
    make, options = KINDS[name]
    params = parameters()
    optimizer = make(params, **{"lr": LR, **options}, warmup=GuardedLinear(STEPS))
    twin = {key: x for key, x in options.items() if key not in ("foreach", "lr")}
    omegas, thetas = expected(40, **twin, **TWIN.get(name, {}))
    np.testing.assert_allclose(train(optimizer, params, range(40)), omegas, rtol=1e-9)
    for p, theta in zip(params, thetas, strict=True):
        np.testing.assert_allclose(p.detach(), theta, rtol=1e-7, atol=1e-9)


def test_maximizing_is_minimizing_the_negative():
    params = parameters()
    optimizer = Adam(params, lr=LR, maximize=True, warmup=GuardedLinear(STEPS))
    np.testing.assert_allclose(train(optimizer, params, range(40), scale=-1.0), expected(40)[0], rtol=1e-9)


@pytest.mark.parametrize("options", [{"fused": True}, {"foreach": True}, {"amsgrad": True}], ids=str)
@pytest.mark.parametrize("kind", ["Adam", "AdamW"])
def test_around_torchs_own_it_is_the_same(kind, options):
    theirs, ours = parameters(), parameters()
    around = rectify(getattr(torch.optim, kind)(theirs, lr=LR, weight_decay=0.0, **options), GuardedLinear(STEPS))
    options = {name: x for name, x in options.items() if name == "amsgrad"}
    own = getattr(rectified, kind)(ours, lr=LR, weight_decay=0.0, warmup=GuardedLinear(STEPS), **options)
    np.testing.assert_allclose(train(around, theirs, range(40)), train(own, ours, range(40)), rtol=1e-9)


def test_groups_of_one_lr_are_as_one_group_and_others_count_in_proportion():
    omegas, _ = expected(40)
    for make in (
        lambda groups: Adam(groups, lr=LR, warmup=GuardedLinear(STEPS)),
        lambda groups: rectify(torch.optim.Adam(groups, lr=LR), GuardedLinear(STEPS)),
    ):
        params = parameters()
        split = make([{"params": params[:1]}, {"params": params[1:]}])
        np.testing.assert_allclose(train(split, params, range(40)), omegas, rtol=1e-9)
        assert split.param_groups[0]["omega"] == split.param_groups[1]["omega"]
        params = parameters()
        split = make([{"params": params[:2], "lr": LR / 4}, {"params": params[2:]}])
        np.testing.assert_allclose(
            train(split, params, range(40)), expected(40, lr=[LR / 4, LR / 4, LR, LR])[0], rtol=1e-9
        )


def test_where_no_step_overshoots_it_is_the_linear_warmup_to_the_bit():
    def steady(params, step):
        return [torch.ones_like(p) for p in params]

    guarded, linear = parameters(torch.float32), parameters(torch.float32)
    train(Adam(guarded, warmup=GuardedLinear(8)), guarded, range(20), steady)
    train(Adam(linear, warmup=Linear(8)), linear, range(20), steady)
    assert all(map(torch.equal, guarded, linear))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_parameters_have_the_same_omega_but_for_rounding(dtype):
    params = parameters(dtype)
    omegas = train(Adam(params, lr=LR, warmup=GuardedLinear(STEPS)), params, range(12))
    np.testing.assert_allclose(omegas, expected(12)[0], rtol=0.05)


def test_complex_parameters_count_as_pairs_of_reals():
    pairs = [nn.Parameter(torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))]
    whole = [nn.Parameter(torch.view_as_complex(pairs[0].detach().clone()))]

    def grads(params, step):
        (p,) = params
        shift = step % 3 * (1 + 1j if p.is_complex() else 1)
        return [30 * p.detach() + shift]

    found = [
        train(Adam(params, lr=LR, warmup=GuardedLinear(STEPS)), params, range(20), grads) for params in (pairs, whole)
    ]
    np.testing.assert_allclose(*found, rtol=1e-12)
    assert any(b < a for a, b in pairwise(found[0]))


# What the ratio is: docs/mathematics.md.


@pytest.mark.parametrize("beta1", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("part", [0.05, 0.3, 1.0, "near the edge"])
def test_in_stationary_noise_the_ratio_is_minus_half_of_a_h(beta1, part):
    """theta_(t+1) = theta - a m, g = h theta + noise, in 4,000 runs at once."""
    generator = np.random.default_rng(0)
    ah = 0.9 * 2 * (1 + beta1) / (1 - beta1) if part == "near the edge" else part
    theta, m, after, before = np.zeros(4000), np.zeros(4000), 0.0, 0.0
    for t in range(2500):
        g = theta + generator.standard_normal(4000)
        if t > 1500:
            after, before = after + (g * m).sum(), before + (m * m).sum()
        m = beta1 * m + (1 - beta1) * g
        theta = theta - ah * m
    assert after / before == pytest.approx(-ah / 2, rel=0.04, abs=0.002)


def largest_loss(warmup, lr, seed, steps=640, size=256):
    """The largest loss of a run on a noisy quadratic, over that at its start."""
    generator = torch.Generator().manual_seed(seed)
    h = torch.logspace(-3, 0, size)
    p = nn.Parameter(torch.randn(size, generator=generator))
    optimizer = Adam([p], lr=lr, warmup=warmup)
    start = worst = (h * p.data.square()).sum().item()
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        p.grad = h * p.data + 0.3 * h.sqrt() * torch.randn(size, generator=generator)
        optimizer.step()
        worst = max(worst, (h * p.data.square()).sum().item())
    return worst / start


@pytest.mark.parametrize(
    ("warmup", "losses"),
    [(None, (1.0, 7.6, 110)), (Linear(64), (1.0, 1.0, 2.6)), (GuardedLinear(64), (1.0, 1.0, 2.4))],
    ids=str,
)
def test_on_a_noisy_quadratic_the_loss_exceeds_its_start_by_what_the_page_says(warmup, losses):
    for lr, largest in zip((1.0, 3.0, 10.0), losses, strict=True):
        worst = max(largest_loss(warmup, lr, seed) for seed in range(3))
        assert worst == pytest.approx(largest, rel=0.1), lr


# What it costs, and whom.


def test_nothing_is_summed_once_omega_is_1_and_never_for_another_warmup(monkeypatch):
    calls = []
    monkeypatch.setattr(feedback, "slopes", lambda steps: calls.append(len(list(steps))) or (1.0, 1.0))
    params = parameters()
    train(Adam(params, warmup=GuardedLinear(5)), params, range(20))
    assert len(calls) == 2
    train(Adam(params, warmup=Linear(5)), params, range(20))
    train(Adam(params), params, range(20))
    assert len(calls) == 2


def test_nothing_is_summed_after_twice_its_steps(monkeypatch):
    calls = []
    monkeypatch.setattr(feedback, "slopes", lambda steps: calls.append(len(list(steps))) or (1.0, -5.0))
    params = parameters()
    omegas = train(Adam(params, warmup=GuardedLinear(5)), params, range(20))
    assert len(calls) == 5
    assert omegas[9] < omegas[10] < omegas[15] == 1


@pytest.mark.parametrize("steps", [1, 4, 10, 25])
def test_it_ends_after_three_times_its_steps_at_the_latest(steps):
    """Each step overshoots by more than the last one."""
    p = nn.Parameter(torch.ones(3))
    omegas = train(
        Adam([p], warmup=GuardedLinear(steps)), [p], range(3 * steps + 2), lambda _, t: [(-1.1) ** t * torch.ones(3)]
    )
    assert omegas[: 3 * steps + 1][-1] == 1
    assert steps < 4 or min(omegas[2 : 2 * steps]) < omegas[1]


def test_gradients_of_0_show_nothing():
    p = nn.Parameter(torch.ones(3))
    optimizer = Adam([p], warmup=GuardedLinear(10))
    assert train(optimizer, [p], range(5), lambda params, step: [torch.zeros(3)]) == [0.1] * 5


def test_decay_that_is_part_of_the_gradient_is_part_of_the_slope():
    """The gradient of loss and decay has one sign throughout, and that of the loss alone the other."""
    for make in (Adam, torch.optim.Adam):
        p = nn.Parameter(torch.ones(3))
        if make is Adam:
            optimizer = Adam([p], lr=1e-3, weight_decay=0.1, warmup=GuardedLinear(10))
        else:
            optimizer = rectify(make([p], lr=1e-3, weight_decay=0.1), GuardedLinear(10))
        omegas = train(optimizer, [p], range(12), lambda params, step: [-0.05 * torch.ones(3)])
        assert omegas == [min(1.0, t / 10) for t in range(1, 13)]


def test_amsgrad_that_is_set_in_the_middle_leaves_no_mark_on_the_averages():
    params = parameters()
    optimizer = Adam(params, lr=LR, warmup=GuardedLinear(STEPS))
    train(optimizer, params, range(4))
    optimizer.param_groups[0]["amsgrad"] = True
    train(optimizer, params, range(4, 6))
    assert max(optimizer.param_groups[0][OBSERVED][1][2:]) < 1e4


def test_parameters_without_values_show_nothing():
    p = nn.Parameter(torch.ones(3, device="meta"))
    optimizer = Adam([p], warmup=GuardedLinear(10))
    for _ in range(3):
        p.grad = torch.ones(3, device="meta")
        optimizer.step()
    assert optimizer.param_groups[0]["omega"] == 0.1


def test_explain_says_that_the_run_decides():
    params = parameters()
    for optimizer in (ours(params), around(params)):
        assert rectified.explain(optimizer)[0].observes
        train(optimizer, params, range(3))
        now = rectified.explain(optimizer)[0]
        assert (now.until_09, now.until_full, now.observes) == (None, None, True)
        assert now.omega == optimizer.param_groups[0]["omega"]
        assert "depend on the run" in str(now)
        for group in optimizer.param_groups:
            group["lr"] = 0.1
        train(optimizer, params, range(3, 60))
        now = rectified.explain(optimizer)[0]
        assert (now.phase, now.observes) == ("full", False)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"steps": 0}, ValueError),
        ({"steps": "5"}, TypeError),
        ({"steps": 5, "threshold": 2}, ValueError),
        ({"steps": 5, "threshold": math.nan}, ValueError),
        ({"steps": 5, "threshold": None}, TypeError),
    ],
    ids=str,
)
def test_wrong_options(options, error):
    with pytest.raises(error, match=r"steps is|threshold is"):
        GuardedLinear(**options)
