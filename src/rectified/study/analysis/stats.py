"""What a study may say of its numbers: intervals, paired differences, robustness to lr. Pure functions.

A value is a run's metric at the end, by seed. A run that diverged has no value, and is never left out silently: a mean
that it belongs to does not exist. A statistic over all lrs of a method needs the seeds that were run, since a seed that
diverged at every lr leaves no trace in the values.
"""

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from statistics import NormalDist, fmean, stdev

LEVEL = 0.95
_MOST = 10_000  # seeds; advice to run more of them helps nobody
_RESAMPLES = 2_000


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval from n values; of one value the interval is the whole line."""

    estimate: float
    low: float
    high: float
    n: int

    @property
    def half(self) -> float:
        """Half its width."""
        return (self.high - self.low) / 2

    def excludes(self, value: float) -> bool:
        return not self.low <= value <= self.high


@cache  # it is asked for the same few, and of thousands of degrees takes a while
def t_quantile(p: float, freedom: int) -> float:
    """Student's t: the value below which it lies with probability p.

    Raises:
        ValueError: p is not inside (0, 1), or there is no degree of freedom.

    >>> round(t_quantile(0.975, 2), 4), round(t_quantile(0.975, 1000), 4)
    (4.3027, 1.9623)
    """
    if not 0 < p < 1:
        raise ValueError(f"p is {p}; it must lie inside (0, 1)")
    if freedom < 1:
        raise ValueError(f"{freedom} degrees of freedom; there must be at least 1")
    if p < 0.5:
        return -t_quantile(1 - p, freedom)
    # In the angle atan(t / sqrt(freedom)) the distribution function is a finite sum, on (0, pi/2), and its slope is
    # slope cos(angle)^(freedom - 1): Newton's steps, and the middle where one would leave the bracket.
    slope = 2 / math.sqrt(math.pi) * math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2))
    low, high = 0.0, math.pi / 2
    angle = math.atan(NormalDist().inv_cdf(p) / math.sqrt(freedom))
    for _ in range(100):
        excess = _t_within(angle, freedom) - (2 * p - 1)
        low, high = (angle, high) if excess < 0 else (low, angle)
        step = excess / max(slope * math.cos(angle) ** (freedom - 1), 1e-300)
        angle = angle - step if low <= angle - step <= high else (low + high) / 2
        if abs(step) <= 1e-9 * angle:  # it squares its error: what is left is rounding
            break
    return math.sqrt(freedom) * math.tan(angle)


def _t_within(angle: float, freedom: int) -> float:
    """Probability that |t| < sqrt(freedom) tan(angle) (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = 0.0
    for k in range(1 + odd, freedom, 2):
        total += term
        term *= cosine * cosine * k / (k + 1)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def t_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """The mean, with Student's interval: exact for normal values, and good for means of few others.

    Raises:
        ValueError: there is no value.

    >>> mean = t_interval([86.1, 87.4, 86.9])
    >>> round(mean.estimate, 2), round(mean.low, 2), round(mean.high, 2)
    (86.8, 85.17, 88.43)
    """
    if not values:
        raise ValueError("no values; an interval needs at least one")
    mean, n = fmean(values), len(values)
    if n == 1:
        return Interval(mean, -math.inf, math.inf, 1)
    half = t_quantile((1 + level) / 2, n - 1) * stdev(values) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


def paired(ours: Mapping[int, float], baseline: Mapping[int, float], level: float = LEVEL) -> Interval | None:
    """The mean of ours - baseline over the seeds that both have, with its t interval; None if they share none.

    Of one seed, both began with the same weights and saw the same data, so that what the seed does to both cancels.

    >>> difference = paired({0: 87.0, 1: 85.0, 2: 86.0}, {0: 86.5, 1: 84.4, 2: 85.6})
    >>> round(difference.estimate, 2), difference.excludes(0)
    (0.5, True)
    """
    differences = [ours[seed] - baseline[seed] for seed in sorted(ours.keys() & baseline.keys())]
    return t_interval(differences, level) if differences else None


def p_value(difference: Interval, level: float = LEVEL) -> float:
    """The paired t test's, from the t interval: how often chance alone gives a mean at least so far from 0.

    1 where there is no test: one pair, or differences that are all equal and so have no spread.

    Args:
        level: of the interval.

    >>> round(p_value(t_interval([0.5, 0.6, 0.4])), 4)
    0.0131
    """
    if difference.n < 2 or not difference.half:
        return 1.0
    freedom = difference.n - 1
    t = abs(difference.estimate) * t_quantile((1 + level) / 2, freedom) / difference.half
    return max(0.0, 1 - _t_within(math.atan(t / math.sqrt(freedom)), freedom))


def holm(p: Sequence[float]) -> list[float]:
    """Each p value adjusted for being one of several (Holm 1979), in their order.

    Where those below 0.05 are called findings, the chance of even one false one among all is at most 5 %.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p)
    highest = 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        highest = max(highest, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = highest
    return adjusted


def seeds_to_separate(difference: Interval, level: float = LEVEL) -> int | None:
    """How many more seeds would make an interval exclude 0, if mean and spread stay the same.

    0 if it does now; None for one seed, for a mean of 0, and where it takes more than ten thousand. A guess, since the
    mean and the spread are estimates themselves.

    >>> seeds_to_separate(Interval(0.5, -0.2, 1.2, 5))
    3
    """
    if difference.excludes(0):
        return 0
    if difference.n < 2 or not difference.estimate:
        return None
    spread = difference.half * math.sqrt(difference.n) / t_quantile((1 + level) / 2, difference.n - 1)

    def separates(n: int) -> bool:
        return t_quantile((1 + level) / 2, n - 1) * spread / math.sqrt(n) < abs(difference.estimate)

    if not separates(_MOST):
        return None
    low, high = difference.n, _MOST  # not, and enough
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if separates(middle) else (middle, high)
    return high - difference.n


def bootstrap(
    samples: Sequence[int], figure: Callable[[Sequence[int]], float], level: float = LEVEL, seed: int = 0
) -> Interval:
    """A figure of samples, with its percentile interval over resampled ones.

    For figures that are no means. Of a mean it is too narrow where samples are few: at 3 its 95 % interval covers 75 %.
    Of one sample the interval is the whole line.

    Args:
        samples: what is resampled: the seeds.
        figure: of a list of seeds, some of them repeated, in any order.
    """
    if len(samples) == 1:
        return Interval(figure(samples), -math.inf, math.inf, 1)
    found = sorted(
        value
        for chosen, times in _resamples(len(samples), seed).items()
        for value in [figure([samples[i] for i in chosen])] * times
    )
    tail = round((1 - level) / 2 * _RESAMPLES)
    return Interval(figure(samples), found[tail], found[-1 - tail], len(samples))


@cache
def _resamples(n: int, seed: int) -> Counter[tuple[int, ...]]:
    """How often each choice of n from n, with repetition, was drawn; of few there are few: of 3, ten."""
    generator = random.Random(seed)
    return Counter(tuple(sorted(generator.choices(range(n), k=n))) for _ in range(_RESAMPLES))


Values = Mapping[float, Mapping[int, float]]  # of one method: by lr, by seed; nothing where a run has none


@dataclass(frozen=True)
class Robustness:
    """The decades of lr over which a method's mean is within a margin of its best mean.

    Attributes:
        width: in decades, with its interval over resampled seeds.
        lrs: the lowest and the highest lr of the range.
        open: whether the range reaches an end of the grid, so that the width is a lower bound.
    """

    width: Interval
    lrs: tuple[float, float]
    open: bool


def robustness(
    values: Values, margin: float, larger_is_better: bool, seeds: Iterable[int] | None = None
) -> Robustness | None:
    """How forgiving a method is in its lr; None if no lr has a value of every seed.

    Between lrs of the grid the mean is taken as linear in log lr. An lr at which a seed has no value ends the range.

    Args:
        seeds: those that were run; by default those that have a value at some lr.

    Raises:
        ValueError: the margin is not positive.
    """
    if not margin > 0:
        raise ValueError(f"margin is {margin}; it must be positive")
    lrs = sorted(values)
    seeds = _seeds(values) if seeds is None else sorted(seeds)

    def span(of: Sequence[int]) -> tuple[float, float, bool] | None:
        means = [
            fmean(values[lr][seed] for seed in of) * (1 if larger_is_better else -1) if all_in(values[lr], of) else None
            for lr in lrs
        ]
        return _span([math.log10(lr) for lr in lrs], means, margin)

    def all_in(by_seed: Mapping[int, float], of: Sequence[int]) -> bool:
        return all(seed in by_seed for seed in of)

    def width(of: Sequence[int]) -> float:
        found = span(of)
        return found[1] - found[0] if found else 0.0

    whole = span(seeds) if seeds else None
    if whole is None:
        return None
    return Robustness(bootstrap(seeds, width), (10 ** whole[0], 10 ** whole[1]), whole[2])


def _seeds(values: Values) -> list[int]:
    return sorted({seed for by_seed in values.values() for seed in by_seed})


def _span(x: Sequence[float], means: Sequence[float | None], margin: float) -> tuple[float, float, bool] | None:
    """Around the highest mean, where the line through the means is within the margin of it; whether an end is met."""
    known = [mean for mean in means if mean is not None]
    if not known:
        return None
    top = max(known)
    first = means.index(top)
    ends = []
    is_open = False
    for step in (-1, 1):
        i = first
        while True:
            j = i + step
            if not 0 <= j < len(x):
                ends.append(x[i])
                is_open = True
                break
            here, there = means[i], means[j]
            assert here is not None
            if there is None:
                ends.append(x[i])
                break
            if there < top - margin:
                ends.append(x[i] + (x[j] - x[i]) * (here - (top - margin)) / (here - there))
                break
            i = j
    return ends[0], ends[1], is_open


@dataclass(frozen=True)
class BestLr:
    """A method at its best lr.

    Attributes:
        lrs: the lr chosen in each fold.
        metric: the mean at it, with its t interval.
        honest: whether lrs were chosen on other seeds than those that evaluate them; if not, the mean is optimistic, by
            the luck of the lr that was chosen.
        lr_of: the lr at which each seed is evaluated.
    """

    lrs: tuple[float, ...]
    metric: Interval
    values: Mapping[int, float]
    honest: bool
    lr_of: Mapping[int, float] = field(default_factory=dict)


def best_lr(
    values: Values, larger_is_better: bool, seeds: Iterable[int] | None = None, halves: bool = True
) -> BestLr | None:
    """The metric at the best lr; None if no lr has a value of every seed.

    With four seeds or more the lr is chosen on one half of the seeds and evaluated on the other, and the other way
    round: each seed is evaluated at an lr that it had no part in choosing. With fewer, or where a run at a chosen lr
    diverged on the other half, one lr is chosen on all. A method of one lr has no choice, and is honest of any seeds.

    Args:
        seeds: those that were run; by default those that have a value at some lr.
        halves: whether to halve them, where they are enough.
    """
    seeds = _seeds(values) if seeds is None else sorted(seeds)

    def choose(on: Sequence[int]) -> float | None:
        means = {
            lr: fmean(by_seed[seed] for seed in on) for lr, by_seed in values.items() if all(s in by_seed for s in on)
        }
        best = max if larger_is_better else min
        return best(means, key=means.__getitem__) if means else None

    def evaluated(folds: Sequence[tuple[Sequence[int], Sequence[int]]]) -> BestLr | None:
        chosen: list[float] = []
        found: dict[int, float] = {}
        lr_of: dict[int, float] = {}
        for on, others in folds:
            lr = choose(on) if on else None
            if lr is None or any(seed not in values[lr] for seed in others):
                return None
            chosen.append(lr)
            found |= {seed: values[lr][seed] for seed in others}
            lr_of |= dict.fromkeys(others, lr)
        honest = len(folds) > 1 or len(values) == 1
        return BestLr(tuple(chosen), t_interval([found[seed] for seed in sorted(found)]), found, honest, lr_of)

    even, odd = seeds[::2], seeds[1::2]
    honest = evaluated([(even, odd), (odd, even)]) if halves and len(seeds) >= 4 and len(values) > 1 else None
    return honest or evaluated([(seeds, seeds)])
