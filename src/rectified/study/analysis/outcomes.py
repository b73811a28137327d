"""How the runs of one setting ended, in the form the statistics use: by method, lr and seed."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ...workloads.tasks.task_info import TaskInfo
from ..storage.records import Record

Fate = Literal["trained", "at chance", "diverged", "failed", "missing"]
LOST: tuple[Fate, ...] = ("at chance", "diverged", "failed")
"""The fates that count against a method."""


@dataclass(frozen=True)
class Metric:
    """The metric that methods are compared by.

    Attributes:
        key: its column in results.csv.
        label: its name on an axis.
        name: its name in a sentence.
        unit: the suffix of a value, such as ``" %"``.
        difference: the suffix of a difference, such as ``" points"``.
        margin: differences smaller than this do not matter in practice.
        chance: the value of a model that has learned nothing; None if unknown.
        chosen_by: the metric that chooses an lr, with its label, if it is another one, such as a validation metric.
    """

    key: str
    label: str
    name: str
    unit: str
    difference: str
    larger_is_better: bool
    margin: float
    chance: float | None = None
    chosen_by: tuple[str, str] | None = None

    @classmethod
    def of(cls, task: TaskInfo) -> "Metric":
        """The comparison metric of a task, whose label is a name, or a name, a comma and a unit."""
        key, label = task.comparison
        name, _, unit = label.partition(", ")
        after = f" {unit}".rstrip()
        difference = " points" if unit == "%" else after
        return cls(key, label, name, after, difference, task.larger_is_better, task.margin, task.chance, task.chosen_by)

    @property
    def tolerance(self) -> str:
        """The margin with its unit."""
        return f"{self.margin:g}" + (" point" if self.difference == " points" and self.margin == 1 else self.difference)

    @property
    def by_epoch(self) -> tuple[str, str]:
        """The metric measured after every epoch, and its label; a test split may be measured only at the end."""
        return self.chosen_by or (self.key, self.label)

    def better(self, a: float, b: float) -> bool:
        """Whether a is better than b."""
        return a > b if self.larger_is_better else a < b

    def at_chance(self, value: float) -> bool:
        """Whether a value is no better than chance by more than the margin."""
        if self.chance is None:
            return False
        ahead = value - self.chance if self.larger_is_better else self.chance - value
        return ahead <= self.margin


@dataclass(frozen=True)
class Outcome:
    """How one run ended, and the value that it counts as.

    A run that diverged, failed in its own code, or ended at chance is a bad result: it counts as the chance level. If
    the task has no chance level, it counts as the worst result of any run in the setting.

    Attributes:
        value: what it counts as; None if there is no result yet: the run is missing, or the machine failed it.
        choice: the same for the metric that chooses an lr.
    """

    fate: Fate
    value: float | None = None
    choice: float | None = None

    @property
    def settled(self) -> bool:
        """Whether the run has a result."""
        return self.value is not None


@dataclass(frozen=True)
class Outcomes:
    """The outcomes of one setting's runs by method, lr and seed, in the order of the plan."""

    runs: Mapping[str, Mapping[float, Mapping[int, Outcome]]]

    @classmethod
    def of(cls, records: Sequence[Record], metric: Metric) -> "Outcomes":
        """The outcomes of these records; the last row of a finished run must have the metric."""
        by_choice = metric.chosen_by[0] if metric.chosen_by else metric.key
        ended = [record.rows[-1] for record in records if record.status == "done"]
        worst = min if metric.larger_is_better else max
        floor = metric.chance
        choice_floor = metric.chance
        if floor is None:
            floor = worst((row[metric.key] for row in ended), default=None)
            choice_floor = worst((row[by_choice] for row in ended), default=None)
        runs: dict[str, dict[float, dict[int, Outcome]]] = defaultdict(lambda: defaultdict(dict))
        for record in records:
            fate = _fate(record, metric)
            if fate == "trained":
                row = record.rows[-1]
                found = Outcome(fate, row[metric.key], row[by_choice])
            elif fate in LOST and not (fate == "failed" and record.cause != "run"):
                found = Outcome(fate, floor, choice_floor)
            else:
                found = Outcome(fate)
            runs[record.run.method][record.run.lr][record.run.seed] = found
        return cls({method: dict(by_lr) for method, by_lr in runs.items()})

    def values(self, method: str, lr: float) -> dict[int, float]:
        """The values that the settled runs of a method at one lr count as, by seed."""
        here = self.runs[method][lr].items()
        return {seed: outcome.value for seed, outcome in here if outcome.value is not None}

    def settled(self, method: str) -> list[int]:
        """The seeds for which the method has a result at every one of its lrs."""
        by_lr = self.runs[method].values()
        return [seed for seed in self.planned(method) if all(by_seed[seed].settled for by_seed in by_lr)]

    def planned(self, method: str) -> list[int]:
        """The seeds that the plan has at every lr of the method."""
        return sorted(set.intersection(*(set(by_seed) for by_seed in self.runs[method].values())))

    def counts(self, method: str, lr: float) -> Counter[Fate]:
        """The number of runs of a method at one lr by fate."""
        return Counter(outcome.fate for outcome in self.runs[method][lr].values())

    def lost(self, method: str, lr: float, seeds: Sequence[int]) -> int:
        """The number of a method's runs at one lr, over these seeds, that count as chance."""
        return sum(self.runs[method][lr][seed].fate in LOST for seed in seeds)

    def total(self) -> Counter[Fate]:
        """The number of runs by fate, over all methods and lrs."""
        return sum((self.counts(method, lr) for method in self.runs for lr in self.runs[method]), Counter())


def _fate(record: Record, metric: Metric) -> Fate:
    if record.status != "done":
        return record.status
    return "at chance" if metric.at_chance(record.rows[-1][metric.key]) else "trained"
