"""Progress output while a study runs: a live table in a terminal, one line per run otherwise."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean

import rich.console
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from ...workloads.tasks.task_info import TaskInfo
from ..analysis.formatting import number
from ..analysis.groups import Group
from ..analysis.results import Setting, StudyResults, Tasks
from ..config.runs import RunKey
from ..executors import Event
from ..storage.records import Record, Row

_LEGEND = "· waiting  ▸ running  ● done  ✕ diverged  ! failed"
_KNOWN = 60.0  # seconds of epochs after which the time left is shown, however few runs have ended

_GLYPHS = {"waiting": "[dim]·[/]", "running": "[cyan]▸[/]", "done": "[green]●[/]"}
_GLYPHS |= {"diverged": "[yellow]✕[/]", "failed": "[red]![/]"}


class View:
    """A live display of every run of a study, updated by events.

    Args:
        records: the records of the runs before the study starts, in order.
        tasks: the descriptions of their tasks.
    """

    def __init__(self, console: Console, records: Sequence[Record], tasks: Tasks) -> None:
        self.console, self.tasks = console, tasks
        self.runs = [record.run for record in records]
        self.status = {r.run: r.status if r.finished else "waiting" for r in records}
        self.rows = {r.run: r.rows[-1] for r in records if r.status == "done"}
        self.epochs = {run: 0 for run in self.runs if self.status[run] == "waiting"}
        self.speed = Speed()
        self.since: dict[RunKey, float] = {}  # when each running run began its epoch
        self.at_once = 0  # the largest number of concurrent runs so far
        self.ended = 0  # runs that ended in this call
        self.starting: set[RunKey] = set()  # the first run of each worker, until its first epoch ends
        total = sum(run.epochs for run in self.epochs)
        self.bar = Progress(
            TextColumn("epochs"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
        )
        self.bar_id = self.bar.add_task("epochs", total=total, left="")
        self.live = Live(self.table(), console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> "View":
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def take(self, event: Event) -> None:
        """Update the display with an event."""
        run, now = event.run, time.monotonic()
        if event.row is not None:
            self.epochs[run] = int(event.row["epoch"])
            self.rows[run] = event.row
        if event.kind == "row" and run in self.since:
            if run not in self.starting:
                self.speed.add(run, 1, now - self.since[run])
            self.starting.discard(run)
        if event.kind in ("started", "resumed", "row"):
            self.since[run] = now
        if event.kind == "started":
            self.status[run] = "running"
            running = sum(status == "running" for status in self.status.values())
            self.at_once = max(self.at_once, running)
            if not self.ended:
                self.starting.add(run)
        elif event.kind == "retry":
            self.status[run], self.epochs[run] = "waiting", 0
        elif event.kind in _GLYPHS:
            self.status[run], self.epochs[run] = event.kind, run.epochs
            self.ended += 1
        if event.kind in ("retry", "diverged", "failed"):
            self.rows.pop(run, None)
        self.bar.update(self.bar_id, completed=sum(self.epochs.values()), left=self._left())
        if self.console.is_terminal:
            self.live.update(self.table())
        if event.kind == "note" or not (self.console.is_terminal or event.kind in ("started", "row")):
            text = self._result(run) if event.kind == "done" else event.text.strip()
            count = sum(self.status[c] not in ("waiting", "running") for c in self.runs)
            words = [f"{event.kind} {text.splitlines()[-1] if text else ''}".strip(), self._left()]
            settings = {Setting.of(each, self.tasks) for each in self.runs}
            name = f"{run}, {Setting.of(run, self.tasks)}" if len(settings) > 1 else str(run)
            line = f"[{count}/{len(self.runs)}] {name}: {', '.join(word for word in words if word)}"
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _result(self, run: RunKey) -> str:
        row = self.rows[run]
        key, _ = measure(self.tasks[run.task, run.version], [row])
        return f"{key} {number(row[key])}"

    def _left(self) -> str:
        """The estimated time left, not counting the start of workers; empty until it can be estimated."""
        if self.ended <= self.at_once and self.speed.measured < _KNOWN:
            return ""
        seconds = self.speed.seconds({run: run.epochs - epochs for run, epochs in self.epochs.items()})
        if not seconds:
            return ""
        going = sum(status in ("running", "waiting") for status in self.status.values())
        return f"about {duration(seconds / max(1, min(self.at_once, going)))} left"

    def table(self) -> rich.console.Group:
        """A table of every run as a glyph, by method and lr, with mean metrics so far, and the progress bar."""
        return rich.console.Group(grid(self.runs, self.status, self.rows, self.tasks), self.bar)


_Kind = tuple[str, str, int]  # task name, task version and batch size, on which an epoch's time depends


class Speed:
    """The average duration of an epoch by task and batch size, from finished epochs."""

    def __init__(self) -> None:
        self._epochs: Counter[_Kind] = Counter()
        self._seconds: dict[_Kind, float] = {}

    def add(self, run: RunKey, epochs: int, seconds: float) -> None:
        """Add the duration of some epochs of a run."""
        kind = _kind(run)
        self._epochs[kind] += epochs
        self._seconds[kind] = self._seconds.get(kind, 0.0) + seconds

    @property
    def measured(self) -> float:
        """The total seconds of all epochs that were added."""
        return sum(self._seconds.values())

    def seconds(self, left: Mapping[RunKey, int]) -> float | None:
        """The seconds that one worker needs for these numbers of epochs; None without any finished epoch.

        A task and batch size without a finished epoch are assumed to be as fast as the others on average.
        """
        total = self._epochs.total()
        if not total:
            return None
        average = sum(self._seconds.values()) / total
        each = {kind: self._seconds[kind] / count for kind, count in self._epochs.items() if count}
        return sum(epochs * each.get(_kind(run), average) for run, epochs in left.items())


def _kind(run: RunKey) -> _Kind:
    return run.task, run.version, run.batch_size


def measure(task: TaskInfo, rows: Sequence[Row]) -> tuple[str, str]:
    """The key and label of the metric to show: the first candidate that every row has.

    The candidates are the metric that methods are compared by, which may be measured only at the end, then the metric
    that chooses an lr, then the task's own metric.
    """
    wanted = [task.comparison, *([task.chosen_by] if task.chosen_by else [])]
    return next((of for of in wanted if all(of[0] in row for row in rows)), (task.metric, task.metric_label))


def grid(
    runs: Sequence[RunKey], status: Mapping[RunKey, str], rows: Mapping[RunKey, Row], tasks: Tasks
) -> rich.console.Group:
    """Tables of every run as a status glyph, by setting, method and lr, with the mean metric so far.

    Args:
        rows: the last row of each run that enters the means.
    """
    parts: list[rich.console.RenderableType] = []
    in_setting: dict[Setting, list[RunKey]] = {}
    for run in runs:
        in_setting.setdefault(Setting.of(run, tasks), []).append(run)
    for setting, of in in_setting.items():
        lrs = sorted({run.lr for run in of})
        key, label = measure(setting.task, [rows[run] for run in of if run in rows])
        values = {run: rows[run][key] for run in of if key in rows.get(run, {})}
        table = Table()
        table.add_column("method")
        for lr in lrs:
            table.add_column(f"lr {lr:g}", justify="right")
        for method in dict.fromkeys(run.method for run in of):
            cells = []
            for lr in lrs:
                here = [run for run in of if (run.method, run.lr) == (method, lr)]
                measured = [values[run] for run in here if run in values]
                mean = f" {number(fmean(measured))}" if measured else ""
                cells.append(Text.from_markup("".join(_GLYPHS[status[run]] for run in here) + mean))
            table.add_row(Text(method), *cells)
        parts += [Text(setting.title), table]
        if values:
            parts.append(Text(f"numbers: {label}, mean over seeds", style="dim"))
    return rich.console.Group(*parts, Text(_LEGEND, style="dim"))


def show(console: Console, tables: rich.console.Group) -> None:
    """Print tables without wrapping their titles and legends, so that these stay intact in a narrow terminal."""
    console.print(tables, soft_wrap=True)


def say(console: Console, text: str) -> None:
    """Print a line without wrapping and markup, so that a path or a command in it stays intact."""
    console.print(text, markup=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """Format a number of seconds.

    >>> duration(42), duration(400), duration(50_000)
    ('42 s', '7 min', '13.9 h')
    """
    if seconds <= 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds <= 90 * 60 else f"{seconds / 3600:.1f} h"


def summary(results: StudyResults) -> rich.console.Group:
    """The tables at the end of a study: mean and range of the metric, and failures, by setting, method and lr."""
    parts: list[rich.console.RenderableType] = []
    for s in results.settings:
        table = Table()
        table.add_column("method")
        for lr in s.lrs:
            table.add_column(f"lr {lr:g}", justify="right")
        for method in s.methods:
            table.add_row(Text(method), *(_summed(s.group(method, lr)) for lr in s.lrs))
        for final in s.final:
            table.add_section()
            for method in s.methods:
                means = [final.group(method, lr) for lr in s.lrs]
                row = [number(group.mean) if group and group.values else "" for group in means]
                table.add_row(Text(f"{method}, {final.label}"), *row)
        caption = f"final {s.metric.label}: mean over seeds, lowest to highest"
        parts += [Text(s.setting.title), table, Text(caption, style="dim")]
    return rich.console.Group(*parts)


def _summed(group: Group | None) -> Text:
    if group is None:
        return Text()
    text = [number(group.mean)] if group.values else []
    if len(group.values) > 1:
        text.append(f"{number(min(group.values))} to {number(max(group.values))}")
    return Text.from_markup("\n".join([*text, *(f"[yellow]{gap}[/]" for gap in group.gaps)]))
