"""From records to the numbers that the report shows: pure functions, no drawing and no files."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from ..analysis.stats import Interval, t_interval
from ..config.methods import Method
from ..storage.records import Record, Status

FAR = 5  # a value this many times a typical run's largest is left outside a panel
POINTS = 100  # of a line; more cannot be seen, and a long study would make the page large
SHADES = (0.5, 1, 2, 5)  # of a heat map: margins off the best
BAND = 3  # values that an interval needs to be drawn; of two it is most often wider than the panel

STATUSES: tuple[Status, ...] = ("done", "diverged", "failed", "missing")


@dataclass(frozen=True)
class Group:
    """The runs of one method at one lr: the metric at the end of those that are done, and what became of all."""

    method: str
    lr: float
    values: tuple[float, ...]
    counts: Counter[Status]

    @property
    def mean(self) -> float:
        return fmean(self.values) if self.values else math.nan

    @property
    def interval(self) -> Interval | None:
        """The mean's, over the runs that are done."""
        return t_interval(self.values) if self.values else None

    @property
    def band(self) -> tuple[float, float]:
        """The interval's ends, as they are drawn; NaN where there are too few runs."""
        return _band(self.values)

    @property
    def runs(self) -> int:
        return self.counts.total()

    @property
    def whole(self) -> bool:
        """Whether the mean leaves no run out."""
        return 0 < len(self.values) == self.runs

    @property
    def gaps(self) -> list[str]:
        """What the mean leaves out, such as ``1 diverged``."""
        return [f"{self.counts[status]} {status}" for status in STATUSES[1:] if self.counts[status]]


def groups(records: Sequence[Record], metric: str) -> list[Group]:
    """Every method at every lr it has, in the plan's order."""
    found = []
    for method, lr in dict.fromkeys((record.cell.method, record.cell.lr) for record in records):
        here = [record for record in records if (record.cell.method, record.cell.lr) == (method, lr)]
        values = [record.rows[-1][metric] for record in here if record.status == "done" and record.rows]
        found.append(Group(method, lr, tuple(values), Counter(record.status for record in here)))
    return found


def best_lrs(found: Sequence[Group], larger_is_better: bool) -> set[tuple[str, float]]:
    """Each method with the lr of its best mean, among those that leave no run out and where there is a choice."""
    marked = set()
    for method in dict.fromkeys(group.method for group in found):
        here = [group for group in found if group.method == method]
        whole = [group for group in here if group.whole]
        if whole and len(here) > 1:
            top = (max if larger_is_better else min)(whole, key=lambda group: group.mean)
            marked.add((method, top.lr))
    return marked


def shade(mean: float, best: float, margin: float) -> int:
    """How near a mean is to the best, for a heat map: from 4, within half a margin, to 0, more than five off.

    >>> [shade(mean, 90, margin=1) for mean in (90, 89.5, 89, 88, 85, 84)]
    [4, 4, 3, 2, 1, 0]
    """
    off = abs(mean - best) / margin
    return sum(off <= step * (1 + 1e-9) for step in SHADES)


@dataclass(frozen=True)
class Curve:
    """One quantity over the runs of one method at one lr, after each epoch.

    Attributes:
        steps: taken by the end of each of the epochs.
        mean, low, high: there, over the runs that got there, and the ends of its t interval, NaN of fewer than three.
        runs: each run's own values, from epoch 1.
        stops: the step at which each run that diverged stopped.
    """

    method: str
    epochs: tuple[int, ...]
    steps: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    runs: tuple[tuple[float, ...], ...]
    stops: tuple[int, ...]

    def drawn(self, run: Sequence[float]) -> tuple[list[int], list[float]]:
        """A run's steps and values, at the epochs of the mean."""
        here = [i for i, epoch in enumerate(self.epochs) if epoch <= len(run)]
        return [self.steps[i] for i in here], [run[self.epochs[i] - 1] for i in here]


def curve(method: str, records: Sequence[Record], key: str) -> Curve:
    """Over runs that are done or diverged, a diverged one for as long as it lived; a failed run is no result."""
    results = [record for record in records if record.finished]
    rows = [record.rows for record in results if record.rows]
    runs = tuple(tuple(row[key] for row in run) for run in rows)
    longest = max(rows, key=len, default=[])
    epochs = thin(len(longest))
    steps = tuple(int(longest[epoch - 1]["step"]) for epoch in epochs)
    at = [[run[epoch - 1] for run in runs if len(run) >= epoch] for epoch in epochs]
    stops = tuple(sorted(record.step for record in results if record.status == "diverged"))
    low, high = zip(*map(_band, at), strict=True) if at else ((), ())
    return Curve(method, epochs, steps, tuple(map(fmean, at)), low, high, runs, stops)


def _band(values: Sequence[float]) -> tuple[float, float]:
    if len(values) < BAND:
        return math.nan, math.nan
    interval = t_interval(values)
    return interval.low, interval.high


def thin(length: int, points: int = POINTS) -> tuple[int, ...]:
    """1, ..., length, or that many of them, evenly, with the first and the last.

    >>> thin(4), thin(1000, points=4)
    ((1, 2, 3, 4), (1, 334, 667, 1000))
    """
    if length <= points:
        return tuple(range(1, length + 1))
    return tuple(1 + i * (length - 1) // (points - 1) for i in range(points))


def limits(runs: Iterable[Sequence[float]], larger_is_better: bool = False) -> tuple[float, float]:
    """Y limits that one run which explodes, to the worse, cannot stretch: its values lie outside.

    A run is typical by its largest magnitude; the lower quartile of them decides, since several runs may explode.
    """
    runs = [run for run in runs if run]
    if not runs:
        return 0.0, 1.0
    peaks = sorted(max(abs(value) for value in run) for run in runs)
    far = FAR * peaks[(len(peaks) - 1) // 4] or math.inf
    kept = [value for run in runs for value in run if (-value if larger_is_better else value) <= far]
    low, high = min(kept), max(kept)
    margin = 0.06 * (high - low) or 0.06 * abs(high) or 0.5
    return low - margin, high + margin


def beyond(runs: Iterable[Sequence[float]], low: float, high: float) -> list[float]:
    """Of each run that leaves the limits, the value farthest away."""
    middle = (low + high) / 2
    far = [max(run, key=lambda value: abs(value - middle)) for run in runs if run]
    return [value for value in far if not low <= value <= high]


@dataclass(frozen=True)
class OmegaLine:
    """omega by step of the methods that share it.

    Attributes:
        at_end: omega at a run's last step.
        warm_at: the first step with omega >= 0.9; None if there is none.
        start: number of first steps with omega = 0.
    """

    methods: tuple[str, ...]
    steps: tuple[int, ...]
    values: tuple[float, ...]
    at_end: float
    warm_at: int | None
    start: int

    @property
    def constant(self) -> bool:
        return min(self.values) == 1

    def unfinished(self, length: int) -> bool:
        """Whether the warmup is longer than a run of that many steps."""
        return self.warm_at is None or self.warm_at > length


def omega_lines(methods: Sequence[Method], length: int, within: bool = False) -> list[OmegaLine]:
    """omega of each method over a run and, where a warmup is longer, beyond it; methods that coincide share a line.

    Args:
        within: the run alone, its steps spread evenly.
    """
    warm = {method.name: method.warm_at() for method in methods}
    last = length if within else max([length, *(min(step or math.inf, 30 * length) for step in warm.values())])
    sampled = {*range(1, 17), length, round(last)}
    sampled |= {round(1 + (last - 1) * i / POINTS) if within else round(last ** (i / POINTS)) for i in range(POINTS)}
    # Both sides of a jump, so that it is drawn upright.
    sampled |= {near for step in warm.values() if step for near in (step - 1, step)}
    steps = tuple(sorted(step for step in sampled if 1 <= step <= last))
    lines: dict[tuple[float, ...], list[Method]] = {}
    for method in methods:
        lines.setdefault(tuple(method.omegas(steps)), []).append(method)
    return [
        OmegaLine(
            methods=tuple(method.name for method in alike),
            steps=steps,
            values=values,
            at_end=alike[0].omega(length),
            warm_at=warm[alike[0].name],
            start=max((step for step, value in zip(steps, values, strict=True) if value == 0), default=0),
        )
        for values, alike in lines.items()
    ]
