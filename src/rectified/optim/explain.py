"""Where an optimizer stands in its warmup, in words and numbers."""

from dataclasses import dataclass

from ..warmup import Constant, steps_until
from .adam import Adam
from .coefficients import coefficients
from .options import number, omega_of


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


def explain(optimizer: Adam) -> list[Explanation]:
    """What the next step of each group will be: one entry per group and step count within it.

    Raises:
        TypeError: the optimizer is not one of this package.

    >>> import torch, rectified
    >>> optimizer = rectified.RAdam([torch.nn.Parameter(torch.ones(3))], lr=0.01)
    >>> print(rectified.explain(optimizer)[0])  # doctest: +ELLIPSIS
    group 0, 1 parameters, step 1: start: momentum, lr 0.01 * omega 0; 5 steps of start left; omega reaches ...
    """
    if not isinstance(optimizer, Adam):
        raise TypeError(f"explain reads rectified's own optimizers; this is a {type(optimizer).__qualname__}")
    found = []
    for index, group in enumerate(optimizer.param_groups):
        counts: dict[int, int] = {}
        for p in group["params"]:
            t = int(optimizer.state[p]["step"]) + 1 if optimizer.state.get(p) else 1
            counts[t] = counts.get(t, 0) + 1
        warmup, lr, beta2 = group["warmup"] or Constant(), number(group["lr"]), number(group["betas"][1])
        for t in sorted(counts, reverse=True):
            omega = omega_of(group, t)
            effective = lr * omega
            if omega == 1:
                phase = "full"
            elif omega:
                phase = "warmup"
            else:
                momentum = bool(coefficients(group, t, omega).momentum)
                phase = "start: momentum" if momentum else "start: hold"
                effective = lr if momentum else 0.0
            left = steps_until(warmup, beta2, level=5e-324, after=t - 1)
            until = steps_until(warmup, beta2, level=0.9, after=t - 1)
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
