"""A group's options: what is refused, and with which way out."""

import math
from typing import Any, get_args

import torch
from torch import Tensor

from ...warmup import Rectified, Warmup, as_warmup
from .low_precision import Rounding

Group = dict[str, Any]  # one of an optimizer's param_groups


def check_group(group: Group) -> None:
    """Raise for an option that no step of Adam could use. Where torch.optim has a like check its words stand here."""
    check_common(group)
    if group["rounding"] not in get_args(Rounding):
        raise ValueError(
            f"rounding is {group['rounding']!r}; it must be one of {', '.join(map(repr, get_args(Rounding)))}"
        )
    if group["rounding"] != "nearest" and group["state_dtype"] is not torch.float32:
        raise ValueError(
            f"rounding is {group['rounding']!r} and state_dtype {group['state_dtype']}; it needs torch.float32, "
            "in which the step is taken before it is rounded"
        )
    if group["differentiable"] and group["rounding"] != "nearest":
        raise RuntimeError(
            f"rounding={group['rounding']!r} does not support `differentiable`, whose step autograd records: leave "
            "rounding at 'nearest', or make the parameters float32"
        )
    if group["differentiable"] and group["fused"]:
        raise RuntimeError("`fused` does not support `differentiable`: leave fused at None")
    if group["differentiable"] and group["capturable"]:
        raise RuntimeError("`capturable` does not support `differentiable`: autograd's graph is made on the host")
    if group["fused"] and group["foreach"]:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together. Leave one of them at None")
    for name in ("variance", "threshold", "start"):
        if name in group:
            raise ValueError(f"a group's {name} is part of its warmup: write warmup=Rectified({name}={group[name]!r})")
    check_warmup(group["warmup"], group["betas"][1])


def check_common(group: Group) -> None:
    """lr, eps, betas and weight_decay, where a group has them."""
    lr = group.get("lr", 0)
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError(f"Tensor lr must be 1-element, but it has {lr.numel()}")
    if not lr >= 0:
        raise ValueError(f"Invalid learning rate: {lr}; it must be 0 or more")
    if not group.get("eps", 0) >= 0:
        raise ValueError(f"Invalid epsilon value: {group['eps']}; it must be 0 or more")
    if "betas" in group:
        _check_betas(group["betas"])
    if not group.get("weight_decay", 0) >= 0:
        raise ValueError(f"Invalid weight_decay value: {group['weight_decay']}; it must be 0 or more")


def _check_betas(betas: Any) -> None:
    """Two of them, each a decay rate."""
    if len(betas) != 2:
        raise ValueError(f"Invalid betas: {betas}; there are two, (beta1, beta2)")
    for index, beta in enumerate(betas):
        if isinstance(beta, Tensor) and beta.numel() != 1:
            raise ValueError(f"Tensor betas[{index}] must be 1-element, but it has {beta.numel()}")
        if not 0 <= beta < 1:
            raise ValueError(f"Invalid beta parameter at index {index}: {beta}; it must lie in [0, 1)")


def check_warmup(warmup: Any, beta2: float | Tensor) -> None:
    """It has an omega and a known start, and starts at this beta2. None is none."""
    if warmup is None:
        return
    as_warmup(warmup).check(float(beta2))


def number(value: float | Tensor) -> float:
    """A number, or the one in a tensor."""
    return value.item() if isinstance(value, Tensor) else value


def omega_of(group: Group, t: int) -> float:
    """The warmup's factor for step t of Adam's group."""
    if group["warmup"] is None:
        return 1.0
    if t <= getattr(group["warmup"], "m_delay", 0):
        return 0.0
    return omega_at(group["warmup"], t, float(group["betas"][1]))


def omega_at(warmup: Warmup, t: int, beta2: float) -> float:
    """The warmup's factor for step t, refused where no warmup can mean it."""
    omega = warmup.omega(t, beta2)
    if not 0 <= omega <= 1:
        word = "not a number" if math.isnan(omega) else "outside [0, 1]"
        raise ValueError(f"{warmup!r} gave omega = {omega!r} at t = {t}, which is {word}")
    return float(omega)


def undebiased(warmup: Warmup | None, t: int, beta2: float) -> float:
    """What a rectification is multiplied by where v has no bias correction: it is derived for one that has."""
    return math.sqrt(1 - beta2**t) if isinstance(warmup, Rectified) else 1.0
