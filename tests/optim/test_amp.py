"""With a GradScaler: the op unscales, and a step that is skipped moves nothing, no decay and no clock."""

import pytest
import torch

import rectified
from roster import representatives
from trajectories import numbers, parameters, set_gradients, train

SCALE = 1024.0

WAYS = [{}, {"foreach": True}, {"fused": True}, {"capturable": True}, {"capturable": True, "foreach": True}]
who_unscales = pytest.mark.parametrize("asked", WAYS, ids=str)
capturable_or_not = pytest.mark.parametrize("capturable", [False, True], ids=["host", "capturable"])


def snapshot(optimizer, params):
    states = [{k: x.clone() for k, x in optimizer.state.get(p, {}).items()} for p in params]
    return [p.detach().clone() for p in params], states


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one[0], other[0], strict=True)) and all(
        a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a) for a, b in zip(one[1], other[1], strict=True)
    )


def scaled_step(optimizer, scaler, params, step, infinite=False):
    set_gradients(params, step, scale=SCALE)
    if infinite:
        params[0].grad.view(-1)[0] = torch.inf
    scaler.scale(torch.zeros(()))  # which makes the scale's tensor
    scaler.step(optimizer)
    scaler.update()


@representatives
@who_unscales
def test_the_trajectory_is_the_one_of_unscaled_gradients(method, asked):
    params, plain = parameters(torch.float32), parameters(torch.float32)
    optimizer = method.optimizer(params, **asked)
    other = method.optimizer(plain)
    scaler = torch.amp.GradScaler("cpu", init_scale=SCALE, growth_interval=10**6)
    for step in range(1, 10):
        scaled_step(optimizer, scaler, params, step)
        train(other, plain, [step])
    for p, q in zip(params, plain, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)
        # Adam's step would be the same without any unscaling; its moments would not.
        for name in ("exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(optimizer.state[p][name], other.state[q][name], rtol=1e-5, atol=1e-9)


@representatives
@who_unscales
@pytest.mark.parametrize("before", [0, 1, 8])
def test_a_skipped_step_moves_nothing_and_no_clock(method, asked, before):
    params = parameters(torch.float32)
    optimizer = method.optimizer(params, weight_decay=0.1, **asked)
    scaler = torch.amp.GradScaler("cpu", init_scale=SCALE, backoff_factor=1.0 - 1e-9, growth_interval=10**6)
    for step in range(1, before + 1):
        scaled_step(optimizer, scaler, params, step)
    kept = snapshot(optimizer, params)
    scaled_step(optimizer, scaler, params, 50, infinite=True)
    now = snapshot(optimizer, params)
    if before:
        assert equal(kept, now)
    else:
        assert all(torch.equal(a, b) for a, b in zip(kept[0], now[0], strict=True))
        assert all(float(x.abs().max() if x.numel() else 0) == 0 for entry in now[1] for x in entry.values())
    assert all(float(optimizer.state[p]["step"]) == before for p in params if optimizer.state.get(p))


@capturable_or_not
def test_a_rectifiers_clock_does_not_run_ahead_of_its_moments(capturable):
    """Skipped steps interleaved: the trajectory is the one without them."""
    params, plain = parameters(torch.float64), parameters(torch.float64)
    optimizer, other = rectified.RAdam(params, capturable=capturable), rectified.RAdam(plain)
    scaler = torch.amp.GradScaler("cpu", init_scale=SCALE, backoff_factor=1.0 - 1e-12, growth_interval=10**6)
    for step in range(1, 12):
        scaled_step(optimizer, scaler, params, step, infinite=step % 3 == 0)
        if step % 3:
            train(other, plain, [step])
    for p, q in zip(params, plain, strict=True):
        assert numbers(p) == pytest.approx(numbers(q), rel=1e-6, abs=1e-9)


def test_gradients_are_unscaled_by_the_op_alone():
    """`p.grad` holds the unscaled gradient after the step, as after torch's fused Adam."""
    p = torch.nn.Parameter(torch.zeros(3))
    optimizer = rectified.Adam([p], fused=True)
    assert optimizer._step_supports_amp_scaling
    assert not rectified.Adam([p])._step_supports_amp_scaling
    scaler = torch.amp.GradScaler("cpu", init_scale=SCALE)
    p.grad = torch.full((3,), 5 * SCALE)
    scaler.scale(torch.zeros(()))
    scaler.step(optimizer)
    assert (p.grad == 5).all()
    assert not hasattr(optimizer, "found_inf")


@capturable_or_not
def test_after_unscale_and_clipping_nothing_is_unscaled_twice(capturable):
    p = torch.nn.Parameter(torch.zeros(4, dtype=torch.float64))
    optimizer = rectified.Adam([p], capturable=capturable)
    scaler = torch.amp.GradScaler("cpu", init_scale=SCALE)
    p.grad = torch.full((4,), 5 * SCALE, dtype=torch.float64)
    scaler.scale(torch.zeros(()))
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_([p], 1.0)
    scaler.step(optimizer)
    assert optimizer.state[p]["exp_avg"][0] == pytest.approx(0.1 * 0.5, rel=1e-5)


def test_the_huge_start_is_measured_on_unscaled_gradients(recwarn):
    p = torch.nn.Parameter(torch.ones(4))
    optimizer = rectified.RAdam([p], lr=1e-3)
    scaler = torch.amp.GradScaler("cpu", init_scale=65536.0)
    p.grad = torch.full((4,), 65536.0)
    scaler.scale(torch.zeros(()))
    scaler.step(optimizer)
    assert not recwarn.list


def test_a_verdict_that_two_devices_share_is_a_sum_and_still_skips():
    """GradScaler adds the devices' verdicts up: 2 where both have found an infinity."""
    params = parameters(torch.float32)
    optimizer = rectified.RAdam(params, lr=0.01, weight_decay=0.1, capturable=True)
    train(optimizer, params, range(1, 8))
    kept = snapshot(optimizer, params)
    optimizer.grad_scale, optimizer.found_inf = torch.tensor(8.0), torch.tensor(2.0)
    train(optimizer, params, [8])
    assert equal(kept, snapshot(optimizer, params))


def test_bfloat16_parameters_under_a_scaler():
    p = torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    optimizer = rectified.Adam([p], lr=0.25)
    scaler = torch.amp.GradScaler("cpu", init_scale=SCALE)
    p.grad = torch.full((4,), SCALE, dtype=torch.bfloat16)
    scaler.scale(torch.zeros(()))
    scaler.step(optimizer)
    assert (p == 0.75).all()
