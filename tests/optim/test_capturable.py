"""Counted on the device: the same steps as counted on the host, and nothing of them read back."""

import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import rectified
from rectified.optim import on_device
from rectified.optim.coefficients import coefficients
from rectified.warmup import Hold, Linear, Rectified, UntunedLinear
from roster import both_paths, every_method
from trajectories import Race, comes_and_goes, gradient, numbers, parameters, race, set_gradients, train

SYNCS = {"aten::_local_scalar_dense", "aten::item", "aten::is_nonzero", "aten::equal", "aten::nonzero"}


class NoReading(TorchDispatchMode):
    """Fails where a tensor's value comes to the host, which a CUDA graph cannot hold."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func._schema.name not in SYNCS, f"{func} reads a tensor"
        return func(*args, **(kwargs or {}))


@every_method
@both_paths
@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1, "maximize": True}], ids=["plain", "decay, maximize"])
def test_takes_its_twins_steps(method, path, options):
    params = parameters()
    optimizer = method.optimizer(params, **options, **path, capturable=True)
    twins = [method.textbook(numbers(p), **options) for p in params]
    race(optimizer, params, twins, range(1, 21))


@every_method
def test_parameters_with_clocks_of_their_own(method):
    params = parameters()
    optimizer = method.optimizer(params, capturable=True)
    twins = [method.textbook(numbers(p)) for p in params]
    race(optimizer, params, twins, range(1, 15), comes_and_goes)


@every_method
@both_paths
def test_a_step_reads_nothing(method, path):
    params = parameters()
    optimizer = method.optimizer(params, lr=torch.tensor(1e-3), capturable=True, **path)
    train(optimizer, params, [1, 2])  # the plan is made
    for step in (3, 7, 8):
        set_gradients(params, step)
        with NoReading():
            optimizer.step()
    assert isinstance(optimizer.param_groups[0]["omega"], torch.Tensor)


@pytest.mark.parametrize("infinite", [0.0, 1.0])
def test_nor_does_one_under_a_grad_scaler(infinite):
    params = parameters(torch.float32)
    optimizer = rectified.RAdam(params, lr=torch.tensor(1e-3), capturable=True)
    train(optimizer, params, [1, 2])
    optimizer.grad_scale, optimizer.found_inf = torch.tensor(8.0), torch.tensor(infinite)
    set_gradients(params, 3, scale=8.0)
    with NoReading():
        optimizer.step()
    assert float(optimizer.state[params[0]]["step"]) == (2 if infinite else 3)


def test_a_tensor_lr_that_a_scheduler_changes_is_felt_and_stays_the_same_tensor():
    params, plain = parameters(), parameters()
    lr = torch.tensor(0.01, dtype=torch.float64)
    optimizer, other = rectified.RAdam(params, lr=lr, capturable=True), rectified.RAdam(plain, lr=0.01)
    schedulers = [torch.optim.lr_scheduler.ExponentialLR(x, 0.7) for x in (optimizer, other)]
    for step in range(1, 15):
        train(optimizer, params, [step])
        train(other, plain, [step])
        for scheduler in schedulers:
            scheduler.step()
    assert optimizer.param_groups[0]["lr"] is lr
    for p, q in zip(params, plain, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("warmup", "beta2"),
    [
        (Rectified(), 0.999),
        (Rectified("ema"), 0.99),
        (Rectified(), 0.99999),
        (UntunedLinear(), 0.9999),
        (Linear(100_000), 0.9),
        (Hold(3), 0.999),
    ],
    ids=str,
)
def test_the_table_is_the_warmup_at_every_count(warmup, beta2):
    group = {"warmup": warmup, "betas": (0.9, beta2)}
    schedule = on_device.Schedule(group, torch.device("cpu"))
    for t in (1, 2, 3, 6, 100, 65_535, 65_536):
        row = schedule.row(torch.tensor(float(t)))
        assert float(row.omega) == pytest.approx(warmup.omega(t, beta2), rel=1e-14, abs=0), t
        assert float(row.scale) == pytest.approx(coefficients(group, t, warmup.omega(t, beta2)).scale, rel=1e-13, abs=0)
    for t in (70_001, 99_999, 100_003, 200_000, 1_234_567, 2**24):
        near = 3e-4 if isinstance(warmup, Linear) else 3e-6  # it has a kink between two counts of the grid
        assert float(schedule.row(torch.tensor(float(t))).omega) == pytest.approx(warmup.omega(t, beta2), rel=near), t


def test_an_omega_of_ones_own_works_on_the_device():
    class Own:
        start = "momentum"

        def omega(self, t, beta2):
            return 0.0 if t < 4 else min(1.0, t / 50)

    params, plain = parameters(), parameters()
    optimizer, other = (rectified.Adam(x, warmup=Own(), capturable=c) for x, c in ((params, True), (plain, False)))
    train(optimizer, params, range(1, 60))
    train(other, plain, range(1, 60))
    judge = Race([numbers(p) for p in parameters()])
    judge.steps = 59
    judge.check([numbers(p) for p in params], [numbers(p) for p in plain])


@pytest.mark.parametrize(("first", "second"), [(False, True), (True, False), (True, True)])
def test_a_saved_run_continues_with_and_without(first, second):
    params, plain = parameters(), parameters()
    one, straight = rectified.RAdam(params, capturable=first), rectified.RAdam(plain)
    train(one, params, range(1, 10))
    train(straight, plain, range(1, 20))
    two = rectified.RAdam(params, capturable=second)
    saved = copy.deepcopy(one.state_dict())
    for group in saved["param_groups"]:
        group["capturable"] = second
    two.load_state_dict(saved)
    train(two, params, range(10, 20))
    for p, q in zip(params, plain, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-13)
    assert all(float(two.state[p]["step"]) == 19 for p in params)


def test_explain_reads_the_devices_count():
    params = parameters()
    optimizer = rectified.RAdam(params, capturable=True)
    train(optimizer, params, range(1, 4))
    assert rectified.explain(optimizer)[0].t == 4


def test_bfloat16_and_kahan_on_the_device_are_those_of_the_host():
    params, plain = parameters(torch.bfloat16), parameters(torch.bfloat16)
    optimizer = rectified.RAdam(params, capturable=True, rounding="kahan")
    other = rectified.RAdam(plain, rounding="kahan")
    train(optimizer, params, range(1, 15))
    train(other, plain, range(1, 15))
    for p, q in zip(params, plain, strict=True):
        assert torch.equal(p, q)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU; run it on one")
def test_a_graph_is_captured_and_replayed():
    params = [torch.nn.Parameter(p.detach().float().cuda()) for p in parameters()]
    plain = [torch.nn.Parameter(p.detach().clone()) for p in params]
    lr = torch.tensor(1e-3, device="cuda")
    optimizer, other = rectified.RAdam(params, lr=lr, capturable=True), rectified.RAdam(plain, lr=1e-3)
    grads = [torch.zeros_like(p) for p in params]
    for p, g in zip(params, grads, strict=True):
        p.grad = g
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        set_into(grads, params, 1)
        optimizer.step()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            optimizer.step()
    train(other, plain, [1])
    for step in range(2, 20):
        lr.mul_(0.9)
        other.param_groups[0]["lr"] *= 0.9
        set_into(grads, params, step)
        graph.replay()
        train(other, plain, [step])
    for p, q in zip(params, plain, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)


def set_into(grads, params, step):
    for i, (g, p) in enumerate(zip(grads, params, strict=True)):
        g.copy_(gradient(p, i, step))
