"""What every method does: its twin's steps, on both paths, whatever the gradients, groups and dtypes."""

import numpy as np
import pytest
import torch

from roster import BY_NAME, both_paths, every_method
from trajectories import (
    closure,
    comes_and_goes,
    gradient,
    numbers,
    parameters,
    race,
    set_gradients,
    train,
)

OPTIONS = {
    "as it comes": {},
    "L2": {"weight_decay": 0.1},
    "maximize with L2": {"weight_decay": 0.1, "maximize": True, "lr": 0.02},
    "short memory": {"betas": (0.8, 0.95), "lr": 0.05},
    "no momentum": {"betas": (0.0, 0.99), "eps": 1e-3},
    "nearly endless memory": {"betas": (0.9, 1 - 1e-9), "lr": 0.01},
    "a learning rate of 0": {"lr": 0.0, "weight_decay": 0.1},
    "tensor lr": {"lr": torch.tensor(0.01, dtype=torch.float64)},
    "tensor lr of one element": {"lr": torch.tensor([0.01], dtype=torch.float64), "weight_decay": 0.1},
}


@every_method
@both_paths
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_takes_its_twins_steps(method, path, options):
    params = parameters()
    optimizer = method.optimizer(params, **options, **path)
    race(optimizer, params, [method.textbook(numbers(p), **options) for p in params], range(1, 15))


@every_method
@both_paths
@pytest.mark.parametrize("scale", [1e3, 1e-4, 1e-7])
def test_takes_its_twins_steps_at_any_size_of_gradient(method, path, scale):
    params = parameters()
    # A learning rate at which the start is not huge against the weights: another test hears that warning.
    options = {"lr": 1e-3 * min(1.0, 0.1 / scale)}
    twins = [method.textbook(numbers(p), **options) for p in params]
    race(method.optimizer(params, **options, **path), params, twins, range(1, 15), scale=scale)


@every_method
@both_paths
def test_a_frozen_parameter_stands_and_its_clock_too(method, path):
    params = parameters()
    optimizer = method.optimizer(params, lr=0.01, weight_decay=0.1, **path)
    twins = [method.textbook(numbers(p), lr=0.01, weight_decay=0.1) for p in params]
    so_far = race(optimizer, params, twins, range(1, 5))
    params[0].requires_grad_(False)
    still = params[0].detach().clone()
    race(optimizer, params, twins, range(5, 11), lambda i, _: i != 0, so_far=so_far)
    assert torch.equal(params[0], still)
    params[0].requires_grad_(True)
    race(optimizer, params, twins, range(11, 17), so_far=so_far)


@every_method
@both_paths
def test_options_changed_between_steps_count_from_the_next(method, path):
    params = parameters()
    optimizer = method.optimizer(params, lr=0.01, **path)
    twins = [method.textbook(numbers(p), lr=0.01) for p in params]
    so_far = race(optimizer, params, twins, range(1, 5))
    changes = {"lr": 0.002, "weight_decay": 0.3, "eps": 1e-4, "maximize": True, "betas": (0.7, 0.98)}
    optimizer.param_groups[0].update(changes)
    for twin in twins:
        twin.lr, twin.weight_decay, twin.eps, twin.maximize = 0.002, 0.3, 1e-4, True
        twin.beta1, twin.beta2 = changes["betas"]
    race(optimizer, params, twins, range(5, 11), so_far=so_far)


@every_method
@both_paths
@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1, "maximize": True}], ids=["plain", "L2, maximize"])
def test_complex_numbers_step_as_pairs_of_reals(method, path, options):
    params = parameters(torch.complex128, shapes=((3, 2), (), (0,)))
    optimizer = method.optimizer(params, **options, **path)
    twins = [method.textbook(numbers(p), **options) for p in params]
    race(optimizer, params, twins, range(1, 11), lambda i, step: (i, step) != (0, 3))


@every_method
@both_paths
@pytest.mark.filterwarnings("ignore:the first momentum step")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_narrow_dtypes_follow_the_float64_path(method, path, dtype):
    params = parameters(dtype, shapes=((40, 30), (7,), ()))
    options = {"lr": 0.2, "betas": (0.8, 0.95), "eps": 1e-3}  # steps that bfloat16 can resolve;
    if dtype is not torch.float32:
        options["weight_decay"] = 0.0  # a factor of 0.998 it cannot
    optimizer = method.optimizer(params, **options, **path)
    twins = [method.textbook(numbers(p), **options) for p in params]
    starts = [twin.theta for twin in twins]
    for step in range(1, 13):
        set_gradients(params, step)
        for p, twin in zip(params, twins, strict=True):
            twin.step(numbers(p.grad))
        optimizer.step()
    for p, twin, start in zip(params, twins, starts, strict=True):
        assert p.dtype == dtype
        assert optimizer.state[p]["exp_avg"].dtype == torch.float32
        # Each step rounds theta once or twice.
        moved, size = np.mean(abs(twin.theta - start)), np.mean(abs(twin.theta))
        allowed = torch.finfo(dtype).eps * (moved + 6 * size)
        assert np.mean(abs(numbers(p) - twin.theta)) <= allowed
        assert moved > 2 * allowed, "to stand still would not do"


@every_method
@both_paths
def test_a_closure_is_called_once_with_gradients_on_and_its_loss_returned(method, path):
    p = parameters(shapes=((4,),))[0]
    optimizer = method.optimizer([p], **path)
    twin = method.textbook(numbers(p))
    calls = []
    for _ in range(7):
        expected = float((p.detach() ** 2).sum())
        twin.step(2 * numbers(p))
        with torch.no_grad():
            assert optimizer.step(closure(optimizer, p, calls)).item() == expected
    assert calls == [True] * 7
    np.testing.assert_allclose(numbers(p), twin.theta, rtol=1e-12)


@every_method
@both_paths
def test_no_gradient_at_all_is_no_step(method, path):
    params = parameters()
    optimizer = method.optimizer(params, **path)
    before = [p.detach().clone() for p in params]
    optimizer.step()
    assert all(torch.equal(p, x) for p, x in zip(params, before, strict=True))
    assert optimizer.param_groups[0]["omega"] is None
    assert not optimizer.state_dict()["state"]


@every_method
def test_omega_of_the_last_step_can_be_read(method):
    params = parameters()
    optimizer = method.optimizer(params)
    twin = method.textbook(numbers(params[0]))
    for step in range(1, 9):
        train(optimizer, params, [step], comes_and_goes)  # it is that of the oldest clocks, the last two parameters'
        assert optimizer.param_groups[0]["omega"] == pytest.approx(twin.omega(step, 0.999), rel=1e-12, abs=0)


def test_the_two_paths_differ_by_rounding_only_in_float32():
    for name in ("radam", "adamw", "adam-2k"):
        fused, foreach = parameters(torch.float32), parameters(torch.float32)
        train(BY_NAME[name].optimizer(fused), fused, range(1, 30))
        train(BY_NAME[name].optimizer(foreach, foreach=True), foreach, range(1, 30))
        for a, b in zip(fused, foreach, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
    assert gradient(fused[0], 0, 1).dtype == torch.float32
