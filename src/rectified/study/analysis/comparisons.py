"""Each method vs a baseline and vs the leader, seed by seed. Pure functions, no words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

from ..config.errors import InvalidOption
from .outcomes import Metric, Outcomes
from .stats import (
    LEVEL,
    BestLr,
    Interval,
    Robustness,
    best_lr,
    holm,
    p_value,
    paired,
    robustness,
    seeds_to_separate,
    t_quantile,
)

Finding = Literal["better", "worse", "equivalent", "inconclusive", "not testable"]


@dataclass(frozen=True)
class Difference:
    """A method vs another: the difference method − baseline over the seeds for which both have a value.

    Attributes:
        lr: of both; None where each is at its best one, in which case ``lrs`` holds those, one for each fold.
        interval: the mean difference with its t interval; None if no seed has both.
        wide: the same at the level at which, by Bonferroni, all intervals of the family hold at once.
        p: the paired t test's, adjusted by Holm over the family.
        diverged: how many of our runs and of theirs did, over the seeds that both have run.
        flattered: whether the better side lost runs that diverged, so that no finding may rest on the rest.
        waiting: how many pairs still lack a run.
        honest: whether lrs were chosen on other seeds than those that evaluate them; at one lr there is no choice.
        finding: better or worse where p < 0.05 and no run of the better side diverged; equivalent where the wide
            interval lies within the margin; inconclusive where neither is so; not testable where fewer than two seeds,
            or no spread between them, leave nothing to judge by.
        more: how many more seeds would give a finding, if mean and spread stay the same; None if no realistic number.
    """

    method: str
    baseline: str
    lr: float | None
    lrs: tuple[tuple[float, ...], tuple[float, ...]]
    interval: Interval | None
    honest: bool = True
    diverged: tuple[int, int] = (0, 0)
    waiting: int = 0
    wide: Interval | None = None
    p: float = 1.0
    finding: Finding = "not testable"
    flattered: bool = False
    more: int | None = None


@dataclass(frozen=True)
class Comparison:
    """What the runs of one setting say.

    Attributes:
        best: each method at its best lr; None where no lr has a value of every settled seed.
        leader: the method whose mean there is best, if any has one.
        rivals: the leader vs each other method, at their best lrs. Adjusted over all pairs of methods, since the
            leader was chosen by the very values that are compared; against the baseline, which was not, as in at_best.
        at_best: each method vs the baseline, at their best lrs, adjusted over these.
        at_lr: each method vs the baseline, at each lr that both have, adjusted over these.
        robust: over how much of the lrs each method is within the margin of its best.
    """

    baseline: str
    best: Mapping[str, BestLr | None]
    leader: str | None
    rivals: tuple[Difference, ...]
    at_best: tuple[Difference, ...]
    at_lr: tuple[Difference, ...]
    robust: Mapping[str, Robustness | None]

    @property
    def tests(self) -> int:
        """How many differences from the baseline have an interval."""
        return sum(d.interval is not None and d.interval.n > 1 for d in (*self.at_best, *self.at_lr))


def compare(outcomes: Outcomes, metric: Metric, baseline: str | None = None) -> Comparison:
    """Every comparison of one setting.

    Args:
        baseline: a method; the first one if None.

    Raises:
        InvalidOption: no method is called like the baseline.
    """
    methods = list(outcomes.values)
    if baseline is None:
        baseline = methods[0]
    if baseline not in methods:
        raise InvalidOption("baseline", baseline, f"the study's methods are {', '.join(methods)}")
    larger = metric.larger_is_better
    settled = {method: outcomes.settled(method) for method in methods}
    best = {method: best_lr(outcomes.values[method], larger, settled[method]) for method in methods}
    pairs = _judge([_at_best(outcomes, *pair, larger) for pair in combinations(methods, 2)], metric)
    others = [method for method in methods if method != baseline]
    at_best = _judge([_at_best(outcomes, method, baseline, larger) for method in others], metric)
    means = {method: found.metric.estimate * (1 if larger else -1) for method, found in best.items() if found}
    leader = max(means, key=means.__getitem__, default=None)
    rivals = at_best if leader == baseline else [d for d in pairs if baseline not in (d.method, d.baseline)]
    rivals += [] if leader == baseline else [d for d in at_best if d.method == leader]
    return Comparison(
        baseline=baseline,
        best=best,
        leader=leader,
        rivals=tuple(
            sorted(
                (_towards(d, leader) for d in rivals if leader in (d.method, d.baseline)),
                key=lambda d: methods.index(d.baseline),
            )
            if leader
            else ()
        ),
        at_best=tuple(at_best),
        at_lr=tuple(
            _judge(
                [
                    _at_lr(outcomes, method, baseline, lr)
                    for method in others
                    for lr in sorted(outcomes.values[method].keys() & outcomes.values[baseline].keys())
                ],
                metric,
            )
        ),
        robust={
            method: robustness(outcomes.values[method], metric.margin, larger, settled[method]) for method in methods
        },
    )


def _at_best(outcomes: Outcomes, ours: str, theirs: str, larger: bool) -> Difference:
    """Both over the seeds that both have settled, and both honest or neither."""
    seeds = sorted(set(outcomes.settled(ours)) & set(outcomes.settled(theirs)))

    def pair(halves: bool) -> list[BestLr | None]:
        return [best_lr(outcomes.values[method], larger, seeds, halves) for method in (ours, theirs)]

    a, b = pair(halves=True)
    if a and b and not (a.honest and b.honest):
        a, b = pair(halves=False)
    waiting = len(set(outcomes.planned(ours)) & set(outcomes.planned(theirs)) - set(seeds))
    if not a or not b:
        return Difference(ours, theirs, None, ((), ()), None, waiting=waiting)
    honest = a.honest and b.honest
    return Difference(ours, theirs, None, (a.lrs, b.lrs), paired(a.values, b.values), honest, waiting=waiting)


def _at_lr(outcomes: Outcomes, ours: str, theirs: str, lr: float) -> Difference:
    a, b = outcomes.status[ours][lr], outcomes.status[theirs][lr]
    shared = a.keys() & b.keys()
    settled = [seed for seed in shared if {a[seed], b[seed]} <= {"done", "diverged"}]
    return Difference(
        ours,
        theirs,
        lr,
        ((lr,), (lr,)),
        paired(outcomes.values[ours][lr], outcomes.values[theirs][lr]),
        diverged=(sum(a[s] == "diverged" for s in settled), sum(b[s] == "diverged" for s in settled)),
        waiting=len(shared) - len(settled),
    )


def _judge(family: Sequence[Difference], metric: Metric) -> list[Difference]:
    """Each with its p value and finding, adjusted for how many there are that can be judged."""
    tested = [d.interval for d in family if d.interval is not None and d.interval.n > 1]
    level = 1 - (1 - LEVEL) / max(1, len(tested))
    adjusted = iter(holm([p_value(interval) for interval in tested]))
    judged = []
    for d in family:
        if d.interval is None or d.interval.n < 2:
            judged.append(d)
            continue
        wide = _widened(d.interval, level)
        p = next(adjusted)
        finding = _finding(d, wide, p, metric)
        flattered = bool(d.diverged[_ahead(d.interval, metric)])
        more = seeds_to_separate(wide, level) if finding == "inconclusive" and not flattered else None
        judged.append(replace(d, wide=wide, p=p, finding=finding, flattered=flattered, more=more))
    return judged


def _widened(interval: Interval, level: float) -> Interval:
    """The same values' t interval at another level."""
    factor = t_quantile((1 + level) / 2, interval.n - 1) / t_quantile((1 + LEVEL) / 2, interval.n - 1)
    half = interval.half * factor
    return Interval(interval.estimate, interval.estimate - half, interval.estimate + half, interval.n)


def _finding(d: Difference, wide: Interval, p: float, metric: Metric) -> Finding:
    assert d.interval is not None
    if not wide.half and wide.estimate:
        return "not testable"
    ahead = _ahead(d.interval, metric)
    if p < 1 - LEVEL and not d.diverged[ahead]:
        return "worse" if ahead else "better"
    if max(abs(wide.low), abs(wide.high)) < metric.margin and d.diverged == (0, 0):
        return "equivalent"
    return "inconclusive"


def _ahead(interval: Interval, metric: Metric) -> int:
    """Whose mean is the better one: 0 is ours, 1 theirs."""
    return int((interval.estimate > 0) != metric.larger_is_better)


def _towards(d: Difference, leader: str) -> Difference:
    """The same difference with the leader first."""
    if d.method == leader:
        return d
    turned: dict[Finding, Finding] = {"better": "worse", "worse": "better"}
    return replace(
        d,
        method=d.baseline,
        baseline=d.method,
        lrs=d.lrs[::-1],
        diverged=d.diverged[::-1],
        interval=d.interval and _turned(d.interval),
        wide=d.wide and _turned(d.wide),
        finding=turned.get(d.finding, d.finding),
    )


def _turned(interval: Interval) -> Interval:
    return Interval(-interval.estimate, -interval.high, -interval.low, interval.n)
