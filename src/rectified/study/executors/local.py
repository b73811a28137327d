"""Worker processes on this machine: one thread each, started once, a dead one replaced, a hung one killed.

Two one-thread workers train two small models faster than one two-thread loop trains them in turn.
"""

import errno
import math
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from ...files import FULL
from ..config.errors import InvalidOption
from ..config.runs import Run, slug
from ..execution.execute import execute
from ..execution.limits import ANY, Limits, TimeLimitError
from ..storage.records import Row
from ..storage.store import Store
from .ddp_launcher import RankDiedError, RankError, ended, execute_on
from .executor import ENDS, FAILURES, Attempts, Event, failure
from .parcels import Parcel, pack, read_shared, unpack, write_shared

# glibc returns every large buffer to the system and faults it in again at the next step: a tenth to a fifth of the
# step of a small convolutional network. It reads these when a process starts.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**32)}


if sys.platform == "win32":  # where check_system refuses before anybody needs it
    FORKS = None
else:
    FORKS = multiprocessing.get_context("forkserver")  # workers' imports happen once, and a new one is there at once
IMPORTED = [__name__, "torch.utils.tensorboard"]


def check_system() -> None:
    """Refuse where there can be no workers.

    Raises:
        ValueError: this is Windows.
    """
    if sys.platform == "win32":
        raise ValueError("studies need Linux or macOS (their workers: POSIX's fork and signals); on Windows use WSL")


def get_ready() -> None:
    """Start the process that workers are forks of, unless there is one. That takes seconds, for which nobody waits."""
    for name, value in MALLOC.items():
        os.environ.setdefault(name, value)
    FORKS.set_forkserver_preload(IMPORTED)
    # Ctrl-C is the parent's to handle, from this one's first moment. (Starting the resource tracker, which the fork
    # server's start would do first, unblocks it: bpo-33613.)
    multiprocessing.resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with without_main():
            multiprocessing.forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def without_main() -> Iterator[None]:
    """Keep multiprocessing from importing ``__main__`` in a child, where a script without a guard would run again."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


class _Worker:
    """A process that executes the runs it is sent, and the run it is at."""

    def __init__(self, limits: Limits, grace: float, devices: Sequence[str]) -> None:
        get_ready()
        self.connection, theirs = FORKS.Pipe()
        self.process: BaseProcess = FORKS.Process(target=_serve, args=(theirs, limits, devices), daemon=True)
        with without_main():
            self.process.start()
        theirs.close()
        self.run: Run | None = None
        self.limits, self.grace, self.devices = limits, grace, devices
        self.deadline = math.inf

    def give(self, run: Run, shared: Path, folder: Path, attempt: int) -> None:
        self.run = run
        minutes = self.limits.minutes
        self.deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes + self.grace
        with suppress(ConnectionError):  # it has died; that is noticed where its answers are read
            self.connection.send((shared, pack(Parcel.of(run, folder, attempt))))

    @property
    def late(self) -> bool:
        return time.monotonic() >= self.deadline

    def answer(self) -> tuple[Any, Row | None, str]:
        """What it says of its run; ``"died"`` or, where it is late, ``"silent"`` if it says nothing any more."""
        if not self.connection.poll():
            text = f"killed: it was not done {self.grace:g} s after its time, --run-minutes {self.limits.minutes:g}"
            return "silent", None, text
        try:
            return self.connection.recv()  # type: ignore[no-any-return]
        except (EOFError, OSError):
            self.process.join()
            return "died", None, f"its worker process died ({ended(self.process.exitcode)})"

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()

    def replaced(self) -> "_Worker":
        """A new one in its stead."""
        self.stop()
        return _Worker(self.limits, self.grace, self.devices)


@dataclass(frozen=True)
class LocalExecutor:
    """Worker processes on this machine.

    Attributes:
        workers: how many.
        devices: where they train, in turn: with as many workers as GPUs each run has one for itself.
        grace: seconds after its time in which a run can end by itself, since it looks at the clock between steps.
        ranks: processes that train a run together, each on a GPU or a core of its own: for tasks that one GPU would
            take too long for.

    Raises:
        InvalidOption: fewer than one worker or rank, or fewer GPUs than ranks.
        ValueError: a system without POSIX's processes.
    """

    workers: int
    devices: tuple[str, ...] = ("cpu",)
    grace: float = 60.0
    ranks: int = 1

    def __post_init__(self) -> None:
        check_system()
        if self.workers < 1:
            raise InvalidOption("workers", self.workers, "it must be at least 1")
        if self.ranks < 1:
            raise InvalidOption("ranks", self.ranks, "it must be at least 1")
        if self.devices != ("cpu",) and len(self.devices) < self.ranks:
            raise InvalidOption("ranks", self.ranks, f"there are {len(self.devices)} devices")

    @property
    def slices(self) -> list[tuple[str, ...]]:
        """The devices that a worker has, for each worker that there is room for."""
        if self.devices == ("cpu",):
            return [self.devices * self.ranks]
        first = range(0, len(self.devices) - self.ranks + 1, self.ranks)
        return [self.devices[i : i + self.ranks] for i in first]

    def run(
        self, runs: Sequence[Run], store: Store, data: Mapping[str, Path], limits: Limits = ANY
    ) -> Generator[Event, None, None]:
        """See :meth:`Executor.run`."""
        queue, attempts, slices = deque(runs), Attempts(store), self.slices
        get_ready()
        with ExitStack() as stack:
            files = stack.enter_context(shared(runs, data, store.out))
            pool: list[_Worker] = []
            stack.callback(_stop, pool)
            for i in range(min(self.workers, len(runs))):
                pool.append(_Worker(limits, self.grace, slices[i % len(slices)]))
            while queue or any(worker.run for worker in pool):
                for worker in pool:
                    if worker.run is None and queue:
                        given = queue.popleft()
                        key = given.key
                        worker.give(given, files[key.task], store.folder(key), attempts.begin(key))
                        yield Event("started", key)
                yield from _listen(pool, queue, attempts)


def _stop(pool: list[_Worker]) -> None:
    for worker in pool:
        worker.stop()


def _listen(pool: list[_Worker], queue: deque[Run], attempts: Attempts) -> Generator[Event, None, None]:
    """Wait until some worker has something to report, and report it."""
    busy = [worker for worker in pool if worker.run]
    until = min(worker.deadline for worker in busy) - time.monotonic()
    ready = wait([worker.connection for worker in busy], max(0.0, until) if until < math.inf else None)
    for i, worker in enumerate(pool):
        run = worker.run
        if run is None or not (worker.connection in ready or worker.late):
            continue
        kind, row, text = worker.answer()
        if kind == "full":
            raise OSError(errno.ENOSPC, text)
        if kind in ("died", "silent"):
            pool[i] = worker.replaced()
            event = attempts.lost(run.key, text, again=kind == "died")
        elif kind in FAILURES:
            event = attempts.fail(run.key, text, FAILURES[kind])
        else:
            event = Event(kind, run.key, row, text)
        if event.kind == "retry":
            queue.appendleft(run)
        if event.kind in ENDS:
            pool[i].run = None
        yield event


@contextmanager
def shared(runs: Sequence[Run], data: Mapping[str, Path], out: Path) -> Iterator[dict[str, Path]]:
    """A file for each task of the runs, by its name: the task and its data, for the workers to map."""
    files: dict[str, Path] = {}
    try:
        for task in {run.task.name: run.task for run in runs}.values():
            files[task.name] = out / f".{slug(task.name)}.{os.getpid()}"  # the next call's sweep removes it
            write_shared(files[task.name], task, task.load(data[task.name]))
        yield files
    finally:
        for file in files.values():
            file.unlink(missing_ok=True)


def _serve(connection: Connection, limits: Limits, devices: Sequence[str]) -> None:
    threading.Thread(target=_die_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="the first momentum step")  # here it is the thing measured
    mapped: tuple[Path | None, Any, Any] = (None, None, None)
    with suppress(EOFError):  # the parent is gone
        while True:
            file, packed = connection.recv()
            try:
                if mapped[0] != file:
                    mapped = (file, *read_shared(file))
                parcel: Parcel = unpack(packed)
                run = parcel.run(mapped[1])
                if len(devices) > 1:
                    news = execute_on(devices, run, file, parcel.folder, parcel.attempt, limits)
                else:
                    news = execute(run, mapped[2], parcel.folder, parcel.attempt, limits, devices[0])
                for progress in news:
                    connection.send(tuple(progress))
            except RankDiedError as error:
                connection.send(("died", None, str(error)))
            except TimeLimitError as error:
                connection.send(("failed", None, str(error)))
            except RankError as error:  # its text is a whole traceback, in which words say nothing of the cause
                machine = isinstance(error, OSError | MemoryError)
                connection.send(("failed" if machine else "raised", None, str(error)))
            except Exception as error:
                if isinstance(error, OSError) and error.errno in FULL:
                    connection.send(("full", None, str(error.strerror)))
                else:
                    connection.send((failure(error), None, traceback.format_exc()))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
