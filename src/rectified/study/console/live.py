"""What a person sees while a study runs: a live table in a terminal, a line a run elsewhere."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ...workloads.tasks import parse_task
from ..analysis.outcomes import Setting, by_setting
from ..config.runs import Cell
from ..executors import Event
from ..storage.records import Record

_GLYPHS = {"waiting": "[dim]·[/]", "running": "[cyan]▸[/]", "done": "[green]●[/]"}
_GLYPHS |= {"diverged": "[yellow]✕[/]", "failed": "[red]![/]"}


class View:
    """The state of every cell of a call, fed with events.

    Args:
        records: what is known of the cells of the call before it begins, in order.
    """

    def __init__(self, console: Console, records: Sequence[Record]) -> None:
        self.console = console
        self.cells = [record.cell for record in records]
        self.status = {r.cell: r.status if r.finished else "waiting" for r in records}
        self.metric = {r.cell: r.rows[-1][_metric(r.cell)] for r in records if r.status == "done"}
        self.epochs = {cell: 0 for cell in self.cells if self.status[cell] == "waiting"}
        self.speed = Speed()
        self.since: dict[Cell, float] = {}  # when each cell under way began its epoch
        self.at_once = 0  # cells, at the most so far
        total = sum(cell.epochs for cell in self.epochs)
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
        cell, now = event.cell, time.monotonic()
        if event.row is not None:
            self.epochs[cell] = int(event.row["epoch"])
            self.metric[cell] = event.row[_metric(cell)]
        if event.kind == "row" and cell in self.since:
            self.speed.add(cell, 1, now - self.since[cell])
        if event.kind in ("started", "resumed", "row"):
            self.since[cell] = now
        if event.kind == "started":
            self.status[cell] = "running"
            running = sum(status == "running" for status in self.status.values())
            self.at_once = max(self.at_once, running)
        elif event.kind == "retry":
            self.status[cell], self.epochs[cell] = "waiting", 0
        elif event.kind in _GLYPHS:
            self.status[cell], self.epochs[cell] = event.kind, cell.epochs
        self.bar.update(self.bar_id, completed=sum(self.epochs.values()), left=self._left())
        if self.console.is_terminal:
            self.live.update(self.table())
        if event.kind == "note" or not (self.console.is_terminal or event.kind in ("started", "row")):
            text = f"{_metric(cell)} {self.metric[cell]:.2f}" if event.kind == "done" else event.text.strip()
            count = sum(self.status[c] not in ("waiting", "running") for c in self.cells)
            words = [f"{event.kind} {text.splitlines()[-1] if text else ''}".strip(), self._left()]
            name = f"{cell}, {Setting.of(cell)}" if len(set(map(Setting.of, self.cells))) > 1 else str(cell)
            line = f"[{count}/{len(self.cells)}] {name}: {', '.join(word for word in words if word)}"
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _left(self) -> str:
        seconds = self.speed.seconds({cell: cell.epochs - epochs for cell, epochs in self.epochs.items()})
        if not seconds:
            return ""
        going = sum(status in ("running", "waiting") for status in self.status.values())
        return f"about {duration(seconds / max(1, min(self.at_once, going)))} left"

    def table(self) -> Group:
        """Every run as a glyph, by method and lr, with the mean of what they have reached; and the bar."""
        return Group(grid(self.cells, self.status, self.metric), self.bar)


class Speed:
    """How long an epoch takes, by setting, from those that are over."""

    def __init__(self) -> None:
        self._epochs: Counter[Setting] = Counter()
        self._seconds: dict[Setting, float] = {}

    def add(self, cell: Cell, epochs: int, seconds: float) -> None:
        """Some epochs of that cell took so long."""
        setting = Setting.of(cell)
        self._epochs[setting] += epochs
        self._seconds[setting] = self._seconds.get(setting, 0.0) + seconds

    def seconds(self, left: Mapping[Cell, int]) -> float | None:
        """What so many epochs of each cell will take one worker; a setting of which none is over as long as the others.

        None if nothing is known.
        """
        total = self._epochs.total()
        if not total:
            return None
        any_of = sum(self._seconds.values()) / total
        each = {setting: self._seconds[setting] / count for setting, count in self._epochs.items() if count}
        return sum(epochs * each.get(Setting.of(cell), any_of) for cell, epochs in left.items())


def _metric(cell: Cell) -> str:
    return parse_task(cell.task).metric


def grid(cells: Sequence[Cell], status: Mapping[Cell, str], metric: Mapping[Cell, float]) -> Group:
    """Every cell as a glyph of its status, by setting, method and lr, with the mean of the metric so far."""
    tables = []
    for setting in dict.fromkeys(map(Setting.of, cells)):
        of = [cell for cell in cells if Setting.of(cell) == setting]
        lrs = sorted({cell.lr for cell in of})
        table = Table(title=setting.title)
        table.add_column("method")
        for lr in lrs:
            table.add_column(f"lr {lr:g}", justify="right")
        for method in dict.fromkeys(cell.method for cell in of):
            row = []
            for lr in lrs:
                here = [cell for cell in of if (cell.method, cell.lr) == (method, lr)]
                measured = [metric[cell] for cell in here if cell in metric]
                mean = f" {sum(measured) / len(measured):.1f}" if measured else ""
                row.append("".join(_GLYPHS[status[cell]] for cell in here) + mean)
            table.add_row(method, *row)
        tables.append(table)
    tables[-1].caption = "· waiting  ▸ running  ● done  ✕ diverged  ! failed"
    return Group(*tables)


def say(console: Console, text: str) -> None:
    """A line as it is, however long: nothing in it is markup, and a path or a command stays whole."""
    console.print(text, markup=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """For a reader.

    >>> duration(42), duration(400), duration(50_000)
    ('42 s', '7 min', '13.9 h')
    """
    if seconds <= 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds <= 90 * 60 else f"{seconds / 3600:.1f} h"


def summary(records: Sequence[Record]) -> Group:
    """The tables at the end: by setting, method and lr the mean of the metric, its range, what went wrong."""
    tables = []
    for setting, of in by_setting(records).items():
        task = parse_task(setting.task)
        lrs = sorted({record.cell.lr for record in of})
        table = Table(
            title=setting.title, caption=f"{task.metric_label} at the end: mean over seeds, lowest to highest"
        )
        table.add_column("method")
        for lr in lrs:
            table.add_column(f"lr {lr:g}", justify="right")
        for method in dict.fromkeys(record.cell.method for record in of):
            here = [[r for r in of if (r.cell.method, r.cell.lr) == (method, lr)] for lr in lrs]
            table.add_row(method, *(_summed(records, task.metric) for records in here))
        tables.append(table)
    return Group(*tables)


def _summed(records: Sequence[Record], metric: str) -> str:
    values = [record.rows[-1][metric] for record in records if record.status == "done"]
    text = []
    if values:
        text.append(f"{sum(values) / len(values):.2f}")
    if len(values) > 1:
        text.append(f"{min(values):.2f} to {max(values):.2f}")
    wrong = Counter(record.status for record in records if record.status != "done")
    return "\n".join([*text, *(f"[yellow]{count} {status}[/]" for status, count in wrong.items())])
