"""The Triton kernel takes the reference's steps in triton's interpreter, and compiles to wide loads without spills.

In the interpreter it runs on CPU tensors, one program after the other. On a GPU see tests/cuda.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import rectified
from rectified.optim.gpu import launch
from rectified.optim.step.kernels import Tensors
from rectified.optim.step.update import Numbers, numbers, update
from rectified.warmup import Linear, SecondMomentOnly
from trajectories import train

pytest.importorskip("triton", reason="pip install 'rectified[gpu]'; there is no triton for macOS and Windows")
# numpy's, of elements that are masked
pytestmark = pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")

HERE = Path(__file__).parent
SHAPES = ((16, 256), (33, 128), (7,), (), (0,), (1025,))
DTYPES = pytest.mark.parametrize(
    "dtype",
    [torch.bfloat16, *(pytest.param(x, marks=pytest.mark.slow) for x in (torch.float32, torch.float16))],
    ids=str,
)


@pytest.fixture
def on_cpus(monkeypatch):
    monkeypatch.setattr(launch, "_DEVICES", ("cpu",))


def parameters(dtype, shapes=SHAPES):
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in shapes]


def uses_the_kernel(optimizer):
    return {isinstance(bucket.kernel, launch.TritonStep) for plan in optimizer._plans for bucket in plan.buckets}


def units(p, q):
    """How far two tensors are apart, in units in the last place of the larger one."""
    p, q = p.detach(), q.detach()
    size = torch.finfo(p.dtype).eps * torch.maximum(p.abs(), q.abs()).float().clamp(min=torch.finfo(p.dtype).tiny)
    return ((p.float() - q.float()).abs() / size).flatten()


# One step, against the reference update.


def reference_numbers(t=3, warmup=None, **options):
    (group,) = rectified.Adam([torch.nn.Parameter(torch.zeros(1))], lr=0.01, **options).param_groups
    return numbers(group, warmup, t)


NUMBERS = {
    "adam": reference_numbers(),
    "L2, maximize": reference_numbers(weight_decay=0.1, maximize=True),
    "decoupled": reference_numbers(weight_decay=0.1, decoupled_weight_decay=True),
    "momentum start": reference_numbers(warmup=rectified.warmup.Rectified()),
    "held": reference_numbers(warmup=rectified.warmup.Rectified(start="hold")),
    "only v": reference_numbers(warmup=SecondMomentOnly(5)),
    "eps_hat": reference_numbers(eps=1e-3, eps_hat=True),
    "no eps": reference_numbers(eps=0.0),
    "scaled": reference_numbers()._replace(grad_scale=torch.tensor(64.0)),
}


def a_step(n: Numbers, dtype, state_dtype=torch.float32, amsgrad=False, size=300, offset=0):
    """New parameters and states of the kernel, and of the reference in float64."""
    generator = torch.Generator().manual_seed(1)

    def drawn(kind, factor=1.0):
        return (factor * torch.randn(size + offset, generator=generator)).to(kind)[offset:]

    theta, g, m = drawn(dtype), drawn(dtype), drawn(state_dtype, 0.1)
    v, v_max = drawn(state_dtype, 0.1).abs(), drawn(state_dtype, 0.1).abs()
    g[::7], m[::7], v[::7] = 0, 0, 0
    right = update(*(x.double() for x in (theta, m, v, g)), n, v_max.double() if amsgrad else None)
    tensors = Tensors([theta], [m], [v], [v_max] if amsgrad else ())
    launch.TritonStep("nearest")(tensors, [g], n)
    return (theta, m, v, *([v_max] if amsgrad else [])), [x for x in right if x is not None]


@DTYPES
@pytest.mark.parametrize("n", NUMBERS.values(), ids=NUMBERS)
def test_a_step_is_the_reference_update(n, dtype):
    found, right = a_step(n, dtype)
    for x, y in zip(found, right, strict=True):
        torch.testing.assert_close(x.double(), y, rtol=1.01 * max(2e-6, torch.finfo(x.dtype).eps / 2), atol=2e-7)


@pytest.mark.parametrize("state_dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("amsgrad", [False, True])
def test_states_of_16_bits_and_amsgrad(state_dtype, amsgrad):
    found, right = a_step(NUMBERS["adam"], torch.bfloat16, state_dtype, amsgrad)
    for x, y in zip(found, right, strict=True):
        torch.testing.assert_close(x.double(), y, rtol=1.01 * max(2e-6, torch.finfo(x.dtype).eps / 2), atol=2e-7)


@pytest.mark.parametrize("size", [1, 127, 1023, 1024, 1025, 3000])
@pytest.mark.parametrize("offset", [0, 1], ids=["aligned", "unaligned"])
def test_any_size_and_address(size, offset):
    found, right = a_step(NUMBERS["adam"], torch.float32, size=size, offset=offset)
    for x, y in zip(found, right, strict=True):
        torch.testing.assert_close(x.double(), y, rtol=4e-6, atol=2e-7)


def test_nothing_changes_where_a_scaler_found_an_infinite_gradient(on_cpus):
    params = parameters(torch.bfloat16)
    optimizer = rectified.Adam(params, fused=True, capturable=True, state_dtype="8bit")
    train(optimizer, params, range(2))
    before = [p.detach().clone() for p in params]
    states = [{name: x.clone() for name, x in optimizer.state[p].items()} for p in params]
    for p in params:
        p.grad = torch.full_like(p, float("inf"))
    optimizer.grad_scale, optimizer.found_inf = torch.tensor(2.0), torch.tensor(1.0)
    optimizer.step()
    assert uses_the_kernel(optimizer) == {True}
    assert all(map(torch.equal, params, before))
    assert all(torch.equal(optimizer.state[p][k], x) for p, s in zip(params, states, strict=True) for k, x in s.items())


# Runs, against those of the other kernels.

RUNS = {
    "adam": {},
    "amsgrad": {"amsgrad": True},
    "kahan": {"rounding": "kahan"},
    "8 bits": {"state_dtype": "8bit"},
    "8 bits, kahan": {"state_dtype": "8bit", "rounding": "kahan"},
    "8 bits, decoupled, maximize": {
        "state_dtype": "8bit", "decoupled_weight_decay": True, "weight_decay": 0.1, "maximize": True,
    },
    "capturable": {"capturable": True, "warmup": Linear(3)},
    "8 bits, capturable, delayed": {"state_dtype": "8bit", "capturable": True, "warmup": SecondMomentOnly(2)},
}  # fmt: skip


@DTYPES
@pytest.mark.parametrize("options", RUNS.values(), ids=RUNS)
def test_a_run_is_that_of_the_other_kernels(on_cpus, monkeypatch, options, dtype):
    params, others = parameters(dtype), parameters(dtype)
    optimizer = rectified.Adam(params, lr=0.01, fused=True, **options)
    train(optimizer, params, range(5))
    taken = {torch.float32: {True, False} if "state_dtype" in options else {False}}.get(dtype, {True})
    assert uses_the_kernel(optimizer) == taken, "torch's fused op is as good where nothing is narrow"
    other = rectified.Adam(others, lr=0.01, **options)
    train(other, others, range(5))
    assert uses_the_kernel(other) == {False}
    for p, q in zip(params, others, strict=True):
        if dtype is torch.float32:
            torch.testing.assert_close(p, q, rtol=0, atol=3e-4 if "state_dtype" in options else 1e-6)
        elif p.numel():
            apart = units(p, q)
            assert apart.max() <= 4
            assert (apart > 0).float().mean() < 0.01, "only where a number is on the border"
        for name, x in optimizer.state[p].items():
            y = other.state[q][name]
            if x.dtype in (torch.int8, torch.uint8):
                assert (x.int() - y.int()).abs().max() <= 1
                assert (x != y).float().mean() < 0.01, "one on the border may change the scale of its lane"
            elif name == "compensation":
                torch.testing.assert_close(p.float() + x.float(), q.float() + y.float(), rtol=0, atol=3e-4)
            else:
                torch.testing.assert_close(x, y, rtol=2e-2 if "8bit" in options.values() else 1e-4, atol=1e-5)


def test_gradients_that_move_and_parameters_that_come_late(on_cpus):
    def trained(**options):
        params = parameters(torch.bfloat16)
        optimizer = rectified.RAdam(params, lr=0.01, rounding="kahan", **options)
        train(optimizer, params, range(6), present=lambda i, step: i != 2 or step > 2)
        return params

    for p, q in zip(trained(fused=True), trained(), strict=True):
        assert not p.numel() or units(p, q).max() <= 1


@pytest.mark.slow
def test_a_thousand_updates_with_8_bits_are_those_of_the_other_kernel(on_cpus):
    def trained(**options):
        params = parameters(torch.float32, ((32, 128),))
        optimizer = rectified.AdamW(params, lr=0.01, state_dtype="8bit", **options)
        for step in range(1000):
            generator = torch.Generator().manual_seed(step)
            noise = torch.randn(32, 128, generator=generator)
            params[0].grad = params[0].detach() - 1 + noise
            optimizer.param_groups[0]["lr"] = 0.01 * (1 - step / 1000)
            optimizer.step()
        return params[0].detach()

    ours, others = trained(fused=True), trained()
    assert (ours - others).norm() < 0.05 * (others - 1).norm(), "codes on a border differ, and that spreads"


# Rounding.


def test_stochastic_rounding_is_right_in_the_mean(on_cpus):
    """Steps of a twentieth of a unit in the last place: 8,000 numbers move by it in the mean, to four sigma."""
    p = torch.nn.Parameter(torch.ones(8_000, dtype=torch.bfloat16))
    optimizer = rectified.Adam([p], lr=2.0**-7 / 20, betas=(0.0, 0.0), rounding="stochastic", fused=True, maximize=True)
    torch.manual_seed(0)
    steps, unit = 8, 2.0**-7
    for _ in range(steps):
        p.grad = torch.ones_like(p)
        optimizer.step()
    assert uses_the_kernel(optimizer) == {True}
    moved = p.detach().double() - 1
    sigma = unit * np.sqrt(steps * 0.05 * 0.95 / p.numel())
    assert moved.mean().item() == pytest.approx(steps * unit / 20, abs=4 * sigma)
    neighbors = (moved[1:] - moved.mean()) * (moved[:-1] - moved.mean())
    assert abs(neighbors.mean() / moved.var()) < 4 / p.numel() ** 0.5, "and neighbors independently"


def test_stochastic_rounding_is_drawn_from_torchs_generator_at_each_step(on_cpus):
    def trained(seed, steps):
        p = torch.nn.Parameter(torch.ones(2000, dtype=torch.bfloat16))
        optimizer = rectified.Adam([p], lr=2.0**-8, rounding="stochastic", fused=True, maximize=True)
        torch.manual_seed(seed)
        for _ in range(steps):
            p.grad = torch.ones_like(p)
            optimizer.step()
        return p.detach() - 1

    assert torch.equal(trained(0, 3), trained(0, 3))
    one, two, other = trained(0, 1), trained(0, 2), trained(1, 1)
    assert not torch.equal(one, other)
    agree = ((two - one) > 0) == (one > 0)
    assert 0.4 < agree.float().mean() < 0.6


def test_equal_tensors_are_rounded_independently(on_cpus):
    params = [torch.nn.Parameter(torch.ones(2000, dtype=torch.bfloat16)) for _ in range(2)]
    optimizer = rectified.Adam(params, lr=2.0**-9, rounding="stochastic", fused=True, maximize=True)
    for p in params:
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert 0.4 < (params[0] == params[1]).float().mean() < 0.6 + 0.1


def test_gradients_of_another_dtype_step_apart(on_cpus):
    params = [torch.nn.Parameter(torch.ones(300, dtype=torch.bfloat16)) for _ in range(2)]
    params[1].grad_dtype = torch.float32
    optimizer = rectified.Adam(params, lr=0.1, fused=True)
    for p in params:
        p.grad = torch.ones_like(p, dtype=p.grad_dtype)
    optimizer.step()
    assert [b.kernel.__name__ for b in optimizer._plans[0].buckets] == ["triton", "triton"]
    assert torch.equal(*params)
    params[0].grad_dtype = None
    params[0].grad = torch.ones_like(params[0], dtype=torch.float32)
    optimizer.step()
    assert torch.equal(*params)


def test_gradients_whose_squares_overflow(on_cpus):
    for _ in range(2):
        p = torch.nn.Parameter(torch.ones(64, 128))
        optimizer = rectified.Adam([p], lr=0.1, fused=True, state_dtype="8bit")
        for _ in range(3):
            p.grad = torch.ones(64, 128)
            p.grad[3, 5] = 3e19
            optimizer.step()
        assert uses_the_kernel(optimizer) == {True}
        assert p.isfinite().all()
        assert (p[4] < 0.9).all()


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), 3e38, 0.0, -0.0])
def test_numbers_at_the_end_of_the_range_are_stored(value):
    theta = torch.full((4,), value).bfloat16()
    tensors = Tensors([theta], [torch.zeros(4)], [torch.zeros(4)])
    launch.TritonStep("nearest")(tensors, [torch.zeros(4, dtype=torch.bfloat16)], NUMBERS["adam"])
    assert torch.equal(theta.isnan(), torch.full((4,), value).isnan())
    assert theta.isnan().all() or (theta == torch.tensor(value).bfloat16()).all()


# What it takes.


@pytest.mark.parametrize(
    ("p", "words"),
    [
        (torch.ones(4, 8, dtype=torch.bfloat16)[:, ::2], "dense"),
        (torch.ones(64, 65, dtype=torch.bfloat16), "a multiple of 128"),
        (torch.ones(4, 8, dtype=torch.float64), "dtypes of"),
        (torch.ones(4, 8, dtype=torch.bfloat16, device="meta"), "CUDA device"),
    ],
)
def test_why_not(on_cpus, p, words):
    dtype = torch.int8 if p.shape == (64, 65) else torch.float32
    state = torch.zeros_like(p, dtype=dtype)
    assert words in launch.why_not_triton(p, torch.zeros_like(p), [state, state])


def test_importing_the_package_does_not_import_triton():
    code = (
        "import sys, torch; known = 'triton' in sys.modules; import rectified, rectified.optim.gpu.launch; "
        "p = torch.nn.Parameter(torch.ones(64, 64, dtype=torch.bfloat16)); p.grad = torch.ones_like(p); "
        "rectified.Adam([p], fused=True, state_dtype='8bit').step(); assert known or 'triton' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# What the compiler makes of it.

WIDE = {  # loads and stores of a full chunk, for eight elements a thread
    "float32": ({"v4.b32": 8}, {"v4.b32": 6}),
    "bfloat16": ({"v4.b32": 6}, {"v4.b32": 5}),
    "bfloat16 kahan": ({"v4.b32": 7}, {"v4.b32": 6}),
    "8 bits": ({"v4.b32": 4, "v2.b32": 2}, {"v4.b32": 2, "v2.b32": 2}),
    "bfloat16, 8 bits, stochastic": ({"v4.b32": 2, "v2.b32": 2}, {"v4.b32": 1, "v2.b32": 2}),
}


@pytest.mark.slow
def test_full_chunks_load_and_store_16_bytes_at_a_time_and_no_register_is_spilled(tmp_path):
    done = subprocess.run(
        [sys.executable, str(HERE / "compile_kernel.py"), "80", "90", "100"],
        env={**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == 3 * len(WIDE)
    for name, made in found.items():
        loads, stores = WIDE[name.split(maxsplit=1)[1]]
        assert {width: n for width, n in made["loads"].items() if width[0] == "v"} == loads, name
        assert {width: n for width, n in made["stores"].items() if width[0] == "v"} == stores, name
        assert made["local"] == 0, name
        assert made["registers"] <= 168, f"{name}: three programs of 128 threads fit on a multiprocessor"


def test_a_table_that_a_graph_reads_is_never_written_again(monkeypatch):
    """As in a capture: the host's rows, which replays copy, keep their addresses while eager steps have others."""
    params = [torch.zeros(300, dtype=torch.bfloat16)]
    tensors = Tensors(params, [torch.zeros(300)], [torch.zeros(300)])
    table = launch.Table(tensors)
    grads = [[torch.zeros(300, dtype=torch.bfloat16)] for _ in range(4)]
    table.at(grads[0])
    table._pinned = True
    monkeypatch.setattr(table, "_other_rows", lambda: table.rows.clone())
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    device, _ = table.at(grads[1])
    kept, there = table.rows, device.clone()
    before = kept.clone()
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    for others in (grads[2], grads[3], grads[1]):
        table.at(others)
    assert torch.equal(kept, before)
    assert torch.equal(device, there)
