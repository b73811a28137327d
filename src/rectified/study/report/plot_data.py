"""The numbers that the report draws, computed from records: pure functions, no drawing and no files."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from ..analysis.groups import band
from ..config.method import Method
from ..storage.records import Record

FAR = 5  # a value this many times a typical run's largest is left out of the axes
POINTS = 100  # per line; more are not visible, and would make the page large
SHOWN, WITHIN = 30, 100  # lengths of a run: shown of a longer warmup, unless it is over within so many
SHADES = (0.5, 1, 2, 5)  # of the heat map: distances from the best mean, in margins


def shade(mean: float, best: float, margin: float) -> int:
    """The shade of a mean in the heat map: from 4, within half a margin of the best, to 0, more than five margins off.

    >>> [shade(mean, 90, margin=1) for mean in (90, 89.5, 89, 88, 85, 84)]
    [4, 4, 3, 2, 1, 0]
    """
    off = abs(mean - best) / margin
    return sum(off <= step * (1 + 1e-9) for step in SHADES)


@dataclass(frozen=True)
class Curve:
    """One quantity, by epoch or by step, over the runs of one method at one lr.

    Attributes:
        epochs: the epochs that are drawn; for single steps, their indexes among the recorded ones.
        steps: the steps taken by the end of each epoch.
        mean, low, high: the mean over the runs that got there and the ends of its 95 % t interval; the ends are NaN
            for fewer than three runs.
        runs: each run's values, from epoch 1.
        stops: the step at which each diverged run stopped.
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
        """A run's steps and values at the epochs that are drawn."""
        here = [i for i, epoch in enumerate(self.epochs) if epoch <= len(run)]
        return [self.steps[i] for i in here], [run[self.epochs[i] - 1] for i in here]


def curve(method: str, records: Sequence[Record], key: str) -> Curve:
    """The curve of one method over its runs; a diverged run counts until it stopped, a failed one not at all."""
    results = [record for record in records if record.finished]
    rows = [
        record.rows for record in results if record.rows and all(key in row and "step" in row for row in record.rows)
    ]
    runs = tuple(tuple(row[key] for row in run) for run in rows)
    longest = max(rows, key=len, default=[])
    epochs = thin(len(longest))
    steps = tuple(int(longest[epoch - 1]["step"]) for epoch in epochs)
    at = [[run[epoch - 1] for run in runs if len(run) >= epoch] for epoch in epochs]
    stops = tuple(sorted(record.step for record in results if record.status == "diverged"))
    low, high = zip(*map(band, at), strict=True) if at else ((), ())
    return Curve(method, epochs, steps, tuple(map(fmean, at)), low, high, runs, stops)


def step_curve(method: str, records: Sequence[Record], last: int) -> Curve:
    """The loss of single steps up to the step ``last``, over the runs that recorded them."""
    found = [[each for each in record.steps if each.step <= last] for record in records]
    runs = tuple(tuple(each.loss for each in run) for run in found if run)
    longest = max(found, key=len, default=[])
    epochs = thin(len(longest), 2 * POINTS)
    steps = tuple(longest[i - 1].step for i in epochs)
    at = [[run[i - 1] for run in runs if len(run) >= i] for i in epochs]
    stops = sorted(record.step for record in records if record.status == "diverged" and record.step <= last)
    low, high = zip(*map(band, at), strict=True) if at else ((), ())
    return Curve(method, epochs, steps, tuple(map(fmean, at)), low, high, runs, tuple(stops))


def thin(length: int, points: int = POINTS) -> tuple[int, ...]:
    """The numbers from 1 to `length`, or an even selection of `points` of them including the first and the last.

    >>> thin(4), thin(1000, points=4)
    ((1, 2, 3, 4), (1, 334, 667, 1000))
    """
    if length <= points:
        return tuple(range(1, length + 1))
    return tuple(1 + i * (length - 1) // (points - 1) for i in range(points))


def limits(runs: Iterable[Sequence[float]], larger_is_better: bool = False) -> tuple[float, float]:
    """Limits of the y axis that exploding runs cannot stretch: their values lie outside.

    The lower quartile of the runs' largest magnitudes counts as typical, because several runs may explode.
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
    """The value farthest outside the limits, for each run that leaves them."""
    middle = (low + high) / 2
    far = [max(run, key=lambda value: abs(value - middle)) for run in runs if run]
    return [value for value in far if not low <= value <= high]


@dataclass(frozen=True)
class OmegaLine:
    """omega by step, for the methods that share it.

    Attributes:
        at_end: omega at a run's last step.
        warm_at: the first step with omega >= 0.9; None if there is none.
        start: the number of first steps with omega = 0.
    """

    methods: tuple[str, ...]
    steps: tuple[int, ...]
    values: tuple[float, ...]
    at_end: float
    warm_at: int | None
    start: int

    @property
    def later(self) -> bool:
        """Whether omega reaches 0.9 beyond the steps that are drawn."""
        return self.warm_at is not None and self.warm_at > self.steps[-1]

    @property
    def constant(self) -> bool:
        """Whether omega is constant: 1 for no warmup, or the factor of a matched-lr control."""
        return min(self.values) == max(self.values) > 0

    def unfinished(self, length: int) -> bool:
        """Whether the warmup is longer than a run of that many steps."""
        return not self.constant and (self.warm_at is None or self.warm_at > length)


def omega_lines(methods: Sequence[Method], length: int, within: bool = False) -> list[OmegaLine]:
    """omega by step for each method, over a run and beyond it if a warmup is longer; equal methods share a line.

    Args:
        length: the length of a run in steps.
        within: whether to cover only the run, with evenly spaced steps.
    """
    warm = {method.name: method.warm_at() for method in methods}
    ends = [step if step and step <= WITHIN * length else SHOWN * length for step in warm.values()]
    last = length if within else max([length, *ends])
    sampled = {*range(1, 17), length, round(last)}
    sampled |= {round(1 + (last - 1) * i / POINTS) if within else round(last ** (i / POINTS)) for i in range(POINTS)}
    # Both sides of a jump, so that it is drawn vertical.
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
