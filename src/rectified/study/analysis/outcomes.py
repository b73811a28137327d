"""What became of the runs of one setting, as the statistics take it: by method, lr and seed."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...workloads.tasks.task_info import TaskInfo
from ..storage.records import Record, Status


@dataclass(frozen=True)
class Metric:
    """What is compared.

    Attributes:
        key: as in results.csv.
        label: as on an axis.
        name: as in a sentence.
        unit: what follows a value, such as ``" %"``; and ``difference`` what follows a difference.
        margin: how much worse a value may be and still be as good for practical purposes.
    """

    key: str
    label: str
    name: str
    unit: str
    difference: str
    larger_is_better: bool
    margin: float

    @classmethod
    def of(cls, task: TaskInfo) -> "Metric":
        """That of a task, whose label is a name, or a name, a comma and a unit."""
        key, label = task.comparison
        name, _, unit = label.partition(", ")
        after = f" {unit}".rstrip()
        return cls(key, label, name, after, " points" if unit == "%" else after, task.larger_is_better, task.margin)

    @property
    def tolerance(self) -> str:
        """The margin with its unit."""
        return f"{self.margin:g}" + (" point" if self.difference == " points" and self.margin == 1 else self.difference)


@dataclass(frozen=True)
class Outcomes:
    """The runs of one setting.

    Attributes:
        values: the metric at the end of the runs that are done, by method, lr and seed. Methods are in the plan's
            order, and have every lr that the plan gives them, also one without any value.
        status: what became of each run, by method, lr and seed.
    """

    values: Mapping[str, Mapping[float, Mapping[int, float]]]
    status: Mapping[str, Mapping[float, Mapping[int, Status]]]

    @classmethod
    def of(cls, records: Sequence[Record], metric: str) -> "Outcomes":
        """Those of the records; of a run that is done the last row has the metric."""
        values: dict[str, dict[float, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
        status: dict[str, dict[float, dict[int, Status]]] = defaultdict(lambda: defaultdict(dict))
        for record in records:
            run = record.run
            found = values[run.method][run.lr]
            if record.status == "done":
                found[run.seed] = record.rows[-1][metric]
            status[run.method][run.lr][run.seed] = record.status
        return cls(
            {method: dict(by_lr) for method, by_lr in values.items()},
            {method: dict(by_lr) for method, by_lr in status.items()},
        )

    def settled(self, method: str) -> list[int]:
        """The seeds for which the method has a result, done or diverged, at each of its lrs."""
        by_lr = self.status[method].values()
        return [
            seed for seed in self.planned(method) if all(by_seed[seed] in ("done", "diverged") for by_seed in by_lr)
        ]

    def planned(self, method: str) -> list[int]:
        """The seeds that the plan has at every lr of the method."""
        return sorted(set.intersection(*(set(by_seed) for by_seed in self.status[method].values())))

    def counts(self, method: str, lr: float) -> Counter[Status]:
        """How many runs became what."""
        return Counter(self.status[method][lr].values())

    def total(self) -> Counter[Status]:
        """How many runs became what, over all methods and lrs."""
        return sum((self.counts(method, lr) for method in self.status for lr in self.status[method]), Counter())
