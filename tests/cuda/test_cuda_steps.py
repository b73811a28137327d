"""Steps on an NVIDIA GPU: the papers' numbers, on every path, for every layout, and in 16 bits."""

import numpy as np
import pytest
import torch
from cuda_device import DEVICE, warnings_of_any_torch
from cuda_methods import (
    LR,
    METHODS,
    OTHERS,
    WITH_A_LARGE_ONE,
    close,
    copies,
    dtypes,
    host,
    make_parameters,
    methods,
    paths,
    race,
    relative_error,
    rounding,
    set_gradients,
    train,
    twins_of,
)

from rectified import Adam, AdamW, RAdam, optim
from trajectories import Race, gradient

pytestmark = warnings_of_any_torch

# The numbers


@methods
@paths
@dtypes
def test_twenty_steps_are_the_papers(name, path, dtype):
    make, twin = METHODS[name]
    params = make_parameters(dtype, WITH_A_LARGE_ONE)
    optimizer = make(params, lr=LR, **path)
    race(optimizer, params, twins_of(params, twin, lr=LR), range(1, 21), relative_error(dtype, path), dtype)
    for p in params:
        assert float(optimizer.state[p]["step"]) == 20
        assert optimizer.state[p]["exp_avg"].device == p.device


@pytest.mark.parametrize("name", ["adam", "adamw", "radam", "adam, m delayed"])
@paths
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
def test_complex_parameters(name, path, dtype):
    make, twin = METHODS[name]
    params = make_parameters(dtype)
    real = torch.float32 if dtype is torch.complex64 else torch.float64
    optimizer = make(params, lr=LR, **path)
    race(optimizer, params, twins_of(params, twin, lr=LR), range(1, 13), relative_error(real, path), real)


@pytest.mark.parametrize("name", ["adam", "adamw", "radam"])
@pytest.mark.parametrize("path", [{}, {"capturable": True}], ids=str)
def test_a_float64_default_dtype(name, path):
    make, twin = METHODS[name]
    params = make_parameters()
    torch.set_default_dtype(torch.float64)
    try:
        optimizer, twins = make(params, lr=LR, **path), twins_of(params, twin, lr=LR)
        race(optimizer, params, twins, range(1, 10), relative_error(torch.float64, path), torch.float64)
    finally:
        torch.set_default_dtype(torch.float32)


TORCHS = {
    "Adam": (Adam, torch.optim.Adam, {"weight_decay": 0.1}),
    "Adam amsgrad": (Adam, torch.optim.Adam, {"amsgrad": True, "maximize": True}),
    "AdamW": (AdamW, torch.optim.AdamW, {"weight_decay": 0.1}),
    "RAdam": (RAdam, torch.optim.RAdam, {"weight_decay": 0.1}),
    "RAdam decoupled": (RAdam, torch.optim.RAdam, {"weight_decay": 0.1, "decoupled_weight_decay": True}),
}


@pytest.mark.parametrize("name", TORCHS)
@paths
@dtypes
def test_torchs_class_of_the_same_name_takes_the_same_steps(name, path, dtype):
    """Torch's without capturable: with it, torch computes rho and the bias corrections in float32, float64 or not."""
    ours, theirs, options = TORCHS[name]
    params = make_parameters(dtype)
    plain = copies(params)
    left_out = {"capturable", *(["fused"] if theirs is torch.optim.RAdam else [])}  # which torch's RAdam has not
    torchs = {key: x for key, x in path.items() if key not in left_out}
    optimizer, other = ours(params, lr=LR, **options, **path), theirs(plain, lr=LR, **options, **torchs)
    start = [host(p) for p in params]
    relative = 2 * relative_error(dtype, path)
    judge = Race(start, max(relative, 1e-9) if dtype is torch.float64 else relative, rounding(dtype))
    for step in range(1, 21):
        train(optimizer, params, [step])
        train(other, plain, [step])
        judge.check([host(p) for p in params], [host(q) for q in plain])


@pytest.mark.parametrize("name", OTHERS)
def test_the_other_methods_take_the_steps_that_they_take_on_a_cpu(name):
    make = OTHERS[name]
    params = make_parameters()
    plain = copies(params, "cpu")
    optimizer, other = make(params, weight_decay=0.01), make(plain, weight_decay=0.01)
    train(optimizer, params, range(1, 21))
    train(other, plain, range(1, 21))
    close(params, plain, 1e-8)
    assert all(x.device == p.device for p in params for x in optimizer.state[p].values() if x.dim())


def test_a_random_start_is_drawn_on_the_device_and_repeats_by_seed():
    def end():
        torch.manual_seed(0)
        params = make_parameters()
        optimizer = optim.RandomV0Adam(params)
        train(optimizer, params, range(1, 5))
        return params

    assert all(torch.equal(p, q) for p, q in zip(end(), end(), strict=True))


# Layouts

GUARD = 7.0
LAYOUTS = {  # how the parameter lies in a block of 100 numbers, and how its gradient lies
    "channels_last": (lambda b: b[20:56].view(2, 3, 3, 2).permute(0, 3, 1, 2), "channels_last"),
    "channels_last, contiguous gradient": (lambda b: b[20:56].view(2, 3, 3, 2).permute(0, 3, 1, 2), "contiguous"),
    "contiguous, channels_last gradient": (lambda b: b[20:56].view(2, 2, 3, 3), "channels_last"),
    "slice": (lambda b: b[20:56].view(6, 6)[:, 1:3], "contiguous"),
    "every other": (lambda b: b[20:56][::2], "contiguous"),
    "transposed": (lambda b: b[20:56].view(4, 9).t(), "contiguous"),
    "an odd offset": (lambda b: b[21:56], "contiguous"),
}


@pytest.mark.parametrize("name", ["adam", "adamw", "radam", "adam, m delayed"])
@pytest.mark.parametrize("path", [{}, {"foreach": True}, {"capturable": True}], ids=str)
@dtypes
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_is_stepped_and_its_neighbors_are_spared(name, path, dtype, layout):
    make, twin = METHODS[name]
    lay, of_gradient = LAYOUTS[layout]
    block = torch.full((100,), GUARD, dtype=dtype, device=DEVICE)
    p = torch.nn.Parameter(lay(block))
    with torch.no_grad():
        p.copy_(gradient(p, 0, 99))
    inside = torch.zeros(100, dtype=torch.bool)
    inside[lay(torch.arange(100))] = True
    optimizer = make([p], lr=LR, **path)
    (judge,) = twins_of([p], twin, lr=LR)
    so_far = Race([judge.theta], relative_error(dtype, path), rounding(dtype))
    for step in range(1, 9):
        g = gradient(p, 0, step).to(DEVICE)
        memory = torch.channels_last if of_gradient == "channels_last" else torch.contiguous_format
        p.grad = g.contiguous(memory_format=memory)
        judge.step(host(p.grad))
        optimizer.step()
        so_far.check([host(p)], [judge.theta])
    assert (block.cpu()[~inside] == GUARD).all(), "memory that is not the parameter's was written"


# 16 bits


@pytest.mark.parametrize("name", ["adam", "adamw", "radam", "radam hold"])
@pytest.mark.parametrize("path", [{}, {"foreach": True}, {"capturable": True}], ids=str)
@pytest.mark.parametrize(
    ("dtype", "how"),
    [
        (torch.bfloat16, "nearest"),
        (torch.bfloat16, "kahan"),
        (torch.bfloat16, "stochastic"),
        (torch.float16, "nearest"),
        (torch.float16, "kahan"),
    ],
    ids=str,
)
def test_16_bit_parameters_follow_float64_as_closely_as_their_rounding_allows(name, path, dtype, how):
    make, twin = METHODS[name]
    params = make_parameters(dtype)
    options = {"lr": LR, "betas": (0.9, 0.95)}  # at which every warmup lets it move within these steps
    optimizer = make(params, **options, **path, rounding=how)
    twins = twins_of(params, twin, **options)
    for step in range(1, 21):
        set_gradients(params, step)
        for p, judge in zip(params, twins, strict=True):
            judge.step(host(p.grad))
        optimizer.step()
    for p, judge in zip(params, twins, strict=True):
        assert optimizer.state[p]["exp_avg_sq"].dtype == torch.float32
        size = np.abs(judge.theta) + 0.2
        if how == "kahan":
            held = host(p) + host(optimizer.state[p]["compensation"])
            assert (np.abs(held - judge.theta) <= 20 * 2.0**-17 * size).all()
            assert (np.abs(host(p) - judge.theta) <= torch.finfo(dtype).eps * size).all()
        else:  # a rounding a step, each of up to half a unit of the last place, or a whole one
            assert (np.abs(host(p) - judge.theta) <= 20 * torch.finfo(dtype).eps * size).all()


@pytest.mark.parametrize("path", [{}, {"capturable": True}], ids=str)
def test_stochastic_rounding_is_unbiased_and_repeats_by_seed(path):
    def end(seed):
        torch.manual_seed(seed)
        p = torch.nn.Parameter(torch.ones(20_000, dtype=torch.bfloat16, device=DEVICE))
        optimizer = Adam([p], lr=1e-4, rounding="stochastic", **path)
        for _ in range(50):
            p.grad = torch.ones_like(p)
            optimizer.step()
        return p.detach().double().cpu()

    found = end(0)
    assert torch.equal(found, end(0))
    assert not torch.equal(found, end(1))
    error = float(found.std()) / 20_000**0.5
    assert 0 < error < 1e-4
    assert abs(float(found.mean()) - (1 - 50e-4)) < 5 * error
