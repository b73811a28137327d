"""The optimizers on an NVIDIA GPU: right numbers, real CUDA graphs, GradScaler, 16 bits, layouts, memory that is freed.

Run by benchmarks/gpu/check.sh on a machine that has a GPU; skipped where there is none. With RECTIFIED_TEST_DEVICE=cpu
everything but what only a GPU can do runs on the CPU, so that the tests themselves are tested.
"""

import copy
import gc
import io
import os
import warnings
from functools import partial

import numpy as np
import pytest
import torch

import rectified
import reference
from rectified import LAMB, Adadelta, Adam, AdamW, NAdam, RAdam, RMSprop, optim
from rectified.warmup import Linear, Rectified, SecondMomentOnly, UntunedLinear
from trajectories import Race, gradient, numbers, parameters

DEVICE = os.environ.get("RECTIFIED_TEST_DEVICE", "cuda")
if DEVICE == "cuda" and not torch.cuda.is_available():
    pytest.skip(
        "needs an NVIDIA GPU (benchmarks/gpu/check.sh runs this on one; RECTIFIED_TEST_DEVICE=cpu rehearses it here)",
        allow_module_level=True,
    )
needs_gpu = pytest.mark.skipif(DEVICE != "cuda", reason="only a GPU can do this")
pytestmark = pytest.mark.filterwarnings("default")  # a torch of another version may warn of itself

# ---------------------------------------------------------------------------------------------------------------------
# Names of the package that may change are used here, and nowhere below.

EXACT = {"variance": "exact"}
OTHERS = {
    "RMSprop": partial(RMSprop, momentum=0.9),
    "RMSprop centered": partial(RMSprop, centered=True),
    "RMSprop rectified": partial(RMSprop, alpha=0.9, warmup=Rectified()),
    "NAdam": partial(NAdam, warmup=UntunedLinear()),
    "Adadelta": Adadelta,
    "LAMB": LAMB,
    "StableAdamW": optim.StableAdamW,
    "AdamHD": optim.AdamHD,
    "SGDHD": optim.SGDHD,
    "COCOB": optim.COCOB,
    "YellowFin": optim.YellowFin,
    "GIAdam": optim.GIAdam,
}

_RADAM = {"omega": reference.rectified, "start": "momentum", "eps_hat": True}
_DELAYED = {"omega": partial(reference.hold, steps=3), "m_delay": 3}
METHODS = {  # how to make it, and what its textbook twin is
    "adam": (partial(Adam, weight_decay=0.1), {"weight_decay": 0.1}),
    "adam amsgrad": (partial(Adam, amsgrad=True), {"amsgrad": True}),
    "adam linear": (partial(Adam, warmup=Linear(7)), {"omega": partial(reference.linear, steps=7)}),
    "adam, m delayed": (partial(Adam, warmup=SecondMomentOnly(3)), _DELAYED),
    "adamw": (partial(AdamW, weight_decay=0.1), {"weight_decay": 0.1, "decoupled": True}),
    "radam": (RAdam, _RADAM),
    "radam hold": (partial(RAdam, start="hold"), {**_RADAM, "start": "hold"}),
    "radam exact": (partial(RAdam, **EXACT), {**_RADAM, "omega": reference.rectified_exactly}),
    "radam decoupled": (
        partial(RAdam, weight_decay=0.1, decoupled_weight_decay=True),
        {**_RADAM, "weight_decay": 0.1, "decoupled": True},
    ),
}

# ---------------------------------------------------------------------------------------------------------------------

PATHS = {
    "default": {},
    "fused": {"fused": True},
    "foreach": {"foreach": True},
    "capturable": {"capturable": True},
    "capturable, fused": {"capturable": True, "fused": True},
    "capturable, foreach": {"capturable": True, "foreach": True},
}
SHAPES = ((3, 4), (5,), (), (0,), (2, 3, 1, 2))  # a matrix, a vector, a scalar, nothing, a kernel
WITH_A_LARGE_ONE = (*SHAPES, (300, 257))  # of more elements than one chunk of torch's fused op has
LR = 2.0**-7  # the same number in every precision

methods = pytest.mark.parametrize("name", METHODS)
paths = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


@pytest.fixture(autouse=True)
def _finished():
    """A kernel that fails does so in the test that launched it."""
    yield
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def host(x):
    return numbers(x.detach().cpu())


def on_device(params):
    return [torch.nn.Parameter(p.detach().to(DEVICE)) for p in params]


def make_parameters(dtype=torch.float64, shapes=SHAPES):
    return on_device(parameters(dtype, shapes))


def copies(params, device=DEVICE):
    return [torch.nn.Parameter(p.detach().clone().to(device)) for p in params]


def set_gradients(params, step, scale=1.0):
    for i, p in enumerate(params):
        p.grad = gradient(p, i, step, scale).to(p.device)


def train(optimizer, params, steps):
    for step in steps:
        set_gradients(params, step)
        optimizer.step()


def relative_error(dtype, path):
    """Of what a parameter may differ from the twin, relative to the path that it has covered.

    A float64 step under `capturable` gets its scale on a GPU as a float32: that is what torch's kernel reads.
    """
    if dtype in (torch.float32, torch.complex64):
        return 3e-5
    return 1e-6 if path.get("capturable") and DEVICE == "cuda" else 1e-10


def rounding(dtype):
    return {torch.float64: 2.0**-53}.get(dtype, 2.0**-24)


def race(optimizer, params, twins, steps, relative, dtype):
    so_far = Race([twin.theta for twin in twins], relative, rounding(dtype))
    for step in steps:
        set_gradients(params, step)
        for p, twin in zip(params, twins, strict=True):
            twin.step(host(p.grad))
        optimizer.step()
        so_far.check([host(p) for p in params], [twin.theta for twin in twins])


def twins_of(params, twin, **options):
    return [reference.Textbook(host(p), **{**twin, **options}) for p in params]


def close(some, others, relative=1e-9):
    for p, q in zip(some, others, strict=True):
        assert np.isfinite(host(p)).all()
        np.testing.assert_allclose(host(p), host(q), rtol=relative, atol=relative)


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


# CUDA graphs


def captured(optimizer, warm=1):
    """Take `warm` steps and capture one more, which is not taken; the graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(warm):
            optimizer.step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizer.step()
    return graph


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
    graph = captured(optimizer)
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
    graph = captured(optimizer)
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
    graph = captured(optimizer)
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
    graph = captured(optimizer)
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

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step(model, optimizer)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step(model, optimizer)
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
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            optimizer.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@needs_gpu
@pytest.mark.parametrize("name", ["RMSprop", "RMSprop centered", "NAdam", "Adadelta", "LAMB"])
def test_nor_does_one_of_the_other_methods(name):
    params = make_parameters(torch.float32)
    optimizer = OTHERS[name](params)
    train(optimizer, params, range(1, 9))
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            optimizer.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


# GradScaler

SCALE = 1024.0


def make_scaler():
    return torch.amp.GradScaler(DEVICE, init_scale=SCALE, backoff_factor=1.0 - 1e-9, growth_interval=10**6)


def scaled_step(optimizer, scaler, params, step, infinite=False):
    set_gradients(params, step, scale=SCALE)
    if infinite:
        params[0].grad.view(-1)[0] = torch.inf
    scaler.scale(torch.zeros((), device=DEVICE))  # which makes the scale's tensor
    scaler.step(optimizer)
    scaler.update()


@pytest.mark.parametrize("name", ["adam", "adamw", "adam, m delayed", "radam", "radam hold"])
@paths
def test_under_a_grad_scaler_a_skipped_step_moves_nothing_and_no_count(name, path):
    make, _ = METHODS[name]
    params, plain = make_parameters(torch.float32), make_parameters(torch.float32)
    optimizer, other, scaler = make(params, lr=LR, **path), make(plain, lr=LR), make_scaler()
    judge = Race([host(p) for p in plain], 6e-5, rounding(torch.float32))
    for taken, step in enumerate([1, 2, 3, 4, 6, 7, 8], start=1):
        scaled_step(optimizer, scaler, params, step)
        train(other, plain, [step])
        judge.check([host(p) for p in params], [host(q) for q in plain])
        kept = [p.detach().clone() for p in params], copy.deepcopy(optimizer.state_dict()["state"])
        scaled_step(optimizer, scaler, params, 50 + step, infinite=True)
        now = optimizer.state_dict()["state"]
        assert all(torch.equal(p, x) for p, x in zip(params, kept[0], strict=True))
        assert all(torch.equal(now[i][key], x) for i, entry in kept[1].items() for key, x in entry.items())
        assert all(float(optimizer.state[p]["step"]) == taken for p in params)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_training_in_float16_autocast(path):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1)).to(DEVICE)
    optimizer, scaler = RAdam(model.parameters(), lr=0.01, **path), torch.amp.GradScaler(DEVICE, init_scale=2.0**40)
    x = torch.randn(256, 16, device=DEVICE)
    y = x[:, :1] * x[:, 1:2]
    losses = []
    for _ in range(150):
        optimizer.zero_grad()
        with torch.autocast(DEVICE, dtype=torch.float16):
            loss = torch.nn.functional.mse_loss(model(x).float(), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    taken = float(optimizer.state[model[0].weight]["step"])
    assert 0 < taken < 150, "the first scale is one at which float16 overflows"
    assert losses[0] == losses[1], "the first step is skipped"
    assert losses[-1] < 0.7 * losses[0]


# A tensor lr


@pytest.mark.parametrize("where", ["cpu", DEVICE])
@paths
@pytest.mark.parametrize("name", ["adam", "adamw", "radam", "adam, m delayed"])
def test_a_tensor_lr_on_either_device(name, path, where):
    make, twin = METHODS[name]
    params = make_parameters(torch.float32)
    lr = torch.tensor(LR, device=where)
    optimizer, twins = make(params, lr=lr, **path), twins_of(params, twin, lr=LR)
    race(optimizer, params, twins, range(1, 13), 3e-5, torch.float32)
    assert optimizer.param_groups[0]["lr"] is lr
    assert float(lr) == LR


WRAPPED = {
    "Adam": torch.optim.Adam,
    "Adam capturable": partial(torch.optim.Adam, capturable=True),
    "AdamW fused": partial(torch.optim.AdamW, fused=True),
    "NAdam": torch.optim.NAdam,
    "SGD": partial(torch.optim.SGD, momentum=0.9),
    "RMSprop": torch.optim.RMSprop,
    "our Adam": Adam,
    "our Adam capturable": partial(Adam, capturable=True),
}


@pytest.mark.parametrize("tensor_lr", [False, True], ids=["a number", "a tensor"])
@pytest.mark.parametrize("how", ["rectify", "WarmupLR"])
@pytest.mark.parametrize("name", WRAPPED)
def test_a_warmup_around_an_optimizer(name, how, tensor_lr):
    """Each step has lr times omega; between steps lr is what it was, and the same object."""
    if "capturable" in name and DEVICE == "cpu":
        pytest.skip("torch's capturable is for GPUs")
    params, plain = make_parameters(), make_parameters()
    lr = torch.tensor(LR, device=DEVICE) if tensor_lr else LR
    optimizer, other = WRAPPED[name](params, lr=lr), WRAPPED[name](plain, lr=LR)
    warm = rectified.rectify(optimizer, Linear(5)) if how == "rectify" else optimizer
    scheduler = rectified.WarmupLR(optimizer, Linear(5)) if how == "WarmupLR" else None
    for step in range(1, 11):
        train(warm, params, [step])
        if scheduler is not None:
            scheduler.step()
        other.param_groups[0]["lr"] = LR * min(1, step / 5)
        train(other, plain, [step])
        now = optimizer.param_groups[0]["lr"]
        assert float(now) == LR
        assert not tensor_lr or now is lr
    close(params, plain, 1e-6)


# Saving and moving


@pytest.mark.parametrize("capturable", [False, True], ids=["host", "capturable"])
@pytest.mark.parametrize("name", ["adam amsgrad", "adamw", "adam, m delayed", "radam"])
def test_a_run_saved_on_the_gpu_goes_on_on_the_cpu_and_back(name, capturable):
    make, twin = METHODS[name]
    params = make_parameters()
    twins = twins_of(params, twin, lr=LR)
    relative = relative_error(torch.float64, {"capturable": capturable})
    so_far = Race([judge.theta for judge in twins], relative)
    saved = io.BytesIO()
    for steps, device in ((range(1, 6), DEVICE), (range(6, 10), "cpu"), (range(10, 16), DEVICE)):
        params = copies(params, device)
        optimizer = make(params, lr=LR, capturable=capturable)
        if saved.getvalue():
            saved.seek(0)
            optimizer.load_state_dict(torch.load(saved, weights_only=True))
        for step in steps:
            set_gradients(params, step)
            for p, judge in zip(params, twins, strict=True):
                judge.step(host(p.grad))
            optimizer.step()
            so_far.check([host(p) for p in params], [judge.theta for judge in twins])
        assert all(optimizer.state[p]["exp_avg"].device == p.device for p in params)
        saved = io.BytesIO()
        torch.save(optimizer.state_dict(), saved)


@pytest.mark.parametrize("name", ["adamw", "adam, m delayed", "radam"])
@pytest.mark.parametrize("path", [{}, {"foreach": True}, {"capturable": True}], ids=str)
def test_a_model_that_is_moved_between_steps(name, path):
    """As `model.cpu()` and `model.cuda()` do. torch.optim raises here; ours goes on."""
    make, twin = METHODS[name]
    params = make_parameters()
    optimizer, twins = make(params, lr=LR, **path), twins_of(params, twin, lr=LR)
    so_far = Race([judge.theta for judge in twins], relative_error(torch.float64, path))
    for step in range(1, 16):
        if step in (5, 9):
            for p in params:
                p.grad = None
                p.data = p.data.to("cpu" if step == 5 else DEVICE)
        set_gradients(params, step)
        for p, judge in zip(params, twins, strict=True):
            judge.step(host(p.grad))
        optimizer.step()
        so_far.check([host(p) for p in params], [judge.theta for judge in twins])


@pytest.mark.parametrize("name", ["adam", "adamw", "radam", "adam, m delayed"])
@paths
def test_one_group_on_two_devices(name, path):
    make, twin = METHODS[name]
    on_host = parameters(torch.float64, SHAPES)
    params = [p if i % 2 else torch.nn.Parameter(p.detach().to(DEVICE)) for i, p in enumerate(on_host)]
    twins = twins_of(params, twin, lr=LR)
    race(make(params, lr=LR, **path), params, twins, range(1, 11), relative_error(torch.float64, path), torch.float64)


def test_explain_and_steps_within_backward():
    model = torch.nn.Linear(3, 2).to(DEVICE)
    twin = copy.deepcopy(model)
    optimizer, other = RAdam(model.parameters(), lr=1e-3), RAdam(twin.parameters(), lr=1e-3)
    optim.StepInBackward(optimizer)
    x = torch.ones(4, 3, device=DEVICE)
    for _ in range(8):
        model(x).sum().backward()
        other.zero_grad()
        twin(x).sum().backward()
        other.step()
    close(model.parameters(), twin.parameters(), 1e-5)
    assert rectified.explain(other)[0].t == 9


# Memory

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
