"""Where an optimizer stands in its warmup, in words and numbers."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..warmup import first_at
from .adam import Adam
from .step.coefficients import coefficients
from .step.options import Group, number, omega_of
from .variants.member import Member
from .wrap.scaling import CLOCK, Scaling


@dataclass(frozen=True)
class Explanation:
    """The next step of those parameters of one group that share a step count.

    Attributes:
        group: index in ``optimizer.param_groups``.
        parameters: how many of its parameters this is about.
        t: the step about to be taken, from 1.
        lr: the group's learning rate.
        omega: the warmup's factor at t.
        effective_lr: lr * omega; in a momentum start lr, which multiplies m_hat alone.
        phase: ``"start: hold"``, in which the parameters stand still, ``"start: momentum"``, ``"warmup"`` or ``"full"``
            (omega = 1).
        start_left: steps still to take in the start, this one included; None if it never ends.
        until_09: steps still to take before the first with omega >= 0.9; None if there is none.
    """

    group: int
    parameters: int
    t: int
    lr: float
    omega: float
    effective_lr: float
    phase: str
    start_left: int | None
    until_09: int | None

    def __str__(self) -> str:
        line = f"group {self.group}, {self.parameters} parameters, step {self.t}: {self.phase}"
        line += f", lr {self.lr:.3g} * omega {self.omega:.3g}"
        if self.start_left:
            line += f"; {self.start_left} steps of start left"
        if self.until_09:
            line += f"; omega reaches 0.9 in {self.until_09} steps"
        if self.until_09 is None:
            line += "; omega never reaches 0.9"
        return line


def explain(optimizer: torch.optim.Optimizer) -> list[Explanation]:
    """What the next step of each group will be: one entry per group and step count within it.

    Args:
        optimizer: one of ours, or any other that :func:`rectified.rectify` or :class:`rectified.WarmupLR` warms up.

    Raises:
        TypeError: it is neither.

    >>> import torch, rectified
    >>> optimizer = rectified.RAdam([torch.nn.Parameter(torch.ones(3))], lr=0.01)
    >>> print(rectified.explain(optimizer)[0])  # doctest: +ELLIPSIS
    group 0, 1 parameters, step 1: start: momentum, lr 0.01 * omega 0; 5 steps of start left; omega reaches ...
    """
    if not isinstance(optimizer, Adam | Member) and _scaling(optimizer) is None:
        raise TypeError(
            f"explain reads rectified's own optimizers, and others that it warms up by rectify() or WarmupLR; this is "
            f"a {type(optimizer).__qualname__} without"
        )
    found = []
    for index, group in enumerate(optimizer.param_groups):
        omega_at, lr = omegas_of(optimizer, index), number(group["lr"])
        counts = _counts(optimizer, group)
        for t in sorted(counts, reverse=True):
            omega = omega_at(t)
            effective = lr * omega
            if omega == 1:
                phase = "full"
            elif omega:
                phase = "warmup"
            else:
                momentum = isinstance(optimizer, Adam) and bool(coefficients(group, t, omega).momentum)
                phase = "start: momentum" if momentum else "start: hold"
                effective = lr if momentum else 0.0
            left = first_at(omega_at, level=5e-324, after=t - 1)
            until = first_at(omega_at, level=0.9, after=t - 1)
            found.append(
                Explanation(
                    group=index,
                    parameters=counts[t],
                    t=t,
                    lr=lr,
                    omega=omega,
                    effective_lr=effective,
                    phase=phase,
                    start_left=None if left is None else left - t,
                    until_09=None if until is None else until - t,
                )
            )
    return found


def omegas_of(optimizer: torch.optim.Optimizer, index: int) -> Callable[[int], float]:
    """The factor in front of each step of that group, by t; 1 throughout where there is no warmup."""
    group, scaling = optimizer.param_groups[index], _scaling(optimizer)
    if scaling is not None:
        moment = scaling.moment(index, group)
        return lambda t: scaling.omega(t, moment)
    if isinstance(optimizer, Adam):
        return lambda t: omega_of(group, t)
    if isinstance(optimizer, Member):
        return lambda t: optimizer.omega(group, t)
    return lambda t: 1.0


def _scaling(optimizer: torch.optim.Optimizer) -> Scaling | None:
    around = getattr(optimizer, "_scaled_by", None)
    return None if around is None else around()


def _counts(optimizer: torch.optim.Optimizer, group: Group) -> dict[int, int]:
    """By the step that comes next, how many parameters take it."""
    if _scaling(optimizer) is not None:
        return {group[CLOCK] + 1: len(group["params"])}
    counts: dict[int, int] = {}
    for p in group["params"]:
        t = int(optimizer.state[p]["step"]) + 1 if optimizer.state.get(p) else 1
        counts[t] = counts.get(t, 0) + 1
    return counts
