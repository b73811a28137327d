"""Runs cells in worker processes: one thread each, started once, a dead one replaced.

Two one-thread workers train two small models faster than one two-thread loop trains them in turn.
"""

import multiprocessing
import os
import signal
import threading
import traceback
import warnings
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal

import torch

from .cell import circumstances, run
from .plan import Cell
from .store import Row, Store, write_json
from .tasks import parse_task

ATTEMPTS = 3

# glibc returns every large buffer to the system and faults it in again at the next step: a tenth to a fifth of the
# step of a small convolutional network. It reads these when a process starts.
_MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**32)}

Kind = Literal["started", "row", "done", "diverged", "failed", "retry"]


@dataclass(frozen=True)
class Event:
    """Something happened to a cell."""

    kind: Kind
    cell: Cell
    row: Row | None = None
    text: str = ""


class _Worker:
    """A process that runs the cells it is sent, and what it is at."""

    def __init__(self, task: str, data: Path) -> None:
        for name, value in _MALLOC.items():
            os.environ.setdefault(name, value)
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(theirs, task, data), daemon=True)
        self.process.start()
        theirs.close()
        self.cell: Cell | None = None

    def give(self, cell: Cell, folder: Path, attempt: int) -> None:
        self.cell = cell
        self.connection.send((cell, folder, attempt))

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def run_cells(cells: Sequence[Cell], store: Store, data: Path, workers: int) -> Generator[Event, None, None]:
    """Run every cell, and tell what happens as it happens.

    A worker that dies is replaced and its cell tried again, up to three times in all; then, or where Python raised,
    the cell is ``failed`` with the error in its done.json. Closing the iterator (Ctrl-C) kills the workers.
    """
    queue, attempts = deque(cells), dict.fromkeys(cells, 0)
    pool = [_Worker(cells[0].task, data) for _ in range(min(workers, len(cells)))]
    try:
        while queue or any(worker.cell for worker in pool):
            for worker in pool:
                if worker.cell is None and queue:
                    cell = queue.popleft()
                    attempts[cell] += 1
                    worker.give(cell, store.clear(cell), attempts[cell])
                    yield Event("started", cell)
            ready = wait([worker.connection for worker in pool if worker.cell])
            for i, worker in enumerate(pool):
                if worker.connection not in ready or worker.cell is None:
                    continue
                cell = worker.cell
                try:
                    kind, row, text = worker.connection.recv()
                except (EOFError, ConnectionError):
                    worker.process.join()
                    text = f"its worker process died ({_exit(worker.process.exitcode)})"
                    worker.stop()
                    pool[i] = _Worker(cell.task, data)
                    if attempts[cell] < ATTEMPTS:
                        queue.appendleft(cell)
                        yield Event("retry", cell, text=text)
                        continue
                    kind, row, text = "failed", None, f"{text}, {ATTEMPTS} times"
                if kind == "failed":
                    _write_failure(store.folder(cell), text, attempts[cell])
                if kind != "row":
                    pool[i].cell = None
                yield Event(kind, cell, row, text)
    finally:
        for worker in pool:
            worker.stop()


def _serve(connection: Connection, task: str, data: Path) -> None:
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
                status = run(cell, loaded, folder, attempt, lambda row: connection.send(("row", row, "")))
                connection.send((status, None, ""))
            except Exception:
                connection.send(("failed", None, traceback.format_exc()))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _write_failure(folder: Path, error: str, attempts: int) -> None:
    (folder / "rows.jsonl").touch()
    write_json(folder / "done.json", {"status": "failed", "error": error, "attempts": attempts, **circumstances()})


def _exit(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"
