"""Matched-lr controls: the same optimizer without its warmup, at lr times the warmup's mean omega over the run.

    matched-lr(radam)             Adam at lr times the mean of RAdam's omega over the run's steps
    matched-lr(adam+linear-10%)   Adam at 0.95 lr, since omega of a linear warmup over 10 % of the run has mean 0.95

At the same nominal lr, the step sizes of both sum to the same total over the run, so a remaining difference comes from
the shape of the warmup.
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
    """omega = factor at every step: a smaller lr instead of a warmup.

    >>> SmallerLr(0.4).omega(1, beta2=0.999)
    0.4
    """

    factor: float

    def omega(self, t: int, beta2: float) -> float:
        return self.factor


@dataclass(frozen=True)
class MeanOmega:
    """A :class:`SmallerLr` whose factor is the mean omega of a warmup, which depends on the length of the run."""

    method: "Method"

    def over(self, steps: int) -> SmallerLr:
        """The :class:`SmallerLr` for a run of that many steps.

        A step that a warmup with ``start="momentum"`` takes without the second moment counts as omega = 0.
        """
        return SmallerLr(mean_omega(self.method.over(steps).omega_function(), steps))


def mean_omega(omega: Callable[[int], float], steps: int) -> float:
    """The mean of omega over a run: exact over the first 65,536 steps, then sampled and interpolated linearly.

    Beyond 65,536 steps, it uses 1,024 samples per doubling of the step.

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
    """The name of a method's matched-lr control.

    >>> control_name("radam")
    'matched-lr(radam)'
    """
    return f"matched-lr({method})"


def controlled(name: str) -> str | None:
    """The name of the method that a control belongs to; None if the name is not that of a control.

    >>> controlled("matched-lr(radam(beta2=0.95))"), controlled("radam")
    ('radam(beta2=0.95)', None)
    """
    found = _NAME.fullmatch(name.strip())
    return found[1].strip() if found else None
