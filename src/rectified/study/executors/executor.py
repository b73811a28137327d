"""What an engine is, and what engines share: events, attempts, failures."""

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from ..config.runs import Cell
from ..execution import checkpoint
from ..execution.execute import Limits
from ..execution.provenance import circumstances
from ..storage.records import Row
from ..storage.store import ROWS, Store, write_json

ATTEMPTS = 3  # that a cell has to reach its next checkpoint

ENDS = ("done", "diverged", "failed")  # of a cell

Kind = Literal["started", "resumed", "note", "row", "done", "diverged", "failed", "retry"]


@dataclass(frozen=True)
class Event:
    """Something happened to a cell."""

    kind: Kind
    cell: Cell
    row: Row | None = None
    text: str = ""


class Engine(Protocol):
    """Runs cells somewhere."""

    def run(
        self, cells: Sequence[Cell], store: Store, data: Mapping[str, Path], limits: Limits
    ) -> Generator[Event, None, None]:
        """Run every cell, from its checkpoint if it has one, and tell what happens as it happens.

        A cell whose worker dies goes on, up to three times without a new checkpoint in between; then, or where Python
        raised, or where its time is over, it is ``failed`` with the error in its done.json. Closing the iterator
        (Ctrl-C) stops the workers.

        Args:
            data: by the name of each task, the folder that its ``find`` returned.

        Raises:
            OSError: a disk is full. Nothing is failed by that; the cells go on with the next call.
        """
        ...


class Attempts:
    """How often each cell was begun and its worker died without so much as a new checkpoint; and what follows."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.begun: Counter[Cell] = Counter()
        self.in_vain: Counter[Cell] = Counter()
        self.found: dict[Cell, int] = {}

    def begin(self, cell: Cell) -> int:
        """Count an attempt; returns the count."""
        self.begun[cell] += 1
        self.found[cell] = self._checkpoint(cell)
        return self.begun[cell]

    def lost(self, cell: Cell, text: str, again: bool) -> Event:
        """What becomes of a cell whose worker is dead: done, diverged, failed, or ``retry`` if it may run `again`."""
        record = self.store.record(cell)
        if record.finished:  # it had no time to say so
            return Event("done" if record.status == "done" else "diverged", cell, next(reversed(record.rows), None))
        if not again:
            return self.fail(cell, text)
        self.in_vain[cell] = self.in_vain[cell] + 1 if self._checkpoint(cell) == self.found[cell] else 0
        if self.in_vain[cell] < ATTEMPTS:
            return Event("retry", cell, text=text)
        return self.fail(cell, f"{text}, {ATTEMPTS} times without a new checkpoint in between")

    def fail(self, cell: Cell, text: str) -> Event:
        """Make the cell a failed one, for that reason."""
        write_failure(self.store.folder(cell), text, self.begun[cell])
        return Event("failed", cell, text=text)

    def _checkpoint(self, cell: Cell) -> int:
        try:
            return (self.store.folder(cell) / checkpoint.NAME).stat().st_mtime_ns
        except FileNotFoundError:
            return 0


def write_failure(folder: Path, error: str, attempts: int) -> None:
    """Make the run of that folder a failed one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ROWS).touch()
    write_json(folder / "done.json", {"status": "failed", "error": error, "attempts": attempts, **circumstances()})
