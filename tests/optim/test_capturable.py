"""Counted on the device: the same steps as counted on the host, and nothing of them read back."""

import copy

import pytest
import torch
from torch.optim import lr_scheduler
from torch.utils._python_dispatch import TorchDispatchMode

import rectified
from rectified.optim.adam import adam_row
from rectified.optim.step import capturable as on_device
from rectified.optim.step.update import Coefficients, coefficients
from rectified.warmup import Linear, Rectified, SecondMomentOnly, UntunedLinear
from rectified.warmup.interface import as_warmup
from roster import both_paths, every_method, representatives
from trajectories import Race, comes_and_goes, gradient, numbers, parameters, race, set_gradients, train

SYNCS = {"aten::_local_scalar_dense", "aten::item", "aten::is_nonzero", "aten::equal", "aten::nonzero"}


class NoReading(TorchDispatchMode):
    """Fails where a tensor's value comes to the host, which a CUDA graph cannot hold."""

    def __enter__(self):
        self.patches = pytest.MonkeyPatch()
        for name in ("tolist", "numpy", "cpu", "__array__"):  # which call no op where the tensor is on the CPU

            def refuse(*_, name=name):
                raise AssertionError(f"{name} reads a tensor")

            self.patches.setattr(torch.Tensor, name, refuse)
        return super().__enter__()

    def __exit__(self, *error):
        self.patches.undo()
        return super().__exit__(*error)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func._schema.name not in SYNCS, f"{func} reads a tensor"
        return func(*args, **(kwargs or {}))


OPTIONS = {
    "plain": {},
    "decay, maximize": {"weight_decay": 0.1, "maximize": True},
    "lr of one element": {"weight_decay": 0.1, "lr": torch.tensor([0.01], dtype=torch.float64)},
}


@representatives
@both_paths
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
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
    (plan,) = optimizer._plans
    for step in (3, 7, 8):
        set_gradients(params, step)
        with NoReading():
            optimizer.step()
        assert optimizer._plans == [plan]
    assert isinstance(optimizer.param_groups[0]["omega"], torch.Tensor)


@pytest.mark.parametrize("read", ["item", "tolist", "cpu", "numpy", "__array__", "__float__", "__int__", "__bool__"])
def test_what_reads_is_noticed(read):
    with pytest.raises(AssertionError, match="reads a tensor"), NoReading():
        getattr(torch.ones(()), read)()


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


CYCLE_BETA1 = {
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, max_lr=0.05, total_steps=16),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 0.001, 0.02, step_size_up=3, cycle_momentum=True),
}


@both_paths
@pytest.mark.parametrize("schedule_of", CYCLE_BETA1.values(), ids=CYCLE_BETA1.keys())
def test_a_beta1_that_a_scheduler_cycles_needs_neither_a_new_plan_nor_a_new_table(schedule_of, path):
    params, plain = parameters(), parameters()
    optimizers = rectified.RAdam(params, capturable=True, **path), rectified.RAdam(plain, **path)
    schedulers = [schedule_of(optimizer) for optimizer in optimizers]
    beta1s = set()
    for step in range(1, 15):
        set_gradients(params, step)
        if step == 1:
            optimizers[0].step()
            (plan,) = optimizers[0]._plans
            schedules = dict(plan.schedules)
        else:
            with NoReading():
                optimizers[0].step()
        train(optimizers[1], plain, [step])
        beta1s.add(optimizers[0].param_groups[0]["betas"][0])
        for scheduler in schedulers:
            scheduler.step()
    assert len(beta1s) > 3
    assert optimizers[0]._plans == [plan]
    assert plan.schedules == schedules
    for p, q in zip(params, plain, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-13)


@both_paths
def test_tensor_betas_are_read_when_they_were_written_to_and_not_at_a_step(path):
    params, plain = parameters(), parameters()
    betas = tuple(torch.tensor(x, dtype=torch.float64) for x in (0.9, 0.95))
    optimizer = rectified.RAdam(params, lr=0.01, betas=betas, capturable=True, **path)
    other = rectified.RAdam(plain, lr=0.01, betas=(0.9, 0.95), **path)
    for index, value in ((None, None), (0, 0.7), (1, 0.97), (0, 0.85)):
        if index is not None:
            betas[index].fill_(value)
            other.param_groups[0]["betas"] = tuple(map(float, betas))
        train(optimizer, params, [1])  # reads them
        with NoReading():
            for _ in range(6):
                optimizer.step()
        train(other, plain, [1] * 7)
        assert optimizer.param_groups[0]["betas"] == betas
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
        (SecondMomentOnly(3), 0.999),
    ],
    ids=str,
)
def test_the_table_is_the_warmup_at_every_count(warmup, beta2):
    schedule = on_device.Schedule(adam_row, warmup, warmup, beta2, torch.device("cpu"))
    for t in (1, 2, 3, 6, 100, 65_535, 65_536):
        row = Coefficients(*schedule.row(torch.tensor(float(t))))
        assert float(row.omega) == pytest.approx(warmup.omega(t, beta2), rel=1e-14, abs=0), t
        expected = coefficients(warmup, (0.0, beta2), t, warmup.omega(t, beta2))
        assert float(row.scale) == pytest.approx(expected.scale, rel=1e-13, abs=0)
    for t in (70_001, 99_999, 100_003, 200_000, 1_234_567, 2**24):
        near = 3e-4 if isinstance(warmup, Linear) else 3e-6  # it has a kink between two counts of the grid
        omega = float(schedule.row(torch.tensor(float(t)))[-1])
        assert omega == pytest.approx(warmup.omega(t, beta2), rel=near), t


class Cycles:
    """Begins its ramp anew every 2,000 steps."""

    start = "momentum"

    def omega(self, t, beta2):
        return min(1.0, (t - 1) % 2000 / 100)


def test_an_omega_of_ones_own_may_fall_again_long_after_it_has_reached_1():
    """At this beta2 a table of one of ours would end at t = 800, where omega is what it is at the far end."""
    assert Cycles().omega(800, 0.95) == Cycles().omega(10**12, 0.95) == 1
    cycles = as_warmup(Cycles())
    schedule = on_device.Schedule(adam_row, cycles, cycles, 0.95, torch.device("cpu"))
    for t in (1, 50, 800, 2001, 2002, 2050, 4001, 40_001, 64_033, 65_536):
        expected = coefficients(cycles, (0.0, 0.95), t, Cycles().omega(t, 0.95))
        assert list(map(float, schedule.row(torch.tensor(float(t))))) == pytest.approx(expected, rel=1e-13), t

    params, plain = parameters(), parameters()
    lists, optimizers = (params, plain), []
    for capturable, mine in zip((True, False), lists, strict=True):
        optimizers.append(rectified.Adam(mine, lr=0.01, betas=(0.9, 0.95), warmup=Cycles(), capturable=capturable))
        train(optimizers[-1], mine, [1])
        for p in mine:
            optimizers[-1].state[p]["step"].fill_(1997)
        train(optimizers[-1], mine, range(2, 12))
    assert float(optimizers[0].param_groups[0]["omega"]) == optimizers[1].param_groups[0]["omega"] == 0.06
    for p, q in zip(params, plain, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-13)


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
