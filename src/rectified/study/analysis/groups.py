"""The runs of one method at one lr, aggregated over seeds."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from ..storage.records import Record
from .outcomes import LOST, Fate, Outcomes
from .stats import Interval, t_interval

BAND = 3  # values that an interval needs to be drawn; with two it is usually wider than the panel
_GAPS: tuple[Fate, ...] = (*LOST, "missing")


@dataclass(frozen=True)
class Group:
    """The runs of one method at one lr: the values that they count as, and how they ended.

    Attributes:
        values: what each run with a result counts as, in the order of seeds; a run that diverged, failed in its own
            code or ended at chance counts as chance.
        lost: the number of runs that count as chance.
    """

    method: str
    lr: float
    values: tuple[float, ...]
    counts: Counter[Fate]
    lost: int = 0

    @property
    def mean(self) -> float:
        """The mean over seeds; NaN if no run has a result."""
        return fmean(self.values) if self.values else math.nan

    @property
    def interval(self) -> Interval | None:
        """The t interval of the mean, assuming a normal distribution over seeds; None if a run counts as chance."""
        return t_interval(self.values) if self.values and not self.lost else None

    @property
    def band(self) -> tuple[float, float]:
        """The ends of the interval as drawn; NaN if there are too few runs, or one counts as chance."""
        return (math.nan, math.nan) if self.lost else band(self.values)

    @property
    def runs(self) -> int:
        """The number of runs, however they ended."""
        return self.counts.total()

    @property
    def whole(self) -> bool:
        """Whether every run has a result and trained."""
        return 0 < len(self.values) == self.runs and not self.lost

    @property
    def gaps(self) -> list[str]:
        """Counts of the runs that did not train, such as ``1 diverged``."""
        return [f"{self.counts[fate]} {fate}" for fate in _GAPS if self.counts[fate]]


def groups(outcomes: Outcomes) -> list[Group]:
    """One group per method and lr, in the study's order, for the metric that methods are compared by."""
    return [
        Group(
            method,
            lr,
            tuple(outcomes.values(method, lr).values()),
            outcomes.counts(method, lr),
            outcomes.lost(method, lr, list(outcomes.values(method, lr))),
        )
        for method, by_lr in outcomes.runs.items()
        for lr in by_lr
    ]


def final_groups(records: Sequence[Record], outcomes: Outcomes, metric: str) -> list[Group]:
    """One group per method and lr for a metric that is measured once, after the last epoch."""
    found: dict[tuple[str, float], list[float]] = {}
    for record in records:
        values = found.setdefault((record.run.method, record.run.lr), [])
        if record.status == "done" and metric in record.rows[-1]:
            values.append(record.rows[-1][metric])
    return [Group(*of, tuple(values), outcomes.counts(*of)) for of, values in found.items()]


def group_of(found: Sequence[Group], method: str, lr: float) -> Group | None:
    """The group of one method at one lr; None if there is none."""
    return next((group for group in found if (group.method, group.lr) == (method, lr)), None)


def band(values: Sequence[float]) -> tuple[float, float]:
    """The ends of the mean's t interval; NaN for fewer than three values."""
    if len(values) < BAND:
        return math.nan, math.nan
    interval = t_interval(values)
    return interval.low, interval.high
