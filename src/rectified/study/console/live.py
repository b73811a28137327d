"""What a person sees while a study runs: a live table in a terminal, a line a run elsewhere."""

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
_KNOWN = 60.0  # seconds of epochs after which the time left is known, however few runs have ended

_GLYPHS = {"waiting": "[dim]·[/]", "running": "[cyan]▸[/]", "done": "[green]●[/]"}
_GLYPHS |= {"diverged": "[yellow]✕[/]", "failed": "[red]![/]"}


class View:
    """The state of every run of a call, fed with events.

    Args:
        records: what is known of the runs of the call before it begins, in order.
        tasks: what is known of their tasks.
    """

    def __init__(self, console: Console, records: Sequence[Record], tasks: Tasks) -> None:
        self.console, self.tasks = console, tasks
        self.runs = [record.run for record in records]
        self.status = {r.run: r.status if r.finished else "waiting" for r in records}
        self.rows = {r.run: r.rows[-1] for r in records if r.status == "done"}
        self.epochs = {run: 0 for run in self.runs if self.status[run] == "waiting"}
        self.speed = Speed()
        self.since: dict[RunKey, float] = {}  # when each run under way began its epoch
        self.at_once = 0  # runs, at the most so far
        self.ended = 0  # runs of this call
        self.starting: set[RunKey] = set()  # the first run of each worker, until its first epoch is over
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
        """Show an event."""
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
        """What the rest takes; nothing before that is known. What a worker's start takes is none of it."""
        if self.ended <= self.at_once and self.speed.measured < _KNOWN:
            return ""
        seconds = self.speed.seconds({run: run.epochs - epochs for run, epochs in self.epochs.items()})
        if not seconds:
            return ""
        going = sum(status in ("running", "waiting") for status in self.status.values())
        return f"about {duration(seconds / max(1, min(self.at_once, going)))} left"

    def table(self) -> rich.console.Group:
        """Every run as a glyph, by method and lr, with the mean of what they have reached; and the bar."""
        return rich.console.Group(grid(self.runs, self.status, self.rows, self.tasks), self.bar)


_Kind = tuple[str, str, int]  # a task's name and version, a batch size: what an epoch's time depends on


class Speed:
    """How long an epoch takes, by task and batch size, from those that are over."""

    def __init__(self) -> None:
        self._epochs: Counter[_Kind] = Counter()
        self._seconds: dict[_Kind, float] = {}

    def add(self, run: RunKey, epochs: int, seconds: float) -> None:
        """Some epochs of that run took so long."""
        kind = _kind(run)
        self._epochs[kind] += epochs
        self._seconds[kind] = self._seconds.get(kind, 0.0) + seconds

    @property
    def measured(self) -> float:
        """Seconds of all epochs that were added."""
        return sum(self._seconds.values())

    def seconds(self, left: Mapping[RunKey, int]) -> float | None:
        """What so many epochs of each run will take one worker; None if nothing is known.

        A task and batch size without a finished epoch are assumed to be as fast as the others.
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
    """The name and the label of what the numbers are: the first that all the rows have.

    That is what methods are compared by; else what an lr is chosen by, while the former is measured at the end only;
    else the metric.
    """
    wanted = [task.comparison, *([task.chosen_by] if task.chosen_by else [])]
    return next((of for of in wanted if all(of[0] in row for row in rows)), (task.metric, task.metric_label))


def grid(
    runs: Sequence[RunKey], status: Mapping[RunKey, str], rows: Mapping[RunKey, Row], tasks: Tasks
) -> rich.console.Group:
    """Every run as a glyph of its status, by setting, method and lr, with the mean of what is compared, so far.

    Args:
        rows: the last row of each run that counts.
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
                cells.append("".join(_GLYPHS[status[run]] for run in here) + mean)
            table.add_row(Text(method), *cells)
        parts += [Text(setting.title), table]
        if values:
            parts.append(Text(f"numbers: {label}, mean over seeds", style="dim"))
    return rich.console.Group(*parts, Text(_LEGEND, style="dim"))


def show(console: Console, tables: rich.console.Group) -> None:
    """Print tables. Their titles and legends are lines of their own, which stay whole however narrow all is."""
    console.print(tables, soft_wrap=True)


def say(console: Console, text: str) -> None:
    """Print a line unwrapped and without markup, so that a path or a command in it stays whole."""
    console.print(text, markup=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """For a reader.

    >>> duration(42), duration(400), duration(50_000)
    ('42 s', '7 min', '13.9 h')
    """
    if seconds <= 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds <= 90 * 60 else f"{seconds / 3600:.1f} h"


def summary(results: StudyResults) -> rich.console.Group:
    """The tables at the end: by setting, method and lr the mean of the metric, its range, what went wrong."""
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
        caption = f"{s.metric.label} at the end: mean over seeds, lowest to highest"
        parts += [Text(s.setting.title), table, Text(caption, style="dim")]
    return rich.console.Group(*parts)


def _summed(group: Group | None) -> str:
    if group is None:
        return ""
    text = [number(group.mean)] if group.values else []
    if len(group.values) > 1:
        text.append(f"{number(min(group.values))} to {number(max(group.values))}")
    return "\n".join([*text, *(f"[yellow]{gap}[/]" for gap in group.gaps)])
