"""The runs of one method at one lr, taken together."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from ..storage.records import Record, Status
from .stats import Interval, t_interval

STATUSES: tuple[Status, ...] = ("done", "diverged", "failed", "missing")

BAND = 3  # values that an interval needs to be drawn; of two it is most often wider than the panel


@dataclass(frozen=True)
class Group:
    """The metric at the end of those runs that are done, and what became of all.

    Attributes:
        values: by seed.
    """

    method: str
    lr: float
    values: tuple[float, ...]
    counts: Counter[Status]

    @property
    def mean(self) -> float:
        """NaN where no run is done."""
        return fmean(self.values) if self.values else math.nan

    @property
    def interval(self) -> Interval | None:
        """The mean's, over the runs that are done."""
        return t_interval(self.values) if self.values else None

    @property
    def band(self) -> tuple[float, float]:
        """The ends of the interval as drawn; NaN if there are too few runs."""
        return band(self.values)

    @property
    def runs(self) -> int:
        """How many there are, whatever became of them."""
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
    """Every method at every lr it has, in the study's order.

    Args:
        metric: of the last row; a run without it has no value.
    """
    of: dict[tuple[str, float], list[Record]] = {}
    for record in records:
        of.setdefault((record.run.method, record.run.lr), []).append(record)
    return [
        Group(
            method,
            lr,
            tuple(r.rows[-1][metric] for r in here if r.status == "done" and metric in r.rows[-1]),
            Counter(record.status for record in here),
        )
        for (method, lr), here in of.items()
    ]


def group_of(found: Sequence[Group], method: str, lr: float) -> Group | None:
    """The group of one method at one lr; None if there is none."""
    return next((group for group in found if (group.method, group.lr) == (method, lr)), None)


def band(values: Sequence[float]) -> tuple[float, float]:
    """The ends of the mean's interval; NaN of fewer than three values."""
    if len(values) < BAND:
        return math.nan, math.nan
    interval = t_interval(values)
    return interval.low, interval.high
