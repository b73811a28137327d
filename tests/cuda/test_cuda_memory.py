"""An optimizer's memory on an NVIDIA GPU is freed with it, and a step needs none of its own."""

import gc
from functools import partial

import pytest
import torch
from cuda_device import DEVICE, needs_gpu, warnings_of_any_torch

from rectified import LAMB, Adadelta, Adam, AdamW, NAdam, RAdam, RMSprop

pytestmark = warnings_of_any_torch

STEPPED = {
    "Adam": Adam,
    "AdamW": AdamW,
    "RAdam": RAdam,
    "RAdam capturable": partial(RAdam, capturable=True),
    "RAdam foreach": partial(RAdam, foreach=True),
    "RMSprop": RMSprop,
    "NAdam": NAdam,
    "Adadelta": Adadelta,
    "LAMB": LAMB,
}
SIZE = 2**20


@pytest.fixture
def no_collector():
    """What is freed is freed at once, and not by the garbage collector."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def stepped(make):
    """Parameters that have taken a step, their optimizer, and the bytes there were before it; caches are filled."""
    for warming in (True, False):
        params = [torch.nn.Parameter(torch.ones(SIZE, device=DEVICE)) for _ in range(3)]
        for p in params:
            p.grad = torch.ones_like(p)
        before = torch.cuda.memory_allocated()
        optimizer = make(params)
        optimizer.step()
        if warming:
            del params, p, optimizer
    assert torch.cuda.memory_allocated() >= before + 4 * 3 * SIZE
    return params, optimizer, before


@needs_gpu
@pytest.mark.parametrize("name", STEPPED)
@pytest.mark.usefixtures("no_collector")
def test_an_optimizer_that_is_deleted_leaves_no_memory_behind(name):
    params, optimizer, before = stepped(STEPPED[name])
    del optimizer
    assert torch.cuda.memory_allocated() <= before
    assert len(params) == 3


@needs_gpu
@pytest.mark.parametrize("name", STEPPED)
@pytest.mark.usefixtures("no_collector")
def test_a_state_that_is_cleared_is_freed_at_once(name):
    _params, optimizer, before = stepped(STEPPED[name])
    held = torch.cuda.memory_allocated() - before
    optimizer.state.clear()
    assert torch.cuda.memory_allocated() - before <= 0.25 * held  # a capturable step's table of coefficients may stay


@needs_gpu
@pytest.mark.parametrize("name", ["Adam", "AdamW", "RAdam"])
def test_a_step_of_float32_parameters_needs_no_memory_of_its_own(name):
    params, optimizer, _ = stepped(STEPPED[name])
    for _ in range(6):
        optimizer.step()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    optimizer.step()
    torch.cuda.synchronize()
    assert torch.cuda.max_memory_allocated() - before < 4 * SIZE
    assert len(params) == 3
