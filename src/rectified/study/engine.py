"""Runs cells in worker processes: one thread each, started once, a dead one replaced, a hung one killed.

Two one-thread workers train two small models faster than one two-thread loop trains them in turn.
"""

import errno
import math
import multiprocessing
import os
import signal
import threading
import time
import traceback
import warnings
from collections import Counter, deque
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

import torch

from ..files import FULL
from . import checkpoint
from .cell import ANY, Limits, TimeLimitError, run
from .circumstances import circumstances
from .plan import Cell
from .store import ROWS, Row, Store, write_json
from .tasks import parse_task

ATTEMPTS = 3  # that a cell has to reach its next checkpoint
GRACE = 60.0  # seconds after its limit in which a cell can end by itself: it looks at the clock between steps

# glibc returns every large buffer to the system and faults it in again at the next step: a tenth to a fifth of the
# step of a small convolutional network. It reads these when a process starts.
_MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**32)}

Kind = Literal["started", "resumed", "note", "row", "done", "diverged", "failed", "retry"]


@dataclass(frozen=True)
class Event:
    """Something happened to a cell."""

    kind: Kind
    cell: Cell
    row: Row | None = None
    text: str = ""


class _Worker:
    """A process that runs the cells it is sent, and what it is at."""

    def __init__(self, task: str, data: Path, limits: Limits) -> None:
        for name, value in _MALLOC.items():
            os.environ.setdefault(name, value)
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(theirs, task, data, limits), daemon=True)
        self.process.start()
        theirs.close()
        self.cell: Cell | None = None
        self.minutes = limits.minutes
        self.deadline = math.inf

    def give(self, cell: Cell, folder: Path, attempt: int) -> None:
        self.cell = cell
        self.deadline = math.inf if self.minutes is None else time.monotonic() + 60 * self.minutes + GRACE
        with suppress(ConnectionError):  # it has died; that is noticed where its answers are read
            self.connection.send((cell, folder, attempt))

    @property
    def late(self) -> bool:
        return time.monotonic() >= self.deadline

    def answer(self) -> tuple[Any, Row | None, str]:
        """What it says of its cell; ``"died"`` or, where it is late, ``"silent"`` if it says nothing any more."""
        if not self.connection.poll():
            return (
                "silent",
                None,
                f"killed: it was not done {GRACE:g} s after its time, --cell-minutes {self.minutes:g}",
            )
        try:
            return self.connection.recv()  # type: ignore[no-any-return]
        except (EOFError, OSError):
            self.process.join()
            return "died", None, f"its worker process died ({_exit(self.process.exitcode)})"

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


class _Attempts:
    """How often each cell was begun, and how often its worker died without so much as a new checkpoint."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.begun: Counter[Cell] = Counter()
        self.in_vain: Counter[Cell] = Counter()
        self.found: dict[Cell, int] = {}

    def begin(self, cell: Cell) -> int:
        self.begun[cell] += 1
        self.found[cell] = self._checkpoint(cell)
        return self.begun[cell]

    def too_many(self, cell: Cell) -> bool:
        """Whether the death that just happened is one too many."""
        self.in_vain[cell] = self.in_vain[cell] + 1 if self._checkpoint(cell) == self.found[cell] else 0
        return self.in_vain[cell] >= ATTEMPTS

    def _checkpoint(self, cell: Cell) -> int:
        try:
            return (self.store.folder(cell) / checkpoint.NAME).stat().st_mtime_ns
        except FileNotFoundError:
            return 0


def run_cells(
    cells: Sequence[Cell],
    store: Store,
    data: Path,
    workers: int,
    limits: Limits = ANY,
) -> Generator[Event, None, None]:
    """Run every cell, from its checkpoint if it has one, and tell what happens as it happens.

    A worker that dies is replaced and its cell goes on, up to three times without a new checkpoint in between; then, or
    where Python raised, or where its time is over, the cell is ``failed`` with the error in its done.json. Closing the
    iterator (Ctrl-C) kills the workers.

    Raises:
        OSError: a worker found the disk full. Nothing is failed by that; the cells go on with the next call.
    """
    queue, attempts = deque(cells), _Attempts(store)
    pool = [_Worker(cells[0].task, data, limits) for _ in range(min(workers, len(cells)))]
    try:
        while queue or any(worker.cell for worker in pool):
            for worker in pool:
                if worker.cell is None and queue:
                    given = queue.popleft()
                    worker.give(given, store.folder(given), attempts.begin(given))
                    yield Event("started", given)
            busy = [worker for worker in pool if worker.cell]
            until = min(worker.deadline for worker in busy) - time.monotonic()
            ready = wait([worker.connection for worker in busy], max(0.0, until) if until < math.inf else None)
            for i, worker in enumerate(pool):
                cell = worker.cell
                if cell is None or not (worker.connection in ready or worker.late):
                    continue
                kind, row, text = worker.answer()
                if kind == "full":
                    raise OSError(errno.ENOSPC, text)
                if kind in ("died", "silent"):
                    worker.stop()
                    pool[i] = _Worker(cell.task, data, limits)
                    record = store.record(cell)
                    if record.finished:  # it had no time to say so
                        kind, row, text = record.status, next(reversed(record.rows), None), ""
                    elif kind == "died" and not attempts.too_many(cell):
                        queue.appendleft(cell)
                        yield Event("retry", cell, text=text)
                        continue
                    else:
                        text += f", {ATTEMPTS} times without a new checkpoint in between" if kind == "died" else ""
                        kind = "failed"
                if kind == "failed":
                    _write_failure(store.folder(cell), text, attempts.begun[cell])
                if kind in ("done", "diverged", "failed"):
                    pool[i].cell = None
                yield Event(kind, cell, row, text)
    finally:
        for worker in pool:
            worker.stop()


def _serve(connection: Connection, task: str, data: Path, limits: Limits) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_die_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="the first momentum step")  # here it is the thing measured
    loaded = None
    with suppress(EOFError):  # the parent is gone
        while True:
            cell, folder, attempt = connection.recv()
            try:
                if loaded is None:
                    loaded = parse_task(task).load(data)
                status = run(cell, loaded, folder, attempt, lambda *told: connection.send(told), limits)
                connection.send((status, None, ""))
            except TimeLimitError as error:
                connection.send(("failed", None, str(error)))
            except Exception as error:
                if isinstance(error, OSError) and error.errno in FULL:
                    connection.send(("full", None, str(error.strerror)))
                else:
                    connection.send(("failed", None, traceback.format_exc()))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _write_failure(folder: Path, error: str, attempts: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ROWS).touch()
    write_json(folder / "done.json", {"status": "failed", "error": error, "attempts": attempts, **circumstances()})


def _exit(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"
