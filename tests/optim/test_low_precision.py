"""Parameters of 16 bits: float32 moments, three ways to round, and what each is good for."""

import copy

import numpy as np
import pytest
import torch

import rectified
import reference
from roster import both_paths, representatives
from trajectories import FusedCalls, numbers, parameters, set_gradients, train

NARROW = [torch.bfloat16, torch.float16]


def test_v_does_not_stall():
    """3,000 unit gradients: 1 - 0.999^3000 = 0.9503; in bfloat16 torch's stops at 0.5, and its weight at -0.5."""
    p, q = (torch.nn.Parameter(torch.zeros(3, dtype=torch.bfloat16)) for _ in range(2))
    ours, theirs = rectified.RAdam([p], rounding="kahan"), torch.optim.RAdam([q])
    for _ in range(3000):
        p.grad = torch.ones_like(p)
        q.grad = torch.ones_like(q)
        ours.step()
        theirs.step()
    assert torch.allclose(ours.state[p]["exp_avg_sq"], torch.tensor(1 - 0.999**3000), rtol=1e-4)
    twin = reference.Textbook(np.zeros(3), omega=reference.rectified, start="momentum", eps_hat=True)
    for _ in range(3000):
        twin.step(np.ones(3))
    assert numbers(p) == pytest.approx(twin.theta, rel=2**-8)
    assert float(theirs.state[q]["exp_avg_sq"][0]) == 0.5  # torch 2.13's, as it is
    assert float(q.detach()[0]) > 0.5 * twin.theta[0]  # both are negative


@pytest.mark.parametrize("dtype", NARROW, ids=str)
@both_paths
@representatives
def test_kahan_keeps_what_rounding_takes(method, path, dtype):
    """Weight and compensation together follow float64 to 16 bits and more, over steps too small for the weight."""
    params = parameters(dtype, shapes=((40, 3), (7,), ()))
    options = {"lr": 1e-3, "betas": (0.9, 0.95)}  # at which every warmup lets it move
    optimizer = method.optimizer(params, **options, **path, rounding="kahan")
    twins = [method.textbook(numbers(p), **options) for p in params]
    starts = [twin.theta for twin in twins]
    for step in range(1, 31):
        set_gradients(params, step)
        for p, twin in zip(params, twins, strict=True):
            twin.step(numbers(p.grad))
        optimizer.step()
    moved = []
    for p, twin, start in zip(params, twins, starts, strict=True):
        held = numbers(p) + numbers(optimizer.state[p]["compensation"])
        size = np.abs(twin.theta) + 1e-2
        allowed = 30 * 2.0**-18 * size
        assert (np.abs(held - twin.theta) <= allowed).all()
        assert (np.abs(numbers(p) - twin.theta) <= torch.finfo(dtype).eps * size).all()
        moved += list(np.ravel(np.abs(start - twin.theta) / allowed))
    assert np.mean(moved) > 5, "to stand still would not do"


@pytest.mark.filterwarnings("ignore:step 128 of Adam")
def test_to_nearest_loses_small_steps_and_kahan_does_not():
    ends = {}
    for rounding in ("nearest", "kahan"):
        p = torch.nn.Parameter(torch.ones(100, dtype=torch.bfloat16))
        optimizer = rectified.Adam([p], lr=1e-4, rounding=rounding)
        for _ in range(400):
            p.grad = torch.ones_like(p)
            optimizer.step()
        ends[rounding] = p[0].item()
    assert ends["nearest"] == 1.0
    assert ends["kahan"] == pytest.approx(0.96, abs=2**-8)


def test_stochastic_rounding_is_unbiased_and_repeats_by_seed():
    def end(seed):
        torch.manual_seed(seed)
        p = torch.nn.Parameter(torch.ones(20_000, dtype=torch.bfloat16))
        optimizer = rectified.Adam([p], lr=1e-4, rounding="stochastic")
        for _ in range(50):
            p.grad = torch.ones_like(p)
            optimizer.step()
        return p.detach().double()

    found = end(0)
    assert torch.equal(found, end(0))
    assert not torch.equal(found, end(1))
    error = float(found.std()) / 20_000**0.5
    assert abs(float(found.mean()) - (1 - 50e-4)) < 5 * error
    assert error < 1e-4


def test_each_value_is_rounded_to_a_neighbour_with_the_right_odds():
    from rectified.optim.states.low_precision import _round_at_random

    torch.manual_seed(3)
    for value in (1.0, 1.001, -3.14159, 1e-30, 65504.0):
        wide = torch.full((100_000,), value)
        _round_at_random([wide])
        assert torch.equal(wide, wide.bfloat16().float())
        low, high = float(wide.min()), float(wide.max())
        exact = float(torch.tensor(value))
        assert low <= exact <= high
        assert torch.unique(wide).numel() <= 2
        spread = (high - low) / 2 / 100_000**0.5
        assert abs(float(wide.double().mean()) - exact) <= 5 * spread
    for value in (float("inf"), float("-inf"), 0.0):
        wide = torch.full((100,), value)
        _round_at_random([wide])
        assert (wide == value).all()


@pytest.mark.parametrize("rounding", ["nearest", "kahan", "stochastic"])
def test_what_a_hold_leaves_alone_stays_to_the_bit(rounding):
    p = torch.nn.Parameter(torch.randn(1000).bfloat16())
    before = p.detach().clone()
    optimizer = rectified.RAdam([p], start="hold", rounding=rounding)
    for _ in range(5):
        p.grad = torch.randn(1000).bfloat16()
        optimizer.step()
    assert torch.equal(p, before)


@pytest.mark.parametrize("rounding", ["nearest", "kahan"])
@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_a_saved_run_continues_on_the_same_path_with_float32_moments(dtype, rounding):
    params = parameters(dtype)
    optimizer = rectified.RAdam(params, rounding=rounding)
    train(optimizer, params, range(1, 8))
    others = [torch.nn.Parameter(p.detach().clone()) for p in params]
    again = rectified.RAdam(others, rounding=rounding)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for p in others:
        assert again.state[p]["exp_avg_sq"].dtype == torch.float32
    train(optimizer, params, range(8, 20))
    train(again, others, range(8, 20))
    for p, q in zip(params, others, strict=True):
        assert torch.equal(p, q)


def test_a_torch_run_in_bfloat16_continues_in_float32():
    params = parameters(torch.bfloat16)
    theirs = torch.optim.RAdam(params)
    train(theirs, params, range(1, 8))
    ours = rectified.RAdam(params)
    ours.load_state_dict(theirs.state_dict())
    train(ours, params, range(8, 9))
    for p in params:
        assert ours.state[p]["exp_avg"].dtype == torch.float32
        assert theirs.state[p]["exp_avg"].dtype == torch.bfloat16


def test_pre_and_post_hooks_of_a_load_have_their_say():
    p = torch.nn.Parameter(torch.zeros(2, dtype=torch.bfloat16))
    optimizer = rectified.Adam([p])
    p.grad = torch.ones_like(p)
    optimizer.step()
    saved = optimizer.state_dict()
    other = rectified.Adam([p])

    def halve(_, state_dict):
        entry = state_dict["state"][0]
        return {**state_dict, "state": {0: {**entry, "exp_avg": entry["exp_avg"] / 2}}}

    def seal(optimizer):
        optimizer.state[p]["exp_avg_sq"].fill_(7)

    other.register_load_state_dict_pre_hook(halve)
    other.register_load_state_dict_post_hook(seal)
    other.load_state_dict(saved)
    assert torch.equal(other.state[p]["exp_avg"], optimizer.state[p]["exp_avg"] / 2)
    assert other.state[p]["exp_avg"].dtype == torch.float32
    assert (other.state[p]["exp_avg_sq"] == 7).all()
    assert len(other._optimizer_load_state_dict_pre_hooks) == len(other._optimizer_load_state_dict_post_hooks) == 1


def test_the_parameters_own_dtype_on_request_is_torchs_memory():
    p = torch.nn.Parameter(torch.zeros(5, dtype=torch.bfloat16))
    optimizer = rectified.Adam([p], state_dtype=torch.bfloat16)
    p.grad = torch.ones_like(p)
    with FusedCalls() as calls:
        optimizer.step()
    assert calls.count == 1
    assert optimizer.state[p]["exp_avg"].dtype == torch.bfloat16


def test_wider_parameters_in_the_same_group_are_left_as_they_are():
    narrow, wide = (torch.nn.Parameter(torch.ones(3, dtype=dtype)) for dtype in (torch.bfloat16, torch.float64))
    optimizer = rectified.Adam([narrow, wide], rounding="stochastic")
    for p in (narrow, wide):
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert optimizer.state[wide]["exp_avg"].dtype == torch.float64
    assert wide[0].item() == pytest.approx(0.999, rel=1e-7)


@pytest.mark.parametrize(
    ("options", "dtype", "error", "words"),
    [
        ({"rounding": "up"}, torch.bfloat16, ValueError, "rounding is 'up'.*'nearest', 'kahan', 'stochastic'"),
        ({"rounding": "kahan", "state_dtype": torch.bfloat16}, torch.bfloat16, ValueError, "must be torch.float32"),
        ({"rounding": "stochastic"}, torch.float16, RuntimeError, "float16.*'kahan' works for both"),
        ({"state_dtype": torch.float64}, torch.bfloat16, RuntimeError, "state_dtype is torch.float64"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_before_anything_moves(options, dtype, error, words):
    p = torch.nn.Parameter(torch.ones(3, dtype=dtype))
    p.grad = torch.ones_like(p)
    with pytest.raises(error, match=words):
        rectified.Adam([p], **options).step()
    assert (p == 1).all()


# Updates that vanish.


def narrow_run(steps=140, lr=1e-5, dtype=torch.bfloat16, **options):
    torch.manual_seed(0)
    p = torch.nn.Parameter(torch.randn(64, 64).to(dtype))
    optimizer = rectified.AdamW([p], lr=lr, **options)
    for step in range(steps):
        p.grad = torch.randn(64, 64, generator=torch.Generator().manual_seed(step)).to(dtype)
        optimizer.step()


@pytest.mark.parametrize("options", [{}, {"fused": True}, {"state_dtype": torch.bfloat16}, {"state_dtype": "8bit"}])
def test_a_run_whose_updates_round_to_nothing_is_noticed_once(options):
    with pytest.warns(UserWarning, match=r"step 128 of AdamW at lr 1e-05 changed [0-9]% of the torch.bfloat16") as seen:
        narrow_run(**options)
    assert len(seen) == 1
    assert seen[0].filename == __file__


def test_it_is_looked_at_when_the_warmup_is_over():
    with pytest.warns(UserWarning, match="step 180 of AdamW"):
        narrow_run(200, warmup=rectified.warmup.Linear(200))


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 0.01},
        {"rounding": "kahan"},
        {"rounding": "stochastic"},
        {"dtype": torch.float32},
        {"steps": 127},
        {"lr": 0.0},
        {"warmup": rectified.warmup.Linear(1000)},
    ],
    ids=str,
)
def test_no_other_run_is_noticed(options):
    narrow_run(**options)  # a warning would be an error


def bfloat16_run(shape, steps, lr, grad=None, **options):
    torch.manual_seed(0)
    p = torch.nn.Parameter(torch.randn(shape).bfloat16())
    optimizer = rectified.AdamW([p], lr=lr(0), **options)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr(step)
        p.grad = torch.randn(shape, generator=torch.Generator().manual_seed(step)).bfloat16()
        if grad is not None:
            grad(step, p.grad)
        optimizer.step()
    return p


SCHEDULES = {
    "a decay to 0": lambda step: 0.01 * (1 - step / 140),
    "a warmup of a scheduler": lambda step: 0.01 * min(1, (step + 1) / 3000),
}


@pytest.mark.parametrize("lr", SCHEDULES.values(), ids=SCHEDULES)
def test_an_lr_on_its_way_is_not_noticed(lr):
    bfloat16_run((64, 64), 140, lr)


def test_a_warmup_of_a_scheduler_that_ends_too_low_is_noticed_at_its_end():
    with pytest.warns(UserWarning, match="step 201 of AdamW at lr 1e-05"):
        bfloat16_run((64, 64), 210, lambda step: 1e-5 * min(1, (step + 1) / 200))


def test_elements_without_a_gradient_and_one_column_do_not_count():
    def sparse(step, grad):
        grad[step % 60 :] = 0

    bfloat16_run((64, 512), 140, lambda _: 0.01, sparse)
    p = torch.nn.Parameter(0.01 * torch.randn(2048, 512).bfloat16())
    with torch.no_grad():
        p[:, 0] = 100.0
    optimizer = rectified.AdamW([p], lr=1e-3)
    for _ in range(130):
        p.grad = torch.randn(2048, 512).bfloat16()
        optimizer.step()


def test_parameters_that_step_in_backward_do_not_stand_for_all():
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.LayerNorm(64)).bfloat16()
    rectified.optim.StepInBackward(rectified.AdamW(model.parameters(), lr=1e-3))
    for _ in range(140):
        model(torch.randn(8, 64).bfloat16()).float().square().mean().backward()


def test_an_lr_on_a_device_is_not_read():
    """As in a capture, which such a read would end."""
    p = torch.nn.Parameter(torch.ones(8, dtype=torch.bfloat16))
    lr = torch.tensor(1e-3)
    optimizer = rectified.AdamW([p], lr=lr, capturable=True)
    lr.detach = lambda: pytest.fail("the lr is read")
    p.grad = torch.ones_like(p)
    optimizer.step()
