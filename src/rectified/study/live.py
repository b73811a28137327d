"""What a person sees while a study runs: a live table in a terminal, a line a run elsewhere."""

import time
from collections import Counter
from collections.abc import Mapping

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from .engine import Event
from .plan import Cell
from .store import Record
from .tasks import Task

_GLYPHS = {"waiting": "[dim]·[/]", "running": "[cyan]▸[/]", "done": "[green]●[/]"}
_GLYPHS |= {"diverged": "[yellow]✕[/]", "failed": "[red]![/]"}


class View:
    """The state of every cell of a call, fed with events.

    Args:
        cells: the cells of the call, in order.
        records: what is known of them before it begins.
    """

    def __init__(self, console: Console, task: Task, cells: list[Cell], records: list[Record]) -> None:
        self.console, self.task, self.cells = console, task, cells
        self.status = {r.cell: r.status if r.finished else "waiting" for r in records}
        self.metric = {r.cell: r.rows[-1][task.metric] for r in records if r.status == "done"}
        self.epochs = {cell: 0 for cell in cells if self.status[cell] == "waiting"}
        self.worked = 0  # epochs of this call: others may have been done before it, or twice
        self.began = time.monotonic()
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
        cell = event.cell
        if event.row is not None:
            self.epochs[cell] = int(event.row["epoch"])
            self.metric[cell] = event.row[self.task.metric]
        if event.kind == "started":
            self.status[cell] = "running"
        elif event.kind == "retry":
            self.status[cell], self.epochs[cell] = "waiting", 0
        elif event.kind in _GLYPHS:
            self.status[cell], self.epochs[cell] = event.kind, cell.epochs
        self.worked += event.kind == "row"
        done = sum(self.epochs.values())
        self.bar.update(self.bar_id, completed=done, left=self._left(done))
        if self.console.is_terminal:
            self.live.update(self.table())
        if event.kind == "note" or not (self.console.is_terminal or event.kind in ("started", "row")):
            text = f"{self.task.metric} {self.metric[cell]:.2f}" if event.kind == "done" else event.text.strip()
            count = sum(self.status[c] not in ("waiting", "running") for c in self.cells)
            words = [f"{event.kind} {text.splitlines()[-1] if text else ''}".strip(), self._left(done)]
            line = f"[{count}/{len(self.cells)}] {cell}: {', '.join(word for word in words if word)}"
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _left(self, done: int) -> str:
        total = sum(cell.epochs for cell in self.epochs)
        if not self.worked or done >= total:
            return ""
        return f"about {duration((time.monotonic() - self.began) / self.worked * (total - done))} left"

    def table(self) -> Group:
        """Every run as a glyph, by method and lr, with the mean of what they have reached; and the bar."""
        return Group(grid(self.task, self.cells, self.status, self.metric), self.bar)


def grid(task: Task, cells: list[Cell], status: Mapping[Cell, str], metric: Mapping[Cell, float]) -> Table:
    """Every cell as a glyph of its status, by method and lr, with the mean of the metric where there is one."""
    lrs = sorted({cell.lr for cell in cells})
    table = Table(title=task.title, caption="· waiting  ▸ running  ● done  ✕ diverged  ! failed")
    table.add_column("method")
    for lr in lrs:
        table.add_column(f"lr {lr:g}", justify="right")
    for method in dict.fromkeys(cell.method for cell in cells):
        row = []
        for lr in lrs:
            here = [cell for cell in cells if (cell.method, cell.lr) == (method, lr)]
            measured = [metric[cell] for cell in here if cell in metric]
            mean = f" {sum(measured) / len(measured):.1f}" if measured else ""
            row.append("".join(_GLYPHS[status[cell]] for cell in here) + mean)
        table.add_row(method, *row)
    return table


def duration(seconds: float) -> str:
    """For a reader.

    >>> duration(42), duration(400), duration(50_000)
    ('42 s', '7 min', '13.9 h')
    """
    if seconds <= 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds <= 90 * 60 else f"{seconds / 3600:.1f} h"


def summary(task: Task, records: list[Record]) -> Table:
    """The table at the end: per method and lr the mean of the metric, its range over seeds, what went wrong."""
    lrs = sorted({record.cell.lr for record in records})
    table = Table(caption=f"{task.metric_label} at the end: mean over seeds, lowest to highest")
    table.add_column("method")
    for lr in lrs:
        table.add_column(f"lr {lr:g}", justify="right")
    for method in dict.fromkeys(record.cell.method for record in records):
        row = []
        for lr in lrs:
            here = [record for record in records if (record.cell.method, record.cell.lr) == (method, lr)]
            values = [record.rows[-1][task.metric] for record in here if record.status == "done"]
            text = []
            if values:
                text.append(f"{sum(values) / len(values):.2f}")
            if len(values) > 1:
                text.append(f"{min(values):.2f} to {max(values):.2f}")
            wrong = Counter(record.status for record in here if record.status != "done")
            text += [f"[yellow]{count} {status}[/]" for status, count in wrong.items()]
            row.append("\n".join(text))
        table.add_row(method, *row)
    return table
