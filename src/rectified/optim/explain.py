"""The progress of an optimizer's warmup, in words and numbers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ..warmup.period import first_at
from .base import BaseOptimizer
from .observe.remembered import is_over_at, observing
from .states.clock import number_in
from .step.options import Group, value_of
from .wrap.compat import unwrapped
from .wrap.scaling import Scaling, active


@dataclass(frozen=True)
class Explanation:
    """The next step of the parameters in one group that share a step count.

    Attributes:
        group: index in ``optimizer.param_groups``.
        parameters: the number of parameters.
        t: the next step, from 1.
        lr: the group's learning rate.
        omega: the warmup's factor at t.
        effective_lr: lr * omega; during a momentum start, lr, which multiplies m_hat alone.
        phase: ``"start: hold"``, in which parameters do not move, ``"start: momentum"``, ``"warmup"`` or ``"full"``
            (omega = 1).
        start_left: the steps left in the start, including this one; None if it never ends.
        until_09: the steps before the first one with omega >= 0.9; None if there is none, or it depends on the run.
        until_full: the steps before the first one with omega = 1 or, if omega only approaches 1, omega >= 0.999; None
            if there is none, or it depends on the run.
        observes: whether the warmup observes the run and is not over; omega is then that of the last step.
        kernels: what took their last step, such as ``("fused",)``, torch's op, ``("foreach",)`` or ``("triton",)``;
            empty before the first step, after a load, in StepInBackward, and for other libraries' optimizers.
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
    until_full: int | None
    observes: bool = False
    kernels: tuple[str, ...] = ()

    def __str__(self) -> str:
        taken = "no step taken" if self.t == 1 else "1 step taken" if self.t == 2 else f"{self.t - 1} steps taken"
        line = f"group {self.group}, {self.parameters} parameters, {taken}; next, step {self.t}: {self.phase}"
        line += f", lr {self.lr:.3g} * omega {self.omega:.3g}"
        if self.start_left:
            line += f"; {self.start_left} step{'s' if self.start_left > 1 else ''} of start left"
        if self.observes:
            line += "; the next omegas depend on the run"
        elif self.until_full:
            line += f"; the warmup ends in {self.until_full} steps, at step {self.t + self.until_full}"
        elif self.until_full is None and self.until_09:
            line += f"; omega reaches 0.9 in {self.until_09} steps, but never 1"
        elif self.until_09 is None:
            line += "; omega never reaches 0.9"
        return line


def explain(optimizer: Any) -> list[Explanation]:
    """Describe the next step of an optimizer: one entry per group and step count within it.

    Args:
        optimizer: one of rectified's optimizers, or any other that :func:`rectified.rectify` or
            :class:`rectified.WarmupLR` warms up; possibly inside a trainer's wrapper, such as Accelerate's.

    Returns:
        Explanations in the order of the groups; within a group, those of the parameters with the most steps come first.

    Raises:
        TypeError: the optimizer is none of these.

    >>> import torch, rectified
    >>> optimizer = rectified.RAdam([torch.nn.Parameter(torch.ones(3))], lr=0.01)
    >>> print(rectified.explain(optimizer)[0])  # doctest: +ELLIPSIS
    group 0, 1 parameters, no step taken; next, step 1: start: momentum, lr 0.01 * omega 0; 5 steps of start ...
    """
    inner, scaling = unwrapped(optimizer), active(optimizer)
    if scaling is None and not isinstance(inner, BaseOptimizer):
        raise TypeError(
            "explain needs one of rectified's optimizers, or another one with a warmup from rectify() or WarmupLR; "
            f"this {type(inner).__qualname__} has no warmup"
        )
    found = []
    for index, group in enumerate(inner.param_groups):
        omega_at, lr = omegas_of(inner, index), float(value_of(group.get("lr", 1.0)))
        counts = _counts(inner, group, scaling)
        for t in sorted(counts, reverse=True):
            omega = effective = omega_at(t)
            effective = lr * omega
            given = group.get("warmup") if scaling is None else scaling.warmup
            observes = observing(given) and not is_over_at(group, given, t)
            if omega == 1 and not observes:
                phase = "full"
            elif omega or observes:
                phase = "warmup"
            else:
                momentum = scaling is None and inner.has_momentum_step(group, t)
                phase = "start: momentum" if momentum else "start: hold"
                effective = lr if momentum else 0.0
            left, until = (first_at(omega_at, level, after=t - 1) for level in (5e-324, 0.9))
            full = _end(omega_at, after=t - 1)
            if observes:
                left = until = full = None
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
                    until_full=None if full is None else full - t,
                    observes=observes,
                    kernels=inner.kernels(index, t - 1) if isinstance(inner, BaseOptimizer) else (),
                )
            )
    return found


def _end(omega_at: Callable[[int], float], after: int) -> int | None:
    """The first step with omega = 1, or with omega >= 0.999 if it only approaches 1; None if there is none."""
    almost, whole = (first_at(omega_at, level, after) for level in (0.999, 1.0))
    return whole if almost is not None and whole is not None and whole <= 1.1 * almost else almost


def omegas_of(optimizer: torch.optim.Optimizer, index: int) -> Callable[[int], float]:
    """A group's omega as a function of t; constantly 1 without a warmup."""
    optimizer, scaling = unwrapped(optimizer), active(optimizer)
    group = optimizer.param_groups[index]
    if scaling is not None:
        moment = scaling.moment(optimizer, index, group)
        return lambda t: scaling.omega(t, moment, group)
    if isinstance(optimizer, BaseOptimizer):
        return lambda t: optimizer.omega(group, t)
    return lambda t: 1.0


def _counts(optimizer: torch.optim.Optimizer, group: Group, scaling: Scaling | None) -> dict[int, int]:
    """The number of parameters for each next step count."""
    if scaling is not None:
        return {scaling.clock(optimizer, group) + 1: len(group["params"])}
    counts: dict[int, int] = {}
    for p in group["params"]:
        t = int(number_in(optimizer.state[p]["step"])) + 1 if optimizer.state.get(p) else 1
        counts[t] = counts.get(t, 0) + 1
    return counts
