"""The description of a task that is needed to read a study's results without the task itself."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .task import BaseTask


@dataclass(frozen=True)
class TaskInfo:
    """A task's name and metrics; the attributes are those of :class:`rectified.study.BaseTask`.

    A study's folder holds it, so that results can be read without the task's own file.

    Attributes:
        chance: also None if the folder was written before tasks had a chance level.
        steps_per_epoch: the steps per epoch for each batch size in the study.
    """

    name: str
    title: str
    metric: str
    metric_label: str
    larger_is_better: bool
    compared: tuple[str, str] | None = None
    margin: float = 1.0
    chance: float | None = None
    chosen_by: tuple[str, str] | None = None
    final_metrics: tuple[tuple[str, str], ...] = ()
    version: str = ""
    steps_per_epoch: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, task: BaseTask, batch_sizes: tuple[int, ...]) -> "TaskInfo":
        """The description of a task."""
        return cls(
            name=task.name,
            title=task.title,
            metric=task.metric,
            metric_label=task.metric_label,
            larger_is_better=task.larger_is_better,
            compared=task.compared,
            margin=task.margin,
            chance=task.chance,
            chosen_by=task.chosen_by,
            final_metrics=task.final_metrics,
            version=task.version,
            steps_per_epoch=tuple((size, task.steps_per_epoch(size)) for size in batch_sizes),
        )

    @property
    def comparison(self) -> tuple[str, str]:
        """The metric that methods are compared by: its name in results.csv, and its label."""
        return self.compared or (self.metric, self.metric_label)

    def as_dict(self) -> dict[str, Any]:
        """The description as plain values for JSON."""
        return {**asdict(self), "steps_per_epoch": [list(pair) for pair in self.steps_per_epoch]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TaskInfo":
        """Rebuild a description from :meth:`as_dict`; unknown names are ignored.

        Raises:
            TypeError, ValueError: a value is missing or invalid.
        """
        known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        for name in ("compared", "chosen_by"):
            if known.get(name) is not None:
                key, label = known[name]
                known[name] = (str(key), str(label))
        if known.get("chance") is not None:
            known["chance"] = float(known["chance"])
        known["final_metrics"] = tuple((str(key), str(label)) for key, label in known.get("final_metrics", ()))
        known["steps_per_epoch"] = tuple((int(size), int(steps)) for size, steps in known.get("steps_per_epoch", ()))
        return cls(**known)
