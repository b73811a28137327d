"""From records to the numbers that the report shows: pure functions, no drawing and no files."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from ..methods import Method
from ..store import Record, Status

FAR = 5  # a value this many times a typical run's largest is left outside a panel
POINTS = 100  # of a line; more cannot be seen, and a long study would make the page large

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
    def low(self) -> float:
        return min(self.values, default=math.nan)

    @property
    def high(self) -> float:
        return max(self.values, default=math.nan)

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

    def overlaps(self, other: "Group") -> bool:
        """Whether the ranges from lowest to highest have a value in common."""
        return self.low <= other.high and other.low <= self.high


def groups(records: Sequence[Record], metric: str) -> list[Group]:
    """Every method at every lr it has, in the plan's order."""
    found = []
    for method, lr in dict.fromkeys((record.cell.method, record.cell.lr) for record in records):
        here = [record for record in records if (record.cell.method, record.cell.lr) == (method, lr)]
        values = [record.rows[-1][metric] for record in here if record.status == "done" and record.rows]
        found.append(Group(method, lr, tuple(values), Counter(record.status for record in here)))
    return found


def leading(at_one_lr: Sequence[Group], larger_is_better: bool) -> list[Group]:
    """Those with the best mean: one, or several that tie."""
    means = [group.mean for group in at_one_lr if group.values]
    top = (max if larger_is_better else min)(means, default=math.nan)
    return [group for group in at_one_lr if group.values and math.isclose(group.mean, top, rel_tol=1e-9)]


def best(at_one_lr: Sequence[Group], larger_is_better: bool) -> list[Group]:
    """Those to be marked: with the best mean, where there is another and no run is left out of it.

    The runs that survive flatter a method.
    """
    first = leading(at_one_lr, larger_is_better)
    others = sum(bool(group.values) for group in at_one_lr) - len(first)
    return first if others and all(group.whole for group in first) else []


@dataclass(frozen=True)
class Curve:
    """One quantity by epoch over the runs of one method at one lr.

    Attributes:
        mean, low, high: at each of the epochs, over the runs that got there.
        runs: each run's own values, from epoch 1.
        stops: the epoch in which each run that diverged stopped.
    """

    method: str
    epochs: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    runs: tuple[tuple[float, ...], ...]
    stops: tuple[int, ...]


def curve(method: str, records: Sequence[Record], key: str) -> Curve:
    """Over runs that are done or diverged, a diverged one for as long as it lived; a failed run is no result."""
    results = [record for record in records if record.finished]
    runs = tuple(tuple(row[key] for row in record.rows) for record in results if record.rows)
    length = max((len(run) for run in runs), default=0)
    epochs = thin(length)
    at = [[run[epoch - 1] for run in runs if len(run) >= epoch] for epoch in epochs]
    # Its last row is of the last epoch that it came through.
    stops = tuple(sorted(len(record.rows) + 1 for record in results if record.status == "diverged"))
    mean, low, high = (tuple(f(values) for values in at) for f in (fmean, min, max))
    return Curve(method, epochs, mean, low, high, runs, stops)


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


def omega_lines(methods: Sequence[Method], length: int) -> list[OmegaLine]:
    """omega of each method over a run and, where a warmup is longer, beyond it; methods that coincide share a line."""
    warm = {method.name: method.warm_at() for method in methods}
    last = max([length, *(min(step or math.inf, 30 * length) for step in warm.values())])
    sampled = {*range(1, 17), length, round(last)}
    sampled |= {round(last ** (i / (POINTS - 1))) for i in range(POINTS)}
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


def number(value: float, digits: int = 2) -> str:
    """For a reader; a value that its fixed digits would hide or bloat in scientific notation.

    >>> number(81.4), number(0.57289, 4), number(123456.7), number(0.00001234, 4), number(-2.5), number(float("nan"))
    ('81.40', '0.5729', '1.2e5', '1.2e-5', '−2.50', '–')
    """
    if not math.isfinite(value):
        return "–"
    text = f"{value:.{digits}f}"
    if abs(value) >= 1e5 or (value and not float(text)):
        mantissa, exponent = f"{value:.1e}".split("e")
        text = f"{mantissa}e{int(exponent)}"
    return text.replace("-", "−") if text.startswith("-") else text


def listing(names: Sequence[str]) -> str:
    """As one says it.

    >>> listing(["adam"]), listing(["adam", "radam", "sgd"])
    ('adam', 'adam, radam and sgd')
    """
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
