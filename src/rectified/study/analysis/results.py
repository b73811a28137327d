"""A study's results: the single reduction of its records that verdict, page, console, export and paper all read."""

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ...messages import shown
from ...workloads.numbers import is_finite
from ...workloads.tasks.task_info import TaskInfo
from ..config.errors import InvalidOption
from ..config.runs import RunKey
from ..storage.records import Record, Status, result, results_csv
from ..storage.store import Store
from .comparisons import Comparison, compare_methods
from .formatting import count, number
from .groups import Group, final_groups, group_of, groups
from .outcomes import Metric, Outcomes
from .verdict import Verdict, in_words

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped]  # only where it is installed

Tasks = Mapping[tuple[str, str], TaskInfo]  # by name and version


@dataclass(frozen=True)
class Setting:
    """What runs must share for their metrics to be comparable: task, epochs and batch size."""

    task: TaskInfo
    epochs: int
    batch_size: int

    @classmethod
    def of(cls, run: RunKey, tasks: Tasks) -> "Setting":
        """The setting of a run."""
        return cls(tasks[run.task, run.version], run.epochs, run.batch_size)

    @property
    def steps(self) -> int:
        """The number of steps in a run; 0 if the task is unknown."""
        return self.epochs * dict(self.task.steps_per_epoch).get(self.batch_size, 0)

    @property
    def title(self) -> str:
        """The setting's name for a reader, with the task's title."""
        return self._text(self.task.title)

    def __str__(self) -> str:
        return self._text(self.task.name)

    def _text(self, task: str) -> str:
        version = f" (file {self.task.version})" if self.task.version else ""
        epochs = f", {count(self.epochs, 'epoch')}" if self.epochs else ""  # unknown for results from elsewhere
        return f"{task}{version}{epochs}" + (f", batch size {self.batch_size:,}" if self.batch_size else "")


@dataclass(frozen=True)
class FinalMetric:
    """A metric that is measured once, after the last epoch; methods are not compared by it."""

    key: str
    label: str
    groups: tuple[Group, ...]

    def group(self, method: str, lr: float) -> Group | None:
        """The runs of one method at one lr; None if the study has none."""
        return group_of(self.groups, method, lr)


@dataclass(frozen=True)
class SettingResults:
    """The results of one setting: its records, outcomes, comparison and verdict.

    Attributes:
        records: the records of its runs, in the study's order. A run that is done has finite metrics.
        baseline: the method that the others are compared with.
        first_baseline: the baseline that the study began with.
    """

    setting: Setting
    records: tuple[Record, ...]
    baseline: str
    first_baseline: str | None = None

    @property
    def task(self) -> TaskInfo:
        """The task's description."""
        return self.setting.task

    @cached_property
    def metric(self) -> Metric:
        """The metric that methods are compared by."""
        return Metric.of(self.task)

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """The names of the methods, in the study's order."""
        return tuple(dict.fromkeys(record.run.method for record in self.records))

    @cached_property
    def lrs(self) -> tuple[float, ...]:
        """The learning rates, in ascending order."""
        return tuple(sorted({record.run.lr for record in self.records}))

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, in ascending order."""
        return tuple(sorted({record.run.seed for record in self.records}))

    @cached_property
    def counts(self) -> Counter[Status]:
        """The number of runs by status."""
        return Counter(record.status for record in self.records)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """One group of runs per method and lr, with the metric that methods are compared by."""
        return tuple(groups(self.outcomes))

    def group(self, method: str, lr: float) -> Group | None:
        """The runs of one method at one lr; None if the study has none."""
        return group_of(self.groups, method, lr)

    @cached_property
    def outcomes(self) -> Outcomes:
        """How each run ended, in the form the statistics use."""
        return Outcomes.of(self.records, self.metric)

    @cached_property
    def comparison(self) -> Comparison:
        """Each method vs the baseline and the leader."""
        return compare_methods(self.outcomes, self.metric, self.baseline, self.first_baseline)

    @cached_property
    def best_lrs(self) -> Mapping[str, float]:
        """Each method's best lr; methods with a single lr, or without a seed that has all lrs, are left out."""
        best = self.comparison.best
        choices = {method: len(by_lr) for method, by_lr in self.outcomes.runs.items()}
        return {method: found.lr for method, found in best.items() if found and choices[method] > 1}

    @cached_property
    def final(self) -> tuple[FinalMetric, ...]:
        """The metrics that are measured once, after the last epoch, such as BLEU, if any run has them."""
        measured = {name for record in self.records if record.status == "done" for name in record.rows[-1]}
        found = [
            FinalMetric(key, label, tuple(final_groups(self.records, self.outcomes, key)))
            for key, label in self.task.final_metrics
            if key in measured
        ]
        return tuple(found)

    @cached_property
    def verdict(self) -> Verdict:
        """The verdict in sentences."""
        return in_words(self.comparison, self.outcomes, self.metric, [self._at_best(each) for each in self.final])

    def _at_best(self, metric: FinalMetric) -> tuple[str, dict[str, float]]:
        """The mean of a final metric for each method at its best lr, if all its runs there have it."""
        by_run = {(r.run.method, r.run.lr, r.run.seed): r.rows[-1] for r in self.records if r.status == "done"}
        means = {}
        for method, best in self.comparison.best.items():
            rows = [by_run.get((method, best.lr, seed), {}) for seed in best.values] if best else []
            values = [row[metric.key] for row in rows if metric.key in row]
            if values and len(values) == len(rows):
                means[method] = fmean(values)
        return metric.label, means


@dataclass(frozen=True)
class StudyResults:
    """The results of a study, with its verdict, tables and every run.

    Attributes:
        settings: the results for each combination of task, number of epochs and batch size.
        commands: the commands that the study was run with.
        folder: the study's folder; None for results from elsewhere.
        folder_of_runs: the name of the subfolder that holds the runs; ``"cells"`` in studies begun by an earlier
            version.
    """

    settings: tuple[SettingResults, ...]
    commands: tuple[str, ...] = ()
    folder: Path | None = None
    folder_of_runs: str = "runs"

    @classmethod
    def of(
        cls,
        records: Sequence[Record],
        tasks: Tasks,
        baseline: str | None = None,
        commands: Sequence[str] = (),
        folder: Path | None = None,
        first_baseline: str | None = None,
    ) -> "StudyResults":
        """Reduce the records of runs to results.

        Args:
            baseline: the method that the others are compared with. If None, the one that the study began with; in a
                setting without that method, the first one.
            first_baseline: the baseline that the study began with; the first method if None.

        Raises:
            InvalidOption: no method has the baseline's name.
        """
        methods = list(dict.fromkeys(record.run.method for record in records))
        if baseline is not None and baseline not in methods:
            raise InvalidOption("baseline", baseline, f"the study's methods are {', '.join(methods)}")
        found: dict[Setting, list[Record]] = {}
        for record in records:
            setting = Setting.of(record.run, tasks)
            found.setdefault(setting, []).append(_measured(record, setting.task))
        settings = []
        for setting, here in found.items():
            names = [record.run.method for record in here]
            first = first_baseline if first_baseline in names else names[0]
            own = baseline if baseline in names else first
            settings.append(SettingResults(setting, tuple(here), own, first))
        return cls(tuple(settings), tuple(commands), folder)

    @classmethod
    def read(cls, store: Store, baseline: str | None = None) -> "StudyResults":
        """Read the results from a study's folder; the study may still be running.

        Args:
            baseline: the method that the others are compared with; the study's own baseline if None.

        Raises:
            InvalidOption: no method has the baseline's name.
        """
        found = cls.of(store.records(), store.tasks(), baseline, store.commands, store.out, store.baseline)
        return replace(found, folder_of_runs=store.folder_of_runs.name)

    @property
    def records(self) -> list[Record]:
        """The records of all runs, setting by setting."""
        return [record for setting in self.settings for record in setting.records]

    @cached_property
    def by_key(self) -> Mapping[RunKey, Record]:
        """Every record by its run."""
        return {record.run: record for record in self.records}

    @property
    def runs(self) -> list[dict[str, Any]]:
        """Every run as a row of results.csv: task, method, lr, seed, status and the metrics of its last epoch."""
        return list(map(result, self.records))

    @property
    def verdict(self) -> str:
        """Which method leads, what it is better than, and how that was tested; one paragraph per setting."""
        several = len(self.settings) > 1
        return "\n".join(f"{s.setting.title}: {s.verdict.text}" if several else s.verdict.text for s in self.settings)

    def table(self) -> str:
        """The means and paired differences as Markdown tables."""
        from ..report.export import export

        return export(self, "markdown")

    def csv(self) -> str:
        """The content of results.csv: one row per run."""
        return results_csv(self.records)

    def to_dataframe(self) -> "pandas.DataFrame":
        """:attr:`runs` as a pandas DataFrame.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise ImportError(
                "to_dataframe needs pandas: pip install pandas; .runs holds the same rows as dicts"
            ) from None
        return pd.DataFrame(self.runs)

    def __str__(self) -> str:
        return f"{self.verdict}\n\n{self.table()}"

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdict, and a table of means by method and lr."""
        parts = []
        for s in self.settings:
            head = "".join(f"<th>lr {lr:g}</th>" for lr in s.lrs)
            body = "".join(
                f"<tr><th>{html.escape(method)}</th>{''.join(f'<td>{_cell(s, method, lr)}</td>' for lr in s.lrs)}</tr>"
                for method in s.methods
            )
            title, said = html.escape(s.setting.title), html.escape(s.verdict.text)
            label = html.escape(s.metric.label)
            parts.append(
                f"<p><b>{title}</b></p><p>{said}</p><table><caption>{label}, mean over seeds</caption>"
                f"<thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table>"
            )
        return "".join(parts)


def _cell(results: SettingResults, method: str, lr: float) -> str:
    group = results.group(method, lr)
    if group is None:
        return ""
    return html.escape(", ".join([number(group.mean), *group.gaps] if group.values else group.gaps))


def _measured(record: Record, task: TaskInfo) -> Record:
    """The record; one that lacks a metric or has a number that is not finite counts as failed for every reader.

    A run that meets such a number has diverged; its rows end before it.
    """
    last = record.rows[-1] if record.rows else {}
    needed = [task.metric, task.comparison[0], *(task.chosen_by or ())[:1]] if record.status == "done" else []
    for name in needed:
        if name not in last:
            why = f"the run ended, but {name} was not measured after the last epoch"
            return replace(record, status="failed", error=why)
    for i, row in enumerate(record.rows, 1):
        for name, value in row.items():
            if not isinstance(value, int | float) or not is_finite(value):
                where = "the last epoch" if row is last else f"epoch {i}"
                why = f"the run ended, but {name} is {shown(value)} after {where}"
                return replace(record, status="failed", error=why, rows=record.rows[: i - 1])
    return record
