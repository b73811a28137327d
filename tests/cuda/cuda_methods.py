"""The methods that the CUDA tests run, each with its textbook twin, and the options that lead to each kernel."""

from functools import partial

import numpy as np
import pytest
import torch
from cuda_device import DEVICE

import reference
from rectified import LAMB, Adadelta, Adam, AdamW, NAdam, RAdam, RMSprop, optim
from rectified.warmup import Linear, Rectified, SecondMomentOnly, UntunedLinear
from trajectories import SHAPES, Race, gradient, numbers, parameters

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


PATHS = {
    "default": {},
    "fused": {"fused": True},
    "foreach": {"foreach": True},
    "capturable": {"capturable": True},
    "capturable, fused": {"capturable": True, "fused": True},
    "capturable, foreach": {"capturable": True, "foreach": True},
}
WITH_A_LARGE_ONE = (*SHAPES, (300, 257))  # of more elements than one chunk of torch's fused op has
LR = 2.0**-7  # the same number in every precision

methods = pytest.mark.parametrize("name", METHODS)
paths = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


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


def race(optimizer, params, twins, steps, relative, dtype, so_far=None):
    so_far = so_far or Race([twin.theta for twin in twins], relative, rounding(dtype))
    for step in steps:
        set_gradients(params, step)
        for p, twin in zip(params, twins, strict=True):
            twin.step(host(p.grad))
        optimizer.step()
        so_far.check([host(p) for p in params], [twin.theta for twin in twins])
    return so_far


def twins_of(params, twin, **options):
    return [reference.Textbook(host(p), **{**twin, **options}) for p in params]


def close(some, others, relative=1e-9):
    for p, q in zip(some, others, strict=True):
        assert np.isfinite(host(p)).all()
        np.testing.assert_allclose(host(p), host(q), rtol=relative, atol=relative)
