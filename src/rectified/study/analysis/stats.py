"""Student's t intervals and tests, and adjustment for multiple comparisons. Pure functions.

NaN and infinity are refused everywhere: no statistic of them is meaningful.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.special import stdtr, stdtrit  # what scipy.stats calls, which takes a hundred times as long to get there

from ...workloads.numbers import LARGEST, is_finite

LEVEL = 0.95
_MOST = 1_000  # seeds; nobody can act on advice to run more
_EQUAL = 1e-9  # relative: values that differ by less differ only by rounding


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval from n values; for one value the interval is the entire real line.

    Raises:
        ValueError: the estimate is not finite, or an end is NaN.
    """

    estimate: float
    low: float
    high: float
    n: int

    def __post_init__(self) -> None:
        if not math.isfinite(self.estimate) or math.isnan(self.low) or math.isnan(self.high):
            raise ValueError(f"interval {self.low} to {self.high} around {self.estimate}; they must be numbers")

    @property
    def half(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2

    def excludes(self, value: float) -> bool:
        """Whether the value lies outside the interval.

        Raises:
            ValueError: it is NaN or infinite.
        """
        return not self.low <= finite([value])[0] <= self.high


def finite(values: Sequence[float]) -> Sequence[float]:
    """Return the values after checking that they are finite.

    Raises:
        ValueError: there are no values, or one is NaN, infinite or above 1e100 in magnitude.
    """
    if not len(values):
        raise ValueError("no values; there must be at least one")
    for value in values:
        if not is_finite(value):
            raise ValueError(
                f"a value is {value}; all must be finite, at most {LARGEST:g} in size: "
                "a run that diverged counts as chance"
            )
    return values


def no_spread(values: Sequence[float], scale: float = 0.0) -> bool:
    """Whether all values are equal up to rounding.

    Args:
        scale: the magnitude of the numbers that the values are differences of.

    Raises:
        ValueError: there is no value, or one is NaN or infinite.

    >>> no_spread([87.1 - 87.0, 86.4 - 86.3], scale=87.1), no_spread([0.1, 0.2])
    (True, False)
    """
    finite([*finite(values), scale])
    return max(values) - min(values) <= _EQUAL * max(scale, *map(abs, values))


def t_quantile(p: float, freedom: int) -> float:
    """The quantile of Student's t distribution at probability p.

    Raises:
        ValueError: p is not inside (0, 1), or there are no degrees of freedom.

    >>> round(t_quantile(0.975, 2), 4), round(t_quantile(0.975, 1000), 4)
    (4.3027, 1.9623)
    """
    if not 0 < p < 1:
        raise ValueError(f"p is {p}; it must lie inside (0, 1)")
    if freedom < 1:
        raise ValueError(f"{freedom} degrees of freedom; there must be at least 1")
    return float(stdtrit(freedom, p))


def t_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """The mean with Student's t interval, whose coverage is exact for normally distributed values.

    For skewed distributions the coverage is lower: at 95 %, for the mean of 3 to 20 exponential values, 89 to 93 %.

    Raises:
        ValueError: there is no value, or one is NaN or infinite.

    >>> mean = t_interval([86.1, 87.4, 86.9])
    >>> round(mean.estimate, 2), round(mean.low, 2), round(mean.high, 2)
    (86.8, 85.17, 88.43)
    """
    mean, n = fmean(finite(values)), len(values)
    if n == 1:
        return Interval(mean, -math.inf, math.inf, 1)
    half = t_quantile((1 + level) / 2, n - 1) * stdev(values) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


def t_p_value(differences: Sequence[float], scale: float = 0.0) -> float:
    """The two-sided p value of the paired t test, which assumes normally distributed differences.

    1 if no test is possible: there is one pair, or all differences are equal and so have no spread.

    Args:
        scale: the magnitude of the numbers that these are differences of.

    Raises:
        ValueError: there are no differences, or one is NaN or infinite.

    >>> round(t_p_value([0.5, 0.6, 0.4]), 4)
    0.0131
    """
    if len(finite(differences)) < 2 or no_spread(differences, scale):
        return 1.0
    n = len(differences)
    t = fmean(differences) / (stdev(differences) / math.sqrt(n))
    return float(2 * stdtr(n - 1, -abs(t)))


def holm(p: Sequence[float]) -> list[float]:
    """P values adjusted for multiple comparisons (Holm 1979), in the given order.

    If adjusted values of at most 0.05 are called findings, the chance of any false finding is at most 5 %.

    Raises:
        ValueError: a p value is not in [0, 1].

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    for each in p:
        if not 0 <= each <= 1:
            raise ValueError(f"p is {each}; it must be in [0, 1]")
    adjusted = [0.0] * len(p)
    highest = 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        highest = max(highest, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = highest
    return adjusted


def seeds_to_separate(differences: Sequence[float], level: float = LEVEL) -> int | None:
    """The number of additional seeds that would make the t interval exclude 0, if mean and spread stay the same.

    0 if it excludes 0 now; None for one seed, for a mean of 0, and if it takes more than a thousand. Only a guess,
    since mean and spread are estimates themselves.

    >>> seeds_to_separate([1.0, -0.5, 0.4, 0.9, 0.7])
    4
    """
    n, mean = len(finite(differences)), abs(fmean(differences))
    if n < 2 or not mean:
        return None
    spread = stdev(differences)

    def separates(n: int) -> bool:
        return t_quantile((1 + level) / 2, n - 1) * spread / math.sqrt(n) < mean

    if separates(n):
        return 0
    if not separates(_MOST):
        return None
    low, high = n, _MOST  # too few, enough
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if separates(middle) else (middle, high)
    return high - n
