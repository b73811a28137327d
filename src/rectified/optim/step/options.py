"""Validation of a parameter group's options."""

import inspect
import math
from collections.abc import Callable
from functools import cache
from numbers import Integral, Real
from typing import Any, get_args

import torch
from torch import Tensor

from ...warmup import Rectified, Warmup
from ...warmup.interface import as_warmup
from .._torch import has_values
from ..states.low_precision import EIGHT_BIT, Rounding

Group = dict[str, Any]  # one of an optimizer's param_groups
OBSERVED = "warmup_observed"  # the key of what a warmup that observes the run remembers
CLOCK = "warmup_clock"  # the key of the step count in a group that rectify or WarmupLR warms up

# Nonnegative numbers, with torch.optim's words for them if it has some.
_NOT_NEGATIVE = {
    "lr": "learning rate",
    "eps": "epsilon value",
    "weight_decay": "weight_decay value",
    "momentum": "momentum value",
    "momentum_decay": "momentum_decay value",
    "hyper_lr": "hyper_lr value",
}
_RATES = ("alpha", "rho", "beta")


def check_options(group: Group) -> None:
    """Raise for an invalid number among a group's options.

    Raises:
        TypeError: an option is not a number.
        ValueError: an option is out of range, or a tensor with several elements.

    >>> check_options({"lr": "1e-3"})
    Traceback (most recent call last):
    TypeError: lr is '1e-3', a str; it must be a number of 0 or more, such as lr=0.001
    """
    for name, words in _NOT_NEGATIVE.items():
        if name not in group:
            continue
        x = group[name]
        if isinstance(x, Tensor) and x.numel() != 1:
            raise ValueError(f"Tensor {name} must be 1-element, but it has {x.numel()}")
        _check_type(name, x, "a number of 0 or more, such as lr=0.001" if name == "lr" else "a number of 0 or more")
        if _known(x) and not x >= 0:
            raise ValueError(f"Invalid {words}: {x}; it must be 0 or more")
    for name in _RATES:
        if name in group:
            _check_rate(group[name], name, f"Invalid {name} value: {group[name]}")
    if "betas" in group:
        betas = group["betas"]
        if not isinstance(betas, tuple | list):
            raise TypeError(f"betas is {betas!r}, a {type(betas).__name__}; it must be two numbers, (beta1, beta2)")
        if len(betas) != 2:
            raise ValueError(f"Invalid betas: {betas}; there must be two, (beta1, beta2)")
        for index, beta in enumerate(betas):
            _check_rate(beta, f"betas[{index}]", f"Invalid beta parameter at index {index}: {beta}")


def _check_rate(x: Any, name: str, words: str) -> None:
    if isinstance(x, Tensor) and x.numel() != 1:
        raise ValueError(f"Tensor {name} must be 1-element, but it has {x.numel()}")
    _check_type(name, x, "a decay rate in [0, 1)")
    if _known(x) and not 0 <= x < 1:
        raise ValueError(f"{words}; it must be in [0, 1)")


def _check_type(name: str, x: Any, what: str) -> None:
    if not isinstance(x, Real | Tensor):
        raise TypeError(f"{name} is {x!r}, a {type(x).__name__}; it must be {what}")


def _known(x: Any) -> bool:
    return not isinstance(x, Tensor) or has_values(x)


def check_paths(group: Group) -> None:
    """Raise if two of `foreach`, `fused`, `capturable` and `differentiable` are incompatible."""
    if group.get("differentiable") and group.get("fused"):
        raise RuntimeError("`fused` does not support `differentiable`: leave fused at None")
    if group.get("differentiable") and group.get("capturable"):
        raise RuntimeError("`capturable` does not support `differentiable`: autograd's graph is made on the host")
    if group.get("fused") and group.get("foreach"):
        raise RuntimeError("`fused` and `foreach` cannot be `True` together. Leave one of them at None")


def check_rounding(group: Group) -> None:
    """Raise for a rounding that is unknown or incompatible with the group's other options."""
    rounding, dtype = group["rounding"], group["state_dtype"]
    if rounding not in get_args(Rounding):
        raise ValueError(f"rounding is {rounding!r}; it must be one of {', '.join(map(repr, get_args(Rounding)))}")
    if not isinstance(dtype, torch.dtype) and dtype != EIGHT_BIT:
        raise TypeError(f"state_dtype is {dtype!r}; it must be a torch.dtype, such as torch.float32, or {EIGHT_BIT!r}")
    for option in ("amsgrad", "differentiable"):
        if dtype == EIGHT_BIT and group.get(option):
            raise ValueError(f"state_dtype is {EIGHT_BIT!r}, which does not support {option}: leave one of them out")
    if rounding != "nearest" and dtype not in (torch.float32, EIGHT_BIT):
        raise ValueError(
            f"rounding is {rounding!r} and state_dtype is {dtype}; it must be torch.float32, since the step is "
            "computed in float32 before rounding"
        )
    if group["differentiable"] and rounding != "nearest":
        raise RuntimeError(
            f"rounding={rounding!r} does not support `differentiable`, whose step autograd records: leave rounding at "
            "'nearest', or make the parameters float32"
        )


def plain(x: Any) -> Any:
    """Convert a number or a pair to Python's own types, so that checkpoints hold plain values.

    >>> import numpy as np
    >>> plain(np.float64(0.1)), plain((np.float32(0.5), 0.999)), plain("hold")
    (0.1, (0.5, 0.999), 'hold')
    """
    if isinstance(x, tuple):
        return tuple(map(plain, x))
    if isinstance(x, bool) or not isinstance(x, Real):
        return x
    return int(x) if isinstance(x, Integral) else float(x)


def value_of(x: float | Tensor) -> float:
    """The value of a number or of a one-element tensor, which may require a gradient."""
    return float(x.detach()) if isinstance(x, Tensor) else float(x)


def omega_at(warmup: Warmup, t: int, beta2: float) -> float:
    """The warmup's factor for step t; raises for a value outside [0, 1]."""
    omega = warmup.omega(t, beta2)
    if not 0 <= omega <= 1:
        word = "not a number" if math.isnan(omega) else "outside [0, 1]"
        raise ValueError(f"{warmup!r} gave omega = {omega!r} at t = {t}, which is {word}")
    return float(omega)


def undebiased(warmup: Warmup | None, t: int, beta2: float) -> float:
    """The factor on a rectification for a v without bias correction, since it is derived for one that has it."""
    return math.sqrt(1 - beta2**t) if isinstance(warmup, Rectified) else 1.0


def check_warmup(warmup: Any, beta2: float | Tensor) -> Warmup | None:
    """Check that a warmup is valid and starts at this beta2, and return it; None for no warmup."""
    if warmup is None:
        return None
    found = as_warmup(warmup)
    if _known(beta2):
        found.check(value_of(beta2))
    return found


def options_from(constructor: dict[str, Any]) -> Group:
    """The options among a constructor's ``locals()``: all except the object itself and its parameters."""
    return {name: x for name, x in constructor.items() if name not in ("self", "params", "__class__")}


def _find_keywords(kind: type) -> frozenset[str] | None:
    """The names of a constructor's arguments; None if it takes any."""
    parameters = inspect.signature(kind.__init__).parameters.values()  # type: ignore[misc]
    if any(x.kind is x.VAR_KEYWORD for x in parameters):
        return None
    return frozenset(x.name for x in parameters)


# Not a decorator: mypy would consider the class itself unhashable.
keywords: Callable[[type], frozenset[str] | None] = cache(_find_keywords)
