"""The Triton kernel on an NVIDIA GPU: the steps of the other kernels, in a CUDA graph, beyond 2^31 elements.

In triton's interpreter it is tested by tests/optim/test_triton_kernel.py.
"""

import pytest
import torch
from cuda_device import DEVICE, captured, needs_gpu, warnings_of_any_torch

from rectified import AdamW, RAdam, explain
from rectified.optim.states.eight_bit import moment
from rectified.warmup import GuardedLinear, Linear, SecondMomentOnly
from trajectories import gradient

pytestmark = warnings_of_any_torch

SHAPES = ((64, 256), (40, 130), (33, 128), (7,), (), (0,), (1025,))
RUNS = {
    "nearest": {},
    "amsgrad": {"amsgrad": True},
    "kahan": {"rounding": "kahan"},
    "maximize": {"maximize": True},
    "8 bits": {"state_dtype": "8bit"},
    "8 bits, kahan": {"state_dtype": "8bit", "rounding": "kahan"},
    "8 bits, delayed": {"state_dtype": "8bit", "warmup": SecondMomentOnly(2)},
    "8 bits, on the device": {"state_dtype": "8bit", "capturable": True, "warmup": Linear(4)},
}


def parameters(dtype, offset=0):
    """Parameters on the device, whose addresses are multiples of 16 bytes if the offset is 0."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for shape in SHAPES:
        x = torch.randn(torch.Size(shape).numel() + offset, generator=generator).to(DEVICE, dtype)
        made.append(torch.nn.Parameter(x[offset:].view(shape)))
    return made


def train(optimizer, params, steps):
    for step in steps:
        for i, p in enumerate(params):
            p.grad = gradient(p, i, step).to(DEVICE)
        optimizer.step()


@pytest.mark.parametrize("offset", [0, 1], ids=["aligned", "unaligned"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("options", RUNS.values(), ids=RUNS)
def test_a_run_is_that_of_the_other_kernels(options, dtype, offset):
    params, others = parameters(dtype, offset), parameters(dtype, offset)
    optimizer = AdamW(params, lr=0.01, fused=True, **options)
    train(optimizer, params, range(6))
    if DEVICE == "cuda" and (dtype is not torch.float32 or "state_dtype" in options):
        assert "triton" in explain(optimizer)[0].kernels
    train(AdamW(others, lr=0.01, **options), others, range(6))
    unit = 4 * torch.finfo(dtype).eps
    for p, q in zip(params, others, strict=True):
        torch.testing.assert_close(p.float(), q.float(), rtol=unit, atol=5e-4 if "state_dtype" in options else 1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_8_bits_take_the_steps_that_they_take_on_a_cpu(dtype):
    params = parameters(dtype)
    here = [torch.nn.Parameter(p.detach().cpu()) for p in params]
    optimizer, other = (RAdam(x, lr=0.01, state_dtype="8bit", fused=True) for x in (params, here))
    for step in range(9):
        for i, (p, q) in enumerate(zip(params, here, strict=True)):
            q.grad = gradient(q, i, step)
            p.grad = q.grad.to(DEVICE)
        optimizer.step()
        other.step()
    for p, q in zip(params, here, strict=True):
        torch.testing.assert_close(p.cpu().float(), q.float(), rtol=4 * torch.finfo(dtype).eps, atol=5e-4)
        for name in ("exp_avg", "exp_avg_sq"):
            x, y = moment(optimizer.state[p], name).cpu(), moment(other.state[q], name)
            assert (x - y).abs().sum() <= 0.01 * y.abs().sum()


@needs_gpu
@pytest.mark.parametrize("options", [{}, {"state_dtype": "8bit"}, {"rounding": "stochastic"}], ids=str)
def test_replays_of_a_cuda_graph_are_steps(options):
    params, others = parameters(torch.bfloat16), parameters(torch.bfloat16)
    optimizer = AdamW(params, lr=0.01, fused=True, capturable=True, **options)
    for i, p in enumerate(params):
        p.grad = gradient(p, i, 0).to(DEVICE)
    graph = captured(optimizer.step, warm=3)
    for step in range(1, 5):
        for i, p in enumerate(params):
            p.grad.copy_(gradient(p, i, step))
        graph.replay()
    first = [p.grad for p in params]
    train(optimizer, params, [5])  # with other gradients, which have another table
    torch.cuda.empty_cache()
    for i, (p, grad) in enumerate(zip(params, first, strict=True)):
        p.grad = grad.copy_(gradient(p, i, 6))
    graph.replay()
    other = AdamW(others, lr=0.01, **{**options, "rounding": "nearest"})
    train(other, others, [0, 0, 0, 1, 2, 3, 4, 5, 6])
    assert all(float(entry["step"]) == 9 for entry in optimizer.state.values())
    for p, q in zip(params, others, strict=True):
        apart = (p.float() - q.float()).abs()
        assert not p.numel() or apart.max() <= 7 * 2.0**-7 * q.float().abs().max().clamp(min=1)


@needs_gpu
def test_more_elements_than_an_int32_counts():
    rows = 2**31 // 1024 + 3
    if torch.cuda.mem_get_info()[0] < 24 * rows * 1024:
        pytest.skip("needs 52 GB of memory that is free")
    p = torch.nn.Parameter(torch.zeros(rows, 1024, dtype=torch.bfloat16, device=DEVICE))
    optimizer = AdamW([p], lr=0.5, weight_decay=0.0, fused=True, state_dtype="8bit")
    p.grad = torch.ones_like(p)
    optimizer.step()
    assert explain(optimizer)[0].kernels == ("triton",)
    assert (p[0] == -0.5).all()
    assert (p[-1] == -0.5).all()
    assert (p[rows // 2] == -0.5).all()


def test_a_warmup_observes_the_run():
    """omega is what it is on the CPU, for parameters that overshoot."""
    omegas = {}
    for device in (DEVICE, "cpu"):
        p = torch.nn.Parameter(torch.ones(300, device=device))
        optimizer = AdamW([p], lr=1.0, weight_decay=0.0, warmup=GuardedLinear(10))
        omegas[device] = []
        for _ in range(40):
            p.grad = p.detach().clone()
            optimizer.step()
            omegas[device].append(optimizer.param_groups[0]["omega"])
    assert omegas[DEVICE] == pytest.approx(omegas["cpu"], rel=1e-4)
    assert omegas["cpu"][-1] == 1 > min(omegas["cpu"][10:20])
