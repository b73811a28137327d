"""Parameters on several devices, and tensors without values: what there is one of goes to each device, nothing is read.

The devices are pretended: a fake tensor has no memory, but an op on two of different devices raises, as it would there.
"""

from functools import partial

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import rectified
from rectified.optim import contrib
from rectified.optim.step.capturable import Schedule
from rectified.optim.step.update import Coefficients
from rectified.warmup import Linear, Rectified, SecondMomentOnly

DEVICES = ("cuda:0", "cuda:1", "cpu")
decoupled_or_not = pytest.mark.parametrize("decoupled", [False, True], ids=["L2", "decoupled"])
scaler_on = pytest.mark.parametrize("scalers", ["cuda:0", "cpu"], ids=lambda device: f"scaler on {device}")

# What memory estimators are run on.
VALUELESS = {
    "Adam": rectified.Adam,
    "Adam, linear": partial(rectified.Adam, warmup=Linear(9)),
    "Adam-2k": partial(rectified.Adam, warmup=SecondMomentOnly(2), amsgrad=True),
    "AdamW": rectified.AdamW,
    "AdamW kahan": partial(rectified.AdamW, rounding="kahan"),
    "RAdam": rectified.RAdam,
    "RMSprop": partial(rectified.RMSprop, momentum=0.9, centered=True, warmup=Rectified()),
    "NAdam": rectified.NAdam,
    "Adadelta": rectified.Adadelta,
    "LAMB": rectified.LAMB,
    "StableAdamW": contrib.StableAdamW,
    "COCOB": contrib.COCOB,
    "GIAdam": contrib.GIAdam,
    "RandomV0Adam": contrib.RandomV0Adam,
}
HAVE_CAPTURABLE = [name for name in VALUELESS if name not in ("StableAdamW", "COCOB", "GIAdam", "RandomV0Adam")]


def on_devices(devices=DEVICES, dtype=torch.float32):
    params = [torch.nn.Parameter(torch.empty(shape, device=d, dtype=dtype)) for d in devices for shape in ((3, 4), ())]
    for p in params:
        p.grad = torch.empty_like(p)
    return params


@decoupled_or_not
@scaler_on
def test_counted_on_the_host_the_scale_goes_to_each_device(decoupled, scalers):
    with FakeTensorMode():
        params = on_devices()
        optimizer = rectified.RAdam(params, weight_decay=0.1, decoupled_weight_decay=decoupled)
        for _ in range(3):
            optimizer.grad_scale = torch.empty((), device=scalers)
            optimizer.step()


@decoupled_or_not
@scaler_on
@pytest.mark.parametrize("lr", ["a number", "cuda:0", "cpu"])
@pytest.mark.parametrize("shape", [(), (1,)], ids=str)
def test_counted_on_the_device_lr_scale_and_verdict_go_to_each(decoupled, scalers, lr, shape, monkeypatch):
    def row(schedule, count):  # without its table, in which a torch without CUDA cannot pretend to look up
        return [torch.empty((), dtype=torch.float64, device=count.device) for _ in Coefficients._fields]

    monkeypatch.setattr(Schedule, "row", row)
    with FakeTensorMode():
        params = on_devices()
        rate = 0.1 if lr == "a number" else torch.empty(shape, device=lr)
        optimizer = rectified.RAdam(
            params, lr=rate, weight_decay=0.1, decoupled_weight_decay=decoupled, capturable=True
        )
        for _ in range(3):
            optimizer.grad_scale = torch.empty((), device=scalers)
            optimizer.found_inf = torch.empty((), device=scalers)
            optimizer.step()


@pytest.mark.parametrize("make", VALUELESS.values(), ids=VALUELESS.keys())
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_step_under_fake_tensors_reads_no_value(make, dtype):
    with FakeTensorMode():
        params = on_devices(("cpu",) if make is contrib.COCOB else ("cpu", "cuda:0"), dtype)
        optimizer = make(params)
        for _ in range(3):
            optimizer.step()
        saved = optimizer.state_dict()
        optimizer.load_state_dict(saved)
        optimizer.step()
    for p in params:
        states = [x for x in optimizer.state[p].values() if isinstance(x, torch.Tensor) and x.shape == p.shape]
        assert len(states) >= 1
        assert all(x.device == p.device for x in states if x.ndim)


@pytest.mark.parametrize("capturable", [False, True])
@pytest.mark.parametrize("name", VALUELESS)
def test_a_step_on_the_meta_device_reads_no_value(name, capturable):
    if capturable and name not in HAVE_CAPTURABLE:
        pytest.skip(f"{name} has no capturable")
    params = on_devices(("meta",))
    optimizer = VALUELESS[name](params, **({"capturable": True} if capturable else {}))
    for _ in range(3):
        optimizer.step()
    assert all(x.is_meta for p in params for x in optimizer.state[p].values() if getattr(x, "shape", None) == (3, 4))


@pytest.mark.parametrize("name", HAVE_CAPTURABLE)
def test_a_capturable_step_under_fake_tensors_reads_no_value(name):
    with FakeTensorMode():
        params = on_devices(("cpu",))  # elsewhere a torch without CUDA cannot pretend a copy
        optimizer = VALUELESS[name](params, capturable=True)
        for _ in range(3):
            optimizer.step()


def test_the_pretence_notices():
    with FakeTensorMode(), pytest.raises(RuntimeError, match="device"):
        torch.empty(3, device="cuda:0") * torch.empty((), device="cuda:1")
