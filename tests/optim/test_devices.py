"""Parameters on several devices: what there is one of, lr and a GradScaler's tensors, goes to each of them.

The devices are pretended: a fake tensor has no memory, but a foreach op on two of different devices raises, as it would
there. The fused op does not look; so what it is handed is looked at.
"""

from types import SimpleNamespace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from rectified import RAdam
from rectified.optim.step import capturable as on_device
from rectified.optim.step import kernels
from rectified.optim.step.coefficients import Coefficients
from rectified.optim.step.move import move, move_on_device
from rectified.optim.step.plan import Clock
from trajectories import parameters

DEVICES = ("cuda:0", "cuda:1", "cpu")
decoupled_or_not = pytest.mark.parametrize("decoupled", [False, True], ids=["L2", "decoupled"])
scaler_on = pytest.mark.parametrize("scalers", ["cuda:0", "cpu"], ids=lambda device: f"scaler on {device}")


def look(tensors, grads, update):
    """In the fused op's place."""
    handed = [x for x in update if isinstance(x, torch.Tensor)]
    assert {x.device for x in handed} <= {tensors.params[0].device}
    assert {x.shape for x in handed} <= {torch.Size()}


@pytest.fixture
def make():
    """Makes a group, and a bucket of its parameters on each device."""
    (group,) = RAdam(parameters(), lr=0.1, weight_decay=0.1).param_groups
    with FakeTensorMode():

        def made(kernel, decoupled, lr=0.1):
            buckets = []
            for device in DEVICES:
                params, m, v = ([torch.empty(shape, device=device) for shape in ((3, 4), ())] for _ in range(3))
                entries = [{"step": torch.empty((), device=device)}]
                tensors = kernels.Tensors(params, m, v, [], [])
                buckets.append(SimpleNamespace(t=0, tensors=tensors, kernel=kernel, entries=entries))
            return {**group, "lr": lr, "decoupled_weight_decay": decoupled}, buckets

        yield made


def grads_of(bucket):
    return [torch.empty_like(p) for p in bucket.tensors.params]


@decoupled_or_not
@scaler_on
@pytest.mark.parametrize("kernel", [kernels.foreach, look])
def test_counted_on_the_host_the_scale_goes_to_each_device(kernel, decoupled, scalers, make):
    group, buckets = make(kernel, decoupled)
    for bucket in buckets:
        for omega in (0.0, 0.5):
            move(group, bucket, grads_of(bucket), omega, torch.empty((), device=scalers))


@decoupled_or_not
@scaler_on
@pytest.mark.parametrize("kernel", [on_device.foreach_on_device, look])
@pytest.mark.parametrize("lr", ["a number", "cuda:0", "cpu"])
@pytest.mark.parametrize("shape", [(), (1,)], ids=str)
def test_counted_on_the_device_lr_scale_and_verdict_go_to_each(kernel, decoupled, scalers, lr, shape, make):
    group, buckets = make(kernel, decoupled, 0.1 if lr == "a number" else torch.empty(shape, device=lr))

    def row(count, beta1):  # without its table, in which a fake tensor cannot look up
        return Coefficients(*(torch.empty((), dtype=torch.float64, device=count.device) for _ in Coefficients._fields))

    schedule = SimpleNamespace(row=row, has_momentum=True, beta2=0.999)
    clocks = [Clock(2, bucket.tensors.params[0].device) for bucket in buckets]

    def advance(go):
        for clock in clocks:
            clock.advance(go)

    schedules = {clock.ticks.device: schedule for clock in clocks}
    plan = SimpleNamespace(advance=advance, schedules=schedules, betas=group["betas"])
    scale, found_inf = (torch.empty((), device=scalers) for _ in range(2))
    move_on_device(group, plan, [(bucket, grads_of(bucket)) for bucket in buckets], scale, found_inf)


def test_the_pretence_notices():
    with FakeTensorMode(), pytest.raises(RuntimeError, match="same device"):
        torch.empty(3, device="cuda:0") * torch.empty((), device="cuda:1")
