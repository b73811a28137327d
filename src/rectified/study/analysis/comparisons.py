"""Paired comparisons of each method with the baseline, the leader and its own control. Pure functions, no prose."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from statistics import fmean
from typing import Literal

import numpy as np

from ..config.controls import control_name, controlled
from ..config.errors import InvalidOption
from .outcomes import LOST, Metric, Outcomes
from .robustness import Robustness, robustness
from .selection import Grid, Tested, compare
from .stats import LEVEL, Interval, holm, seeds_to_separate

Finding = Literal["better", "worse", "equivalent", "inconclusive", "not testable"]


@dataclass(frozen=True)
class BestLr:
    """A method at its best lr, which is chosen over all its settled seeds.

    Attributes:
        values: what its runs at that lr count as, by seed.
        end: whether the lr is the lowest or the highest of several, so that a better one may lie beyond the grid.
        beyond: the next lr beyond that end of the grid.
    """

    lr: float
    values: Mapping[int, float]
    end: Literal["", "lowest", "highest"] = ""
    beyond: float | None = None

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return fmean(self.values.values())


@dataclass(frozen=True)
class Difference:
    """The difference between two methods, method − baseline, over the seeds for which both have a result.

    Attributes:
        lr: the lr of both; None if each is at its best lr.
        lrs: the lr of each.
        values: the differences by seed.
        lost: how many of the compared runs of method and of baseline count as chance.
        unsteady: whether a run that counts as chance decides the difference: a compared run, or one at an lr that
            would be best without it.
        waiting: the number of seeds that still lack a run.
        interval: the 95 % interval of the mean difference, consistent with the test; None if no test could be made or
            a run that counts as chance decides.
        wide: the interval at the Bonferroni level, at which all intervals of the family hold simultaneously.
        p: the p value, adjusted over the family by Holm's method.
        by: the test, ``"swaps"`` or ``"t"``, see :mod:`.selection`; None if no test could be made.
        finding: better or worse if p <= 0.05; equivalent if the wide interval lies within the margin; inconclusive if
            neither holds; not testable if there are too few seeds or no spread between them.
        more: how many more seeds would give a finding if mean and spread stay the same; None if no realistic number.
        needed: the smallest number of seeds at which the swap test can reach significance.
    """

    method: str
    baseline: str
    lr: float | None
    lrs: tuple[float, float] | None = None
    values: Mapping[int, float] = field(default_factory=dict)
    lost: tuple[int, int] = (0, 0)
    unsteady: bool = False
    waiting: int = 0
    interval: Interval | None = None
    wide: Interval | None = None
    p: float = 1.0
    by: Literal["swaps", "t"] | None = None
    finding: Finding = "not testable"
    more: int | None = None
    needed: int = 0

    @property
    def n(self) -> int:
        """The number of seeds."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """The mean difference over seeds; NaN if there are none."""
        return fmean(self.values.values()) if self.values else math.nan

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest difference over seeds."""
        return min(self.values.values()), max(self.values.values())


@dataclass(frozen=True)
class Comparison:
    """All comparisons between the methods of one setting.

    Controls, such as ``matched-lr(radam)``, are not candidates: each is compared only with its own method.

    Attributes:
        best: each method at its best lr; None if no seed has a result at every lr.
        leader: the method with the best mean at its best lr, over the shared seeds, among the methods that are not
            found worse than another; None if they share no seed.
        shared: the seeds that all methods share.
        rivals: the leader vs each other method, at their best lrs. Adjusted over all pairs of methods, since the
            leader was chosen by the same values that are compared; the comparison with the baseline is from at_best.
        at_best: each method vs the baseline, at their best lrs, adjusted over these.
        at_lr: each method vs the baseline, at each shared lr, adjusted over these.
        beyond_lr: each method vs its control, if it has one, at their best lrs and at each lr: the effect of its
            warmup beyond a smaller lr. Adjusted over those at best lrs, and separately over the others.
        robust: the range of lrs over which each method is within the margin of its best.
        first_baseline: the baseline that the study began with, if it is another one.
    """

    baseline: str
    best: Mapping[str, BestLr | None]
    leader: str | None
    shared: tuple[int, ...]
    rivals: tuple[Difference, ...]
    at_best: tuple[Difference, ...]
    at_lr: tuple[Difference, ...]
    beyond_lr: tuple[Difference, ...]
    robust: Mapping[str, Robustness | None]
    first_baseline: str | None = None

    @property
    def families(self) -> list[int]:
        """The number of differences tested in each family; the first, at best lrs, includes leader vs baseline."""
        beyond = [[d for d in self.beyond_lr if (d.lr is None) is at_best] for at_best in (True, False)]
        pairs = [d for d in self.rivals if self.baseline not in (d.method, d.baseline)]
        found = [sum(d.by is not None for d in family) for family in (self.at_best, self.at_lr, pairs, *beyond)]
        return [n for n in found if n]


def compare_methods(
    outcomes: Outcomes, metric: Metric, baseline: str | None = None, first_baseline: str | None = None
) -> Comparison:
    """Make every comparison of one setting.

    Args:
        baseline: the name of a method; the first method if None.
        first_baseline: the baseline that the study began with.

    Raises:
        InvalidOption: no method has the baseline's name.
    """
    every = list(outcomes.runs)
    if baseline is None:
        baseline = every[0]
    if baseline not in every:
        raise InvalidOption("baseline", baseline, f"the study's methods are {', '.join(every)}")
    of = {method: controlled(method) for method in every}
    methods = [method for method in every if of[method] not in every or method == baseline]
    others = [method for method in methods if method != baseline]
    best = {method: _best(outcomes, method, metric) for method in every}
    at_best = _judge([_at_best(outcomes, method, baseline, metric) for method in others], metric)
    pairs = _judge([_at_best(outcomes, a, b, metric) for a, b in combinations(methods, 2)], metric)
    pairs = [d for d in pairs if baseline not in (d.method, d.baseline)]
    leader, shared = _leader(outcomes, best, methods, [*at_best, *pairs], metric)
    rivals = [_towards(d, leader) for d in (*at_best, *pairs) if leader and leader in (d.method, d.baseline)]
    controls = [method for method in every if control_name(method) in every]
    at_lr = [
        _at_lr(outcomes, method, baseline, lr, metric)
        for method in others
        for lr in sorted(outcomes.runs[method].keys() & outcomes.runs[baseline].keys())
    ]
    beyond = [_at_best(outcomes, method, control_name(method), metric) for method in controls]
    beyond_at_lr = [
        _at_lr(outcomes, method, control_name(method), lr, metric)
        for method in controls
        for lr in sorted(outcomes.runs[method].keys() & outcomes.runs[control_name(method)].keys())
    ]
    return Comparison(
        baseline=baseline,
        best=best,
        leader=leader,
        shared=shared,
        rivals=tuple(sorted(rivals, key=lambda d: methods.index(d.baseline))),
        at_best=tuple(at_best),
        at_lr=tuple(_judge(at_lr, metric)),
        beyond_lr=(*_judge(beyond, metric), *_judge(beyond_at_lr, metric)),
        robust={method: _robust(outcomes, method, metric) for method in every},
        first_baseline=first_baseline if first_baseline != baseline else None,
    )


def _grid(outcomes: Outcomes, method: str, seeds: Sequence[int], metric: Metric, lr: float | None = None) -> Grid:
    """A method's results at these seeds, at all its lrs or at one."""
    sign = 1.0 if metric.larger_is_better else -1.0
    by_lr = outcomes.runs[method]
    lrs = tuple(sorted(by_lr)) if lr is None else (lr,)
    runs = [[by_lr[lr][seed] for lr in lrs] for seed in seeds]
    values = sign * np.array([[run.value for run in row] for row in runs], dtype=float)
    choices = values
    if metric.chosen_by is not None:
        choices = sign * np.array([[run.choice for run in row] for row in runs], dtype=float)
    return Grid(lrs, values, choices, np.array([[run.fate in LOST for run in row] for row in runs]))


def _best(outcomes: Outcomes, method: str, metric: Metric) -> BestLr | None:
    seeds = outcomes.settled(method)
    if not seeds:
        return None
    grid = _grid(outcomes, method, seeds, metric)
    lr = grid.lrs[grid.best]
    values = outcomes.values(method, lr)
    end, beyond = _end(grid.lrs, grid.best)
    return BestLr(lr, {seed: values[seed] for seed in seeds}, end, beyond)


def _end(lrs: Sequence[float], best: int) -> tuple[Literal["", "lowest", "highest"], float | None]:
    """Which end of the lr grid the best lr is at, if any, and the next lr beyond that end.

    >>> _end([0.001, 0.003, 0.01], 2), _end([0.001, 0.003, 0.01], 1), _end([0.01], 0)
    (('highest', 0.03), ('', None), ('', None))
    """
    if len(lrs) < 2 or 0 < best < len(lrs) - 1:
        return "", None
    near, far = (lrs[1], lrs[0]) if best == 0 else (lrs[-2], lrs[-1])
    return ("lowest" if best == 0 else "highest"), float(f"{far * far / near:.1g}")


def _leader(
    outcomes: Outcomes,
    best: Mapping[str, BestLr | None],
    methods: Sequence[str],
    tested: Sequence[Difference],
    metric: Metric,
) -> tuple[str | None, tuple[int, ...]]:
    """The leading method, and the seeds that all methods share."""
    here = [method for method in methods if best[method]]
    worse = {d.method for d in tested if d.finding == "worse"} | {d.baseline for d in tested if d.finding == "better"}
    seeds = sorted(set.intersection(*(set(outcomes.settled(method)) for method in here))) if here else []
    if not seeds:
        return None, ()
    means = {}
    for method in here:
        if method not in worse:
            values = outcomes.values(method, _lr_of(best, method))
            means[method] = fmean(values[seed] for seed in seeds) * (1 if metric.larger_is_better else -1)
    return max(means, key=means.__getitem__, default=None), tuple(seeds)


def _lr_of(best: Mapping[str, BestLr | None], method: str) -> float:
    found = best[method]
    assert found is not None
    return found.lr


def _at_best(outcomes: Outcomes, ours: str, theirs: str, metric: Metric) -> "_Pair":
    """Pair two methods at their best lrs, over the seeds that both have settled."""
    seeds = sorted(set(outcomes.settled(ours)) & set(outcomes.settled(theirs)))
    waiting = len(set(outcomes.planned(ours)) & set(outcomes.planned(theirs)) - set(seeds))
    return _Pair(outcomes, ours, theirs, None, seeds, waiting, metric)


def _at_lr(outcomes: Outcomes, ours: str, theirs: str, lr: float, metric: Metric) -> "_Pair":
    a, b = outcomes.runs[ours][lr], outcomes.runs[theirs][lr]
    seeds = sorted(seed for seed in a.keys() & b.keys() if a[seed].settled and b[seed].settled)
    return _Pair(outcomes, ours, theirs, lr, seeds, len(a.keys() & b.keys()) - len(seeds), metric)


@dataclass(frozen=True)
class _Pair:
    """Two methods to be compared."""

    outcomes: Outcomes
    ours: str
    theirs: str
    lr: float | None
    seeds: Sequence[int]
    waiting: int
    metric: Metric

    def grids(self) -> tuple[Grid, Grid]:
        ours, theirs = (
            _grid(self.outcomes, method, self.seeds, self.metric, self.lr) for method in (self.ours, self.theirs)
        )
        return ours, theirs

    def tested(self, family: int) -> tuple[Difference, Tested | None]:
        """The difference before it is judged, and its test in a family of that size."""
        found = Difference(self.ours, self.theirs, self.lr, waiting=self.waiting)
        if not self.seeds:
            return found, None
        ours, theirs = self.grids()
        test = compare(ours, theirs, family, matched=controlled(self.theirs) == self.ours)
        sign = 1 if self.metric.larger_is_better else -1
        lrs = ours.lrs[ours.best], theirs.lrs[theirs.best]
        values = {seed: sign * float(d) for seed, d in zip(self.seeds, test.differences, strict=True)}
        counts = [
            self.outcomes.lost(method, lr, self.seeds) for method, lr in zip((self.ours, self.theirs), lrs, strict=True)
        ]
        return (
            replace(
                found,
                lrs=lrs,
                values=values,
                lost=(counts[0], counts[1]),
                unsteady=ours.unsteady or theirs.unsteady,
                needed=test.needed,
            ),
            test,
        )


def _judge(pairs: Sequence[_Pair], metric: Metric) -> list[Difference]:
    """Judge each difference, with p values adjusted for the number of testable comparisons."""
    family = max(1, sum(len(pair.seeds) > 1 for pair in pairs))
    tested = [pair.tested(family) for pair in pairs]
    adjusted = iter(holm([test.p for _, test in tested if test and test.by]))
    return [
        _judged(d, test, next(adjusted), family, metric) if test and test.by else _untested(d) for d, test in tested
    ]


def _untested(d: Difference) -> Difference:
    """A difference without a test: equivalent if it is 0 for every seed and no run was lost."""
    equal = d.n > 1 and not d.unsteady and not any(d.values.values())
    return replace(d, finding="equivalent") if equal else d


def _judged(d: Difference, test: Tested, p: float, family: int, metric: Metric) -> Difference:
    sign = 1 if metric.larger_is_better else -1
    interval, wide = (
        _signed(test.interval(level), sign) if test.interval else None for level in (LEVEL, 1 - (1 - LEVEL) / family)
    )
    finding: Finding = "inconclusive"
    if p <= 1 - LEVEL:
        finding = "better" if metric.better(d.mean, 0.0) else "worse"
    elif wide and max(abs(wide.low), abs(wide.high)) < metric.margin:
        finding = "equivalent"
    more = None
    if finding == "inconclusive" and not d.unsteady:
        level = 1 - (1 - LEVEL) / family
        more = seeds_to_separate(list(d.values.values()), level)
    return replace(d, p=p, by=test.by, interval=interval, wide=wide, finding=finding, more=more)


def _signed(interval: Interval, sign: int) -> Interval:
    if sign == 1:
        return interval
    return Interval(-interval.estimate, -interval.high, -interval.low, interval.n)


def _robust(outcomes: Outcomes, method: str, metric: Metric) -> Robustness | None:
    """A method's robustness; None if no seed has a result at every lr."""
    seeds, lrs = outcomes.settled(method), sorted(outcomes.runs[method])
    if not seeds:
        return None
    by_lr = [outcomes.values(method, lr) for lr in lrs]
    return robustness(
        lrs, [[values[seed] for values in by_lr] for seed in seeds], metric.margin, metric.larger_is_better
    )


def _towards(d: Difference, leader: str) -> Difference:
    """Turn a difference so that the leader comes first."""
    if d.method == leader:
        return d
    turned: dict[Finding, Finding] = {"better": "worse", "worse": "better"}
    return replace(
        d,
        method=d.baseline,
        baseline=d.method,
        lrs=d.lrs and d.lrs[::-1],
        values={seed: -value for seed, value in d.values.items()},
        lost=d.lost[::-1],
        interval=d.interval and _signed(d.interval, -1),
        wide=d.wide and _signed(d.wide, -1),
        finding=turned.get(d.finding, d.finding),
    )
