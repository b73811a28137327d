"""CUDA graphs of steps, and steps that never wait for the device."""

import copy
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from cuda_device import DEVICE, captured, needs_gpu, never_waiting, warnings_of_any_torch
from cuda_methods import (
    LR,
    METHODS,
    OTHERS,
    WITH_A_LARGE_ONE,
    close,
    copies,
    host,
    make_parameters,
    paths,
    relative_error,
    rounding,
    set_gradients,
    train,
)

from rectified import Adam, RAdam
from trajectories import Race, gradient

pytestmark = warnings_of_any_torch


def refill(params, step):
    """New gradients where a graph reads them."""
    for i, p in enumerate(params):
        p.grad.copy_(gradient(p, i, step))


GRAPHED = ["adam", "adam amsgrad", "adamw", "adam linear", "adam, m delayed", "radam", "radam hold", "radam decoupled"]


@needs_gpu
@pytest.mark.parametrize("name", GRAPHED)
@pytest.mark.parametrize("path", [{}, {"fused": True}, {"foreach": True}], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64], ids=str)
def test_replays_of_a_cuda_graph_are_steps(name, path, dtype):
    make, _ = METHODS[name]
    params = make_parameters(dtype, WITH_A_LARGE_ONE)
    plain = copies(params)
    optimizer, other = make(params, lr=LR, capturable=True, **path), make(plain, lr=LR)
    relative = relative_error(torch.float64 if dtype is torch.float64 else torch.float32, {"capturable": True})
    judge = Race([host(p) for p in plain], 2 * relative, rounding(dtype))
    set_gradients(params, 1)
    graph = captured(optimizer.step)
    train(other, plain, [1])
    judge.check([host(p) for p in params], [host(q) for q in plain])
    for step in range(2, 22):
        refill(params, step)
        graph.replay()
        train(other, plain, [step])
        judge.check([host(p) for p in params], [host(q) for q in plain])
    assert all(float(optimizer.state[p]["step"]) == 21 for p in params)
    assert float(optimizer.param_groups[0]["omega"]) == pytest.approx(other.param_groups[0]["omega"], rel=1e-6)


@needs_gpu
@pytest.mark.parametrize("name", ["adam", "adamw", "radam", "adam, m delayed"])
@pytest.mark.parametrize("path", [{}, {"fused": True}, {"foreach": True}], ids=str)
def test_an_lr_that_changes_between_replays_is_felt(name, path):
    make, _ = METHODS[name]
    params = make_parameters(torch.float32)
    plain = copies(params)
    lr = torch.tensor(LR, device=DEVICE)
    optimizer, other = make(params, lr=lr, capturable=True, **path), make(plain, lr=LR)
    judge = Race([host(p) for p in plain], 6e-5, rounding(torch.float32))
    set_gradients(params, 1)
    graph = captured(optimizer.step)
    train(other, plain, [1])
    judge.check([host(p) for p in params], [host(q) for q in plain])
    for step in range(2, 20):
        lr.mul_(0.75)
        other.param_groups[0]["lr"] *= 0.75
        refill(params, step)
        graph.replay()
        train(other, plain, [step])
        judge.check([host(p) for p in params], [host(q) for q in plain])
    assert optimizer.param_groups[0]["lr"] is lr


@needs_gpu
@pytest.mark.parametrize("how", ["nearest", "kahan"])
def test_a_graph_of_bfloat16_parameters(how):
    params = make_parameters(torch.bfloat16)
    plain = copies(params)
    optimizer, other = (
        RAdam(x, lr=LR, betas=(0.9, 0.95), rounding=how, capturable=capturable)
        for x, capturable in ((params, True), (plain, False))
    )
    set_gradients(params, 1)
    graph = captured(optimizer.step)
    train(other, plain, [1])
    for step in range(2, 20):
        refill(params, step)
        graph.replay()
        train(other, plain, [step])
    for p, q in zip(params, plain, strict=True):
        np.testing.assert_allclose(host(p), host(q), rtol=2 * torch.finfo(torch.bfloat16).eps, atol=1e-3)


@needs_gpu
def test_replays_draw_new_random_bits_for_stochastic_rounding():
    p = torch.nn.Parameter(torch.ones(20_000, dtype=torch.bfloat16, device=DEVICE))
    optimizer = Adam([p], lr=1e-4, rounding="stochastic", capturable=True)
    p.grad = torch.ones_like(p)
    graph = captured(optimizer.step)
    for _ in range(49):
        graph.replay()
    found = p.detach().double().cpu()
    error = float(found.std()) / 20_000**0.5
    assert 0 < error < 1e-4
    assert abs(float(found.mean()) - (1 - 50e-4)) < 5 * error


@needs_gpu
def test_a_whole_training_step_in_one_graph():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1)).to(DEVICE)
    twin = copy.deepcopy(model)
    optimizer, other = RAdam(model.parameters(), lr=LR, capturable=True), RAdam(twin.parameters(), lr=LR)
    x, y = torch.randn(64, 16, device=DEVICE), torch.randn(64, 1, device=DEVICE)

    def step(model, optimizer):
        optimizer.zero_grad(set_to_none=False)
        torch.nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()

    graph = captured(partial(step, model, optimizer), warm=3)
    for _ in range(20):
        graph.replay()
    for _ in range(23):
        step(twin, other)
    close(model.parameters(), twin.parameters(), 1e-4)
    assert float(optimizer.state[model[0].weight]["step"]) == 23


@needs_gpu
def test_a_capture_without_capturable_is_refused_and_nothing_moves():
    params = make_parameters(torch.float32)
    optimizer = RAdam(params, lr=LR)
    train(optimizer, params, [1])
    before = [host(p) for p in params]
    graph = torch.cuda.CUDAGraph()
    with (
        warnings.catch_warnings(action="ignore"),  # that the graph is empty
        pytest.raises(RuntimeError, match="capturable"),
        torch.cuda.graph(graph),
    ):
        optimizer.step()
    assert all((host(p) == x).all() for p, x in zip(params, before, strict=True))
    assert float(optimizer.state[params[0]]["step"]) == 1


@needs_gpu
@pytest.mark.parametrize("name", METHODS)
@paths
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_steady_step_never_waits_for_the_device(name, path, dtype):
    make, _ = METHODS[name]
    params = make_parameters(dtype)
    optimizer = make(params, lr=LR, **path)
    train(optimizer, params, range(1, 9))  # past every start
    set_gradients(params, 9)
    with never_waiting():
        for _ in range(3):
            optimizer.step()


@needs_gpu
@pytest.mark.parametrize("name", ["RMSprop", "RMSprop centered", "NAdam", "Adadelta", "LAMB"])
def test_nor_does_one_of_the_other_methods(name):
    params = make_parameters(torch.float32)
    optimizer = OTHERS[name](params)
    train(optimizer, params, range(1, 9))
    with never_waiting():
        for _ in range(3):
            optimizer.step()
