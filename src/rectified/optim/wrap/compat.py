"""Other libraries' optimizers: their wrappers, the decay rate of v, and whether they can be rectified."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...warmup import Constant, Linear, Rectified, SecondMomentOnly, Warmup
from ...warmup.interface import as_warmup
from ..states.clock import number_in
from ..step.options import Group

_PLAIN = "A plain schedule such as Linear(steps) works anyway"

# Rectification applies to a v that is an exponential average of squared gradients with a constant beta2. Exceptions:
_NOT_RECTIFIABLE = {
    "SGD": "it has no v: its step is proportional to the gradient, not divided by the root of an average",
    "ASGD": "it has no v",
    "LBFGS": "it has no v",
    "Muon": "it has no v: its step is an orthogonalized momentum, whose size is the same from the first step on",
    "Rprop": "it steps by signs and has no v",
    "SignSGD": "it steps by signs and has no v",
    "Lion": "it steps by signs and has no v: every element moves by lr from the first step on",
    "Tiger": "it steps by signs and has no v",
    "Adagrad": "its v is a sum that grows forever, so its number of samples has no limit to rectify toward",
    "Adamax": "its v is a maximum of gradients, which no chi-square law describes",
    "AdaMax": "its v is a maximum of gradients, which no chi-square law describes",
    "Adafactor": "its v is a product of two averages whose beta2 grows with t, so there is no constant rho_inf",
    "AdaFactor": "its v is a product of two averages whose beta2 grows with t, so there is no constant rho_inf",
    "RAdam": "it already rectifies, and would be rectified twice",
    "RAdamScheduleFree": "it already rectifies, and would be rectified twice",
    "ScheduleFreeRAdam": "it already rectifies, and would be rectified twice",
    "Ranger": "it already rectifies, and would be rectified twice",
}
_MAXIMA = ("amsgrad", "ams_bound")
_BY_SIGNS = ("Lion", "Sign")  # in the name of many variants


def unwrapped(optimizer: Any) -> Any:
    """The innermost optimizer inside wrappers such as those of Accelerate, Lightning and :func:`rectify`.

    >>> import torch, rectified
    >>> inner = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    >>> unwrapped(rectified.rectify(inner, rectified.warmup.Linear(3))) is inner
    True
    """
    while isinstance(inner := getattr(optimizer, "optimizer", None), torch.optim.Optimizer) and inner is not optimizer:
        optimizer = inner
    return optimizer


class SecondMoment(NamedTuple):
    """How an optimizer averages squared gradients."""

    beta2: float  # NaN if the warmup does not need it
    debiased: bool  # if not, v starts from 0 and its root is too small by sqrt(1 - beta2^t)


def second_moment(
    optimizer: torch.optim.Optimizer, group: Group, given: float | None, warmup: Warmup
) -> tuple[str, SecondMoment]:
    """How a group averages squared gradients, and the group's key for beta2; a given beta2 takes precedence.

    Raises:
        ValueError: the warmup needs beta2 but the group has no known key for it; beta2 is outside [0, 1); or the warmup
            never starts at it.
    """
    key, found = _read(optimizer, group)
    beta2 = found.beta2 if given is None else given
    if math.isnan(beta2) and not isinstance(warmup, Constant | SecondMomentOnly | Linear) and not _observes(warmup):
        raise ValueError(
            f"{type(warmup).__name__} needs beta2, the decay rate of v, which the groups of {type(optimizer).__name__} "
            f"({', '.join(key for key in group if key != 'params')}) do not have: pass beta2=. {_PLAIN}"
        )
    if not math.isnan(beta2) and not 0 <= beta2 < 1:
        raise ValueError(f"beta2 is {beta2!r}; it must be in [0, 1)")
    as_warmup(warmup).check(beta2)
    return key, SecondMoment(beta2, found.debiased)


def _read(optimizer: torch.optim.Optimizer, group: Group) -> tuple[str, SecondMoment]:
    betas = group.get("betas")
    if isinstance(betas, tuple | list) and len(betas) == 2:
        return "betas", SecondMoment(float(betas[1]), debiased=True)
    if "alpha" in group and "centered" in group:  # RMSprop
        return "alpha", SecondMoment(float(group["alpha"]), debiased=False)
    if "rho" in group and any(kind.__name__ in ("Adadelta", "AdaDelta") for kind in type(optimizer).__mro__):
        return "rho", SecondMoment(float(group["rho"]), debiased=False)
    return "", SecondMoment(math.nan, debiased=True)


def refuse(optimizer: torch.optim.Optimizer, group: Group, warmup: Warmup) -> None:
    """Raise if a warmup rectifies an optimizer for which the chi-square argument does not hold."""
    if not isinstance(warmup, Rectified):
        return
    for kind in type(optimizer).__mro__:
        if kind.__name__ in _NOT_RECTIFIABLE:
            raise ValueError(f"{kind.__name__} cannot be rectified: {_NOT_RECTIFIABLE[kind.__name__]}. {_PLAIN}")
    for flag in _MAXIMA:
        if group.get(flag):
            raise ValueError(
                f"{type(optimizer).__name__} with {flag}=True cannot be rectified: it divides by the largest v so far, "
                f"which no chi-square law describes. {_PLAIN}"
            )


def _observes(warmup: Warmup) -> bool:
    return bool(as_warmup(warmup).observes)  # omega is the run's, not beta2's


def lacks_v(optimizer: torch.optim.Optimizer) -> bool:
    """Whether an optimizer does not average squared gradients, by the names of its classes.

    >>> lacks_v(torch.optim.Adam([torch.nn.Parameter(torch.ones(1))]))
    False
    """
    names = [kind.__name__ for kind in type(optimizer).__mro__]
    if isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW):
        return False
    reasons = [_NOT_RECTIFIABLE.get(name, "") for name in names]
    return any("has no v" in reason for reason in reasons) or any(part in name for name in names for part in _BY_SIGNS)


def steps_taken(optimizer: torch.optim.Optimizer, group: Group) -> int:
    """The step count of a group, according to its states or itself; 0 if there is none."""
    counts: list[Any] = [optimizer.state[p]["step"] for p in group["params"] if "step" in optimizer.state.get(p, {})]
    if not counts and isinstance(group.get("step"), int | float | Tensor):
        counts = [group["step"]]
    return max((int(number_in(count)) for count in counts), default=0)
