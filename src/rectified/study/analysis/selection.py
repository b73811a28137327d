"""Choosing each method's best learning rate, and a permutation test that repeats the choice. Pure functions.

If two methods are equivalent, their labels are exchangeable: for each seed, the two sets of runs may be swapped, lr by
lr, and every pattern of swaps was equally likely to be the result. The test swaps seeds in all 2^n ways (from 13 seeds
on, in 4,096 random ways, or more if many comparisons are made), chooses both best lrs again each time, and counts how
often the two best means are at least as far apart as the observed ones. It assumes nothing about the distribution over
seeds, so it stays valid with runs that count as chance and despite the choice of lrs. It takes 6 seeds to reach
p = 0.05, since at least 2 of the 2^n swaps are as extreme as any result.

With fewer seeds the module uses the paired t test at the chosen lrs, which assumes a normal distribution over seeds. It
is used only if no run that counts as chance can have decided the choice: a single such run may change a method's best
lr for all its seeds, which shifts every difference by about as much, and a t test would take that for a sure
difference.

Grids with different lrs cannot be swapped lr by lr. There, ours is better if at one of its lrs it beats every lr of
theirs: the p value is the largest of these, for the best of our lrs, times the number of our lrs.

tests/study/analysis/test_promises.py measures the error rates and the power of these tests by simulation.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from ...workloads.numbers import LARGEST
from .stats import LEVEL, Interval, no_spread, t_interval, t_p_value

Numbers = NDArray[np.float64]

_ALL = 12  # the largest number of seeds for which all swaps are made
_SAMPLED = 4_096
_PER_COMPARISON = 100  # sampled swaps; with 20 the smallest possible p, 1 / number of swaps, could not be a finding
_TIE = 1e-9  # relative: sums that differ by less differ only by rounding


@dataclass(frozen=True)
class Grid:
    """One method's results as a seeds x lrs array, signed so that larger is better.

    Attributes:
        values: the metric that is compared.
        choices: the metric that chooses an lr: the values themselves, or those of a validation split.
        lost: which runs count as chance; None if no run does.

    Raises:
        ValueError: there are no runs, a value is NaN or infinite, or the shapes differ.
    """

    lrs: tuple[float, ...]
    values: Numbers
    choices: Numbers
    lost: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.values.shape != self.choices.shape or self.values.shape[1:] != (len(self.lrs),):
            raise ValueError(
                f"values are {self.values.shape} and choices {self.choices.shape}; both must be seeds x lrs"
            )
        if not self.values.size or not (np.abs([self.values, self.choices]) <= LARGEST).all():
            raise ValueError("a value is missing, NaN or infinite; a run that diverged counts as chance")
        if self.lost is not None and self.lost.shape != self.values.shape:
            raise ValueError(f"lost is {self.lost.shape} and values {self.values.shape}; both must be seeds x lrs")

    @property
    def best(self) -> int:
        """The index of the best lr; the smallest one if several are equally good."""
        return int(_first_best(self.choices.mean(0)))

    @property
    def at_best(self) -> Numbers:
        """The values at the best lr, by seed."""
        return self.values[:, self.best]

    @property
    def unsteady(self) -> bool:
        """Whether a run that counts as chance decides: one at the best lr, or at an lr that is best without it."""
        if self.lost is None or not self.lost.any():
            return False
        mean, best = self.choices.mean(0), self.best
        trained = ~self.lost
        without = np.where(trained, self.choices, 0).sum(0) / np.maximum(trained.sum(0), 1)
        rivals = self.lost.any(0) & trained.any(0) & (without >= mean[best])
        return bool(self.lost[:, best].any() or rivals.any())

    def shifted(self, by: float) -> "Grid":
        """The same grid with a constant added to every value."""
        values = self.values + by
        return Grid(self.lrs, values, values if self.choices is self.values else self.choices + by, self.lost)


@dataclass(frozen=True)
class Tested:
    """The difference of two methods at their best lrs, ours - theirs, with its test.

    Attributes:
        differences: the differences by seed.
        p: the p value; 1 if no test could be made.
        by: the test that was used; None if no test could be made.
        interval: a function from a confidence level to the interval of differences that the test does not reject. None
            if there is no interval, as when a run that counts as chance decides: such values have no meaningful center.
        needed: the smallest number of seeds at which the swap test can reach significance.
    """

    differences: Numbers
    p: float = 1.0
    by: Literal["swaps", "t"] | None = None
    interval: Callable[[float], Interval] | None = None
    needed: int = 0


def compare(ours: Grid, theirs: Grid, family: int = 1, matched: bool = False) -> Tested:
    """Test whether two methods differ at their best lrs.

    Args:
        family: the number of comparisons that are made together. The swap test is used if it has enough seeds to reach
            significance among so many.
        matched: whether the i-th lr of ours corresponds to the i-th of theirs, as for a method and its control.

    Raises:
        ValueError: the numbers of seeds differ.
    """
    n = len(ours.values)
    if len(theirs.values) != n:
        raise ValueError(f"{n} seeds of ours and {len(theirs.values)} of theirs; they are compared seed by seed")
    differences = ours.at_best - theirs.at_best
    same = ours.lrs == theirs.lrs or (matched and len(ours.lrs) == len(theirs.lrs))
    comparisons = family * (1 if same else max(len(ours.lrs), len(theirs.lrs)))
    needed = seeds_needed(comparisons)
    unsteady = ours.unsteady or theirs.unsteady
    scale = float(max(np.abs(ours.values).max(), np.abs(theirs.values).max()))
    values = [float(d) for d in differences]
    test: Callable[[Grid, Grid], float]
    by: Literal["swaps", "t"]
    if n >= needed:
        test, by = partial(_swapped if same else _either_swapped, _swaps(n, comparisons)), "swaps"
    elif n < 2 or unsteady or no_spread(values, scale):
        return Tested(differences, needed=needed)
    elif same:
        found = partial(t_interval, values)
        return Tested(differences, t_p_value(values, scale), "t", lambda level: found(level=level), needed)
    else:
        test, by = _either_t, "t"

    def interval(level: float) -> Interval:
        mean = float(differences.mean())
        low, high = (
            _end(lambda by: test(ours.shifted(-by), theirs), mean, sign * scale, 1 - level) for sign in (-1, 1)
        )
        return Interval(mean, low, high, n)

    return Tested(differences, test(ours, theirs), by, None if unsteady else interval, needed)


def seeds_needed(family: int) -> int:
    """The smallest number of seeds at which the swap test can reach significance in a family of that size.

    >>> seeds_needed(1), seeds_needed(2), seeds_needed(10)
    (6, 7, 9)
    """
    return math.ceil(1 + math.log2(family / (1 - LEVEL)))


def _first_best(means: Numbers) -> NDArray[np.intp]:
    """The index of the largest along the last axis; the first one if several are equal up to rounding."""
    enough = means.max(-1, keepdims=True) - _TIE * np.abs(means).max(-1, keepdims=True)
    return np.asarray((means >= enough).argmax(-1))


@cache
def _swaps(n: int, comparisons: int = 1) -> Numbers:
    """The ways to swap n seeds, one per row, with 1 for a swapped seed; the first row swaps none.

    A complete list holds only one of each mirrored pair, since both give the same distance.
    """
    if n <= _ALL:
        return np.array([(0, *rest) for rest in product((0.0, 1.0), repeat=n - 1)])
    most = max(_SAMPLED, _PER_COMPARISON * comparisons)
    found = np.random.default_rng(0).integers(0, 2, (most, n)).astype(float)
    found[0] = 0
    return found


def _swapped(swaps: Numbers, ours: Grid, theirs: Grid) -> float:
    """The share of swaps in which the best means are at least as far apart as observed."""

    def means(a: Numbers, b: Numbers) -> tuple[Numbers, Numbers]:
        first = (a.sum(0) + swaps @ (b - a)) / len(a)
        return first, (a + b).mean(0) - first

    a, b = means(ours.values, theirs.values)
    if ours.choices is ours.values and theirs.choices is theirs.values:
        distances = a.max(1) - b.max(1)
    else:
        every = np.arange(len(swaps))
        best_a, best_b = map(_first_best, means(ours.choices, theirs.choices))
        distances = a[every, best_a] - b[every, best_b]
    far = np.abs(distances)
    return float((far >= far[0] * (1 - _TIE) - _TIE * np.abs(a[0]).max()).mean())


def _either(ours: Grid, theirs: Grid, test: Callable[[Numbers], Numbers]) -> float:
    """The p value for grids with different lrs.

    Args:
        test: gives, for each column of differences, the one-sided p value for a mean above 0.
    """
    differences = ours.values[:, :, None] - theirs.values[:, None, :]
    n, a, b = differences.shape
    columns = differences.reshape(n, a * b)
    above, below = (test(sign * columns).reshape(a, b) for sign in (1, -1))
    return float(min(1.0, 2 * min(a * above.max(1).min(), b * below.max(0).min())))


def _either_swapped(swaps: Numbers, ours: Grid, theirs: Grid) -> float:
    signs = 1 - 2 * swaps
    if len(ours.values) <= _ALL:
        signs = np.concatenate([signs, -signs])

    def test(differences: Numbers) -> Numbers:
        sums = [signs @ column for column in differences.T]  # one by one: a matrix product wakes all BLAS threads
        enough = _TIE * np.abs(differences).sum(0)
        return np.array([(each >= each[0] - tie).mean() for each, tie in zip(sums, enough, strict=True)])

    return _either(ours, theirs, test)


def _either_t(ours: Grid, theirs: Grid) -> float:
    n, scale = len(ours.values), float(np.abs(ours.values).max())

    def test(differences: Numbers) -> Numbers:
        equal = np.array([no_spread(column, scale) for column in differences.T.tolist()])
        t = differences.mean(0) / np.where(equal, 1.0, differences.std(0, ddof=1) / math.sqrt(n))
        return np.where(equal, 1.0, stdtr(n - 1, -t))

    return _either(ours, theirs, test)


def _end(p_at: Callable[[float], float], estimate: float, scale: float, error: float) -> float:
    """The end of the interval of differences that are not rejected, on the side given by the sign of scale."""
    inside, step = estimate, scale * 1e-3 or 1e-9
    while p_at(outside := estimate + step) > error:
        inside, step = outside, step * 2
        if abs(step) > 1e6 * max(abs(scale), 1.0):  # no difference is rejected, however large
            return math.copysign(math.inf, scale)
    while abs(outside - inside) > 1e-5 * max(abs(outside - estimate), abs(scale) * 1e-9):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if p_at(middle) > error else (inside, middle)
    return outside
