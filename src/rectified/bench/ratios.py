"""Results of the benchmark: medians of paired ratios, bytes per parameter, and fractions of memory bandwidth."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from .entries import BASE, BY_NAME


class Spread(NamedTuple):
    """A median and its quartiles."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{_short(self.median)} ({_short(self.low)} to {_short(self.high)})"


@dataclass
class Measured:
    """The measurements of one entry on one model: seconds per step by round, and bytes."""

    warm: dict[int, float] = field(default_factory=dict)
    cold: dict[int, list[float]] = field(default_factory=dict)
    state: int = 0
    beyond: int = 0


@dataclass
class Outcome:
    """The results for one model: every entry's measurements, and the memory bandwidth by round."""

    model: str
    parameters: int
    tensors: int
    steps: int  # of a block
    entries: dict[str, Measured]
    bandwidth: list[float]
    failed: dict[str, str]

    @property
    def title(self) -> str:
        return f"{self.model}, {_count(self.parameters)}"

    def ratio(self, name: str) -> Spread | None:
        """The ratio of step times to the base's in the same round; None without a common round."""
        mine, base = self.entries.get(name), self.entries[BASE.name].warm
        if mine is None or not mine.warm:
            return None
        return spread([seconds / base[i] for i, seconds in mine.warm.items() if i in base])

    def cold_ratio(self, name: str) -> Spread | None:
        """The ratio for single steps with cold caches; None if no cache could hold the model."""
        mine, base = self.entries.get(name), self.entries[BASE.name].cold
        if mine is None or not any(mine.cold.values()):
            return None
        return spread([statistics.median(a) / statistics.median(base[i]) for i, a in mine.cold.items() if i in base])

    def seconds(self, name: str) -> float:
        """The median seconds per step."""
        return statistics.median(self.entries[name].warm.values())

    def fraction(self, name: str) -> Spread | None:
        """The fraction of the memory bandwidth, measured by an in-place addition, that a step reaches.

        A step must read parameters, gradients and state, and write parameters and state, so it cannot be faster than an
        addition that moves as many bytes, unless a cache holds them.
        """
        mine = self.entries.get(name)
        if mine is None or BY_NAME[name].idle:
            return None
        width = BY_NAME[name].dtype.itemsize
        traffic = 3 * width * self.parameters + 2 * mine.state
        return spread([traffic / seconds / self.bandwidth[i] for i, seconds in mine.warm.items()])

    def bytes_each(self, name: str) -> tuple[float, float] | None:
        """Bytes per parameter: of the state, and at a step's peak beyond parameters, gradients and state."""
        mine = self.entries.get(name)
        return None if mine is None else (mine.state / self.parameters, mine.beyond / self.parameters)


@dataclass
class Results:
    """The results of one run of the benchmark."""

    command: str
    machine: str
    device: str
    versions: dict[str, str]
    absent: dict[str, str]
    outcomes: list[Outcome] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """The results as plain values for JSON."""
        return asdict(self)

    @classmethod
    def of(cls, plain: dict[str, Any]) -> "Results":
        """Rebuild results from what :meth:`plain` returned."""
        outcomes = [
            Outcome(**{**outcome, "entries": {name: _measured(each) for name, each in outcome["entries"].items()}})
            for outcome in plain["outcomes"]
        ]
        return cls(**{**plain, "outcomes": outcomes})


def _measured(plain: dict[str, Any]) -> Measured:
    """Rebuild measurements from JSON, whose keys are strings."""
    return Measured(**{**plain, **{key: {int(i): x for i, x in plain[key].items()} for key in ("warm", "cold")}})


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles.

    >>> print(spread([1.0, 2.0, 4.0]))
    2.00 (1.50 to 3.00)
    """
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(middle, low, high)


def _short(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < 9.995 else f"{ratio:.1f}" if ratio < 99.95 else f"{ratio:.0f}"


def _count(parameters: int) -> str:
    """A number of parameters in two or three digits.

    >>> _count(32_998), _count(354_823_168)
    ('33 k', '355 M')
    """
    for size, name in ((1e6, " M"), (1e3, " k")):
        if parameters >= size:
            return f"{parameters / size:.3g}{name}"
    return str(parameters)
