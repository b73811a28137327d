"""The control for "a warmup is only a smaller lr": the same optimizer without the warmup, at lr times its mean omega.

    matched-lr(radam)             Adam at lr times the mean of RAdam's omega over the run's steps
    matched-lr(adam+linear-10%)   Adam at 0.95 lr, since the omega of a linear warmup over a tenth of the run means 0.95

Of one nominal lr both take, added up over the run, steps of the same size; what is left of a difference is the
warmup's shape.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import fsum
from typing import TYPE_CHECKING

from ...warmup import Warmup

if TYPE_CHECKING:
    from .method import Method

_EXACT = 65_536  # steps
_NAME = re.compile(r"matched-lr\((.*)\)", re.DOTALL)


@dataclass(frozen=True)
class SmallerLr(Warmup):
    """omega = factor at every step: no warmup, but a smaller lr.

    >>> SmallerLr(0.4).omega(1, beta2=0.999)
    0.4
    """

    factor: float

    def omega(self, t: int, beta2: float) -> float:
        return self.factor


@dataclass(frozen=True)
class MeanOmega:
    """A :class:`SmallerLr` of the size of a method's own warmup, which its run's length decides."""

    method: "Method"

    def over(self, steps: int) -> SmallerLr:
        """That of a run of that many steps.

        A step that a warmup with ``start="momentum"`` takes without the second moment counts as omega = 0.
        """
        return SmallerLr(mean_omega(self.method.over(steps).omega_function(), steps))


def mean_omega(omega: Callable[[int], float], steps: int) -> float:
    """The mean over a run: of each of its first 65,536 steps, then of 1,024 in every doubling and linear between.

    >>> mean_omega(lambda t: min(t / 100, 1), 200)
    0.7525
    >>> round(mean_omega(lambda t: min(t / 100_000, 1), 1_000_000), 4)
    0.95
    """
    exact = min(steps, _EXACT)
    total = fsum(map(omega, range(1, exact + 1)))
    here = exact
    while here < steps:
        there = min(steps, here + max(1, here // 1024))
        # Of there - here steps the last is there's and none is here's.
        total += (there - here) * (omega(here) + omega(there)) / 2 + (omega(there) - omega(here)) / 2
        here = there
    return total / steps


def control_name(method: str) -> str:
    """The name of a method's control.

    >>> control_name("radam")
    'matched-lr(radam)'
    """
    return f"matched-lr({method})"


def controlled(name: str) -> str | None:
    """The name of the method that a control belongs to; None if the name is no control's.

    >>> controlled("matched-lr(radam(beta2=0.95))"), controlled("radam")
    ('radam(beta2=0.95)', None)
    """
    found = _NAME.fullmatch(name.strip())
    return found[1].strip() if found else None
