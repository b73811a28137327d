"""The other answers to warmup's question: each takes its twin's steps."""

import copy
import math
from functools import partial

import numpy as np
import pytest
import torch

import reference
import reference_variants as twins
from messages import says
from rectified.optim import COCOB, SGDHD, AdamHD, GIAdam, RandomV0Adam, StableAdamW, YellowFin
from rectified.optim.contrib.yellowfin import single_step
from rectified.warmup import Linear, Rectified
from trajectories import Race, comes_and_goes, numbers, parameters, set_gradients, train

EACH = {
    "GIAdam": (GIAdam, twins.GIAdam, {}),
    "GIAdam rectified": (GIAdam, twins.GIAdam, {"warmup": Rectified(start="hold")}),
    "GIAdam with L2": (GIAdam, twins.GIAdam, {"weight_decay": 0.1, "maximize": True}),
    "GIAdam decoupled": (GIAdam, twins.GIAdam, {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    "StableAdamW": (StableAdamW, twins.StableAdamW, {}),
    "StableAdamW with a warmup": (StableAdamW, twins.StableAdamW, {"warmup": Linear(7), "betas": (0.8, 0.95)}),
    "COCOB": (COCOB, twins.COCOB, {}),
    "COCOB with L2": (COCOB, twins.COCOB, {"weight_decay": 0.1, "maximize": True, "alpha": 30.0}),
}
OMEGAS = {Rectified(start="hold"): reference.rectified, Linear(7): partial(reference.linear, steps=7)}


def judges(twin, params, **options):
    warmup = options.pop("warmup", None)
    if "decoupled_weight_decay" in options:
        options["decoupled"] = options.pop("decoupled_weight_decay")
    return [twin(numbers(p), omega=OMEGAS.get(warmup, reference.constant), **options) for p in params]


def race(optimizer, params, judges, steps, present, scale=lambda step: 1.0):
    so_far = Race([judge.theta for judge in judges])
    for step in steps:
        set_gradients(params, step, present, scale(step))
        for p, judge in zip(params, judges, strict=True):
            judge.step(numbers(p.grad))
        optimizer.step()
        so_far.check([numbers(p) for p in params], [judge.theta for judge in judges])


@pytest.mark.parametrize(("kind", "twin", "options"), EACH.values(), ids=EACH.keys())
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_takes_its_twins_steps(kind, twin, options, dtype):
    params = parameters(dtype)
    race(kind(params, **options), params, judges(twin, params, **options), range(1, 30), comes_and_goes)


def test_stable_adamw_shortens_the_step_of_a_tensor_whose_gradient_explodes():
    params = parameters()
    optimizer = StableAdamW(params, weight_decay=0.0)
    scale = {10: 1e4}
    others = judges(twins.StableAdamW, params, weight_decay=0.0)
    race(optimizer, params, others, range(1, 20), lambda i, step: True, lambda step: scale.get(step, 1.0))
    before = copy.deepcopy(params)
    set_gradients(params, 20, scale=1e6)
    optimizer.step()
    moved = max(float((a - b).detach().abs().max()) for a, b in zip(params, before, strict=True) if a.numel())
    assert moved < 1e-3


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_random_v0_is_glorots_variance_for_matrices_and_0_for_the_rest(dtype):
    params = parameters(dtype, shapes=((200, 300), (50, 20, 3, 3), (5,), ()))
    torch.manual_seed(3)
    optimizer = RandomV0Adam(params, sigma=0.7, lr=0.0, betas=(0.9, 0.999))
    for p in params:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    found = [numbers(optimizer.state[p]["exp_avg_sq"]) / 0.999 for p in params]
    for v, fans in ((found[0], 500), (found[1], 20 * 9 + 50 * 9)):
        z_square = v * fans / (2 * 0.7)
        assert z_square.mean() == pytest.approx(1, abs=0.03)  # chi-square of one degree of freedom
        assert z_square.var() == pytest.approx(2, rel=0.1)
    assert not found[2].any()
    assert not found[3].any()


def test_random_v0_then_is_adam():
    params = parameters()
    torch.manual_seed(3)
    optimizer = RandomV0Adam(params, sigma=0.7, lr=0.01)
    torch.manual_seed(3)
    first = []
    for p in params:
        fans = torch.nn.init._calculate_fan_in_and_fan_out(p) if p.ndim >= 2 else (0, 0)
        first.append(
            numbers(torch.randn(p.shape, dtype=p.dtype)) ** 2 * 1.4 / sum(fans) if any(fans) else 0 * numbers(p)
        )
    torch.manual_seed(3)
    others = [twins.GivenV0(numbers(p), v, lr=0.01) for p, v in zip(params, first, strict=True)]
    race(optimizer, params, others, range(1, 12), lambda i, step: True)


def test_gi_adam_begins_at_the_root_of_one_minus_beta2():
    p = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    optimizer = GIAdam([p], lr=1.0, eps=0.0)
    for t in range(1, 6):
        before, p.grad = p.detach().clone(), torch.tensor([1e-3, 1.0, 1e3], dtype=torch.float64)
        optimizer.step()
        torch.testing.assert_close(before - p.detach(), torch.full_like(p, math.sqrt(1 - 0.999**t)))


@pytest.mark.parametrize("fused", [True, False])
def test_gi_adam_takes_the_unscaled_gradient_of_a_grad_scaler_and_none_that_overflows(fused):
    params = parameters(torch.float32, shapes=((3, 4),))
    optimizer = GIAdam(params, lr=0.01)
    optimizer.param_groups[0]["fused"] = fused
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    p = params[0]
    for factor in (math.inf, 0.5):
        optimizer.zero_grad()
        scaler.scale((p * factor).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    assert optimizer.state[p]["exp_avg_sq"].flatten()[0].item() == pytest.approx(0.25)


TOGETHER = {
    "SGDHD": (partial(SGDHD, lr=0.01, hyper_lr=1e-4), partial(twins.Hypergradient, lr=0.01, hyper_lr=1e-4)),
    "SGDHD with momentum": (
        partial(SGDHD, lr=0.01, hyper_lr=1e-4, momentum=0.9, weight_decay=0.1),
        partial(twins.Hypergradient, lr=0.01, hyper_lr=1e-4, momentum=0.9, weight_decay=0.1),
    ),
    "AdamHD": (
        partial(AdamHD, hyper_lr=1e-4, maximize=True),
        partial(twins.Hypergradient, lr=1e-3, hyper_lr=1e-4, betas=(0.9, 0.999), maximize=True),
    ),
    "YellowFin": (YellowFin, twins.YellowFin),
    "YellowFin clipped": (
        partial(YellowFin, clip=True, window=5, beta=0.9, lr=0.5, weight_decay=0.1),
        partial(twins.YellowFin, clip=True, window=5, beta=0.9, lr=0.5, weight_decay=0.1),
    ),
}
every_tuner = pytest.mark.parametrize(("make", "twin"), TOGETHER.values(), ids=TOGETHER.keys())


@every_tuner
def test_tuners_of_the_learning_rate_take_their_twins_steps(make, twin):
    params = parameters()
    optimizer, judge = make(params), twin([numbers(p) for p in params])
    so_far = Race(judge.thetas)
    for step in range(1, 60):
        set_gradients(params, step, comes_and_goes, scale=1 + math.sin(step))
        judge.step([numbers(p.grad) for p in params])
        optimizer.step()
        so_far.check([numbers(p) for p in params], judge.thetas)
    group = optimizer.param_groups[0]
    tuned = group["tuned_lr"] if "tuned_lr" in group else group["learned_lr"]
    assert tuned == pytest.approx(judge.alpha, rel=1e-11)
    assert group["lr"] == optimizer.defaults["lr"], "it is the schedulers'"


def test_each_group_learns_its_own_lr():
    params = parameters()
    optimizer = SGDHD([{"params": params[:1], "lr": 0.1}, {"params": params[1:]}], lr=0.01, hyper_lr=1e-3)
    train(optimizer, params, range(1, 5))
    first, second = (group["learned"] for group in optimizer.param_groups)
    assert first
    assert second
    assert first != second


@pytest.mark.parametrize("p", [1e-12, 1e-3, 1.0, 1e3, 1e12])
def test_single_step_solves_its_cubic(p):
    mu, alpha = single_step(variance=0.5, distance=math.sqrt(p), h_min=1.0, h_max=1.0)
    x = math.sqrt(mu)
    assert (1 - x) ** 3 == pytest.approx(p * x, rel=1e-3 if p == 1e12 else 1e-7)
    assert alpha == pytest.approx((1 - x) ** 2)
    mu, alpha = single_step(variance=0.5, distance=math.sqrt(p), h_min=1.0, h_max=1e6)
    assert mu >= (999 / 1001) ** 2 * (1 - 1e-12)


ALL = [GIAdam, RandomV0Adam, StableAdamW, SGDHD, AdamHD, COCOB, YellowFin]


@pytest.mark.parametrize("kind", ALL)
def test_goes_on_from_its_save_to_the_bit(kind, tmp_path):
    torch.manual_seed(0)
    params = parameters()
    optimizer = kind(params)
    train(optimizer, params, range(1, 6), comes_and_goes)
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    others = [torch.nn.Parameter(p.detach().clone()) for p in params]
    train(optimizer, params, range(6, 12), comes_and_goes)
    again = kind(others)
    again.load_state_dict(torch.load(tmp_path / "optimizer.pt", weights_only=True))
    train(again, others, range(6, 12), comes_and_goes)
    assert all(torch.equal(a, b) for a, b in zip(params, others, strict=True))
    copied = copy.deepcopy(optimizer)
    mine = copied.param_groups[0]["params"]
    train(optimizer, params, [12])
    train(copied, mine, [12])
    assert all(torch.equal(a, b) for a, b in zip(params, mine, strict=True))


@pytest.mark.parametrize(
    ("kind", "options", "fragments"),
    [
        (GIAdam, {"lr": -1}, ["learning rate", "-1"]),
        (RandomV0Adam, {"sigma": 0}, ["sigma", "0", "above 0"]),
        (StableAdamW, {"betas": (0.9, 1.0)}, ["index 1", "1.0"]),
        (SGDHD, {"hyper_lr": -1}, ["hyper_lr", "-1"]),
        (SGDHD, {"momentum": -1}, ["momentum", "-1"]),
        (AdamHD, {"betas": (1.0, 0.9)}, ["index 0", "1.0"]),
        (COCOB, {"alpha": 0}, ["alpha", "0", "above 0"]),
        (YellowFin, {"first_lr": 0}, ["first_lr", "0", "above 0"]),
        (YellowFin, {"beta": 1.0}, ["beta", "1.0", "[0, 1)"]),
        (YellowFin, {"window": 0}, ["window", "0", "at least 1"]),
    ],
)
def test_options_out_of_range_are_refused(kind, options, fragments):
    with pytest.raises(ValueError, match=says(fragments)):
        kind(parameters(), **options)


@pytest.mark.parametrize("kind", ALL)
def test_a_sparse_gradient_is_refused_before_anything_moves(kind):
    table = torch.nn.Embedding(5, 3, sparse=True)
    p = torch.nn.Parameter(torch.ones(2))
    p.grad = torch.ones(2)
    optimizer = kind([p, table.weight])
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match=says(["parameter 1", "(5, 3)", "sparse"])):
        optimizer.step()
    assert torch.equal(p, torch.ones(2))


def test_every_one_of_them_gets_down_a_small_hill():
    adams = {GIAdam: {}, RandomV0Adam: {"sigma": 0.01}, StableAdamW: {}, AdamHD: {}}
    others = {SGDHD: {}, COCOB: {}, YellowFin: {}}
    for kind, options in {**{kind: {"lr": 0.05, **more} for kind, more in adams.items()}, **others}.items():
        torch.manual_seed(0)
        p = torch.nn.Parameter(torch.ones(4, 3))
        optimizer = kind([p], **options)
        for _ in range(400):
            optimizer.zero_grad()
            loss = (p * torch.arange(1.0, 13).reshape(4, 3)).square().sum() / 100
            loss.backward()
            optimizer.step()
        assert np.isfinite(loss.item())
        assert loss.item() < 1.0, (kind, loss.item())
