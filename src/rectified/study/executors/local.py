"""The local executor: worker processes with one thread each; dead workers are replaced, hung ones killed.

Two one-thread workers train two small models faster than one two-thread process trains them in turn.
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
from multiprocessing.reduction import recv_handle, send_handle
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from ...files import FULL
from ...workloads.tasks import load_data
from ..config.errors import InvalidOption, check_count
from ..config.runs import Run
from ..execution.execute import execute
from ..execution.limits import ANY, Limits, TimeLimitError
from ..storage.records import Row
from ..storage.store import Store
from .ddp_launcher import RankDiedError, RankError, ended, execute_on
from .executor import ENDS, FAILURES, Attempts, Event, failure
from .parcels import Parcel, own_path, path_for_children, read_shared, unpack, write_shared

# By default glibc returns every large buffer to the system and faults it in again at the next step, which takes 10 to
# 20 % of a small convolutional network's step. It reads these variables when a process starts.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**32)}


if sys.platform == "win32":  # check_system raises before it is needed
    FORKS = None
else:
    FORKS = multiprocessing.get_context("forkserver")  # imports happen once, and a new worker starts immediately
_STARTS, _PAUSE = 5, 0.2  # attempts to start a worker; seconds between them

IMPORTED = [__name__, "torch.utils.tensorboard"]


def check_system() -> None:
    """Check that this system supports worker processes.

    Raises:
        ValueError: this is Windows.
    """
    if sys.platform == "win32":
        raise ValueError("studies need Linux or macOS (their workers: POSIX's fork and signals); on Windows use WSL")


def get_ready() -> None:
    """Start the server process that workers are forked from, in the background, unless it is running."""
    for name, value in MALLOC.items():
        os.environ.setdefault(name, value)
    FORKS.set_forkserver_preload(IMPORTED)
    # Only the parent handles Ctrl-C, from the server's first moment. (Start the resource tracker first, since the fork
    # server would, and that unblocks the signal: bpo-33613.)
    multiprocessing.resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with without_main():
            multiprocessing.forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def without_main() -> Iterator[None]:
    """Keep multiprocessing from importing ``__main__`` in a child, which would rerun a script without a guard."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _started(limits: Limits, devices: Sequence[str]) -> tuple[Connection, BaseProcess]:
    """Start a worker process; return it and the connection to it.

    Raises:
        ChildProcessError: no worker can be started.
    """
    for attempt in range(_STARTS):
        get_ready()
        ours, theirs = FORKS.Pipe()
        process: BaseProcess = FORKS.Process(target=_serve, args=(theirs, limits, devices), daemon=True)
        try:
            with without_main():
                process.start()
            return ours, process
        except (OSError, EOFError) as error:  # the server process was killed
            ours.close()
            if attempt + 1 == _STARTS:
                raise ChildProcessError(f"no worker process can be started: {error or type(error).__name__}") from None
            time.sleep(_PAUSE)  # the system may still list it as alive
        finally:
            theirs.close()
    raise AssertionError("the last attempt has returned or raised")


class _Worker:
    """A worker process that executes the runs it is sent, and its current run."""

    def __init__(self, limits: Limits, grace: float, devices: Sequence[str]) -> None:
        self.connection, self.process = _started(limits, devices)
        self.run: Run | None = None
        self.limits, self.grace, self.devices = limits, grace, devices
        self.deadline = math.inf

    def give(self, run: Run, shared: int, folder: Path, attempt: int) -> None:
        self.run = run
        minutes = self.limits.minutes
        self.deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes + self.grace
        packed = Parcel.of(run, folder, attempt).packed()
        with suppress(ConnectionError):  # it died, which is noticed when its answers are read
            self.connection.send((run.task.name, packed))
            send_handle(self.connection, shared, self.process.pid)

    @property
    def late(self) -> bool:
        return time.monotonic() >= self.deadline

    def answer(self) -> tuple[Any, Row | None, str]:
        """The worker's report about its run; ``"died"``, or ``"silent"`` if it is late."""
        if not self.connection.poll():
            text = (
                f"killed: it was still running {self.grace:g} s after its limit, --run-minutes {self.limits.minutes:g}"
            )
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
        """Stop this worker and start a new one in its place."""
        self.stop()
        return _Worker(self.limits, self.grace, self.devices)


@dataclass(frozen=True)
class LocalExecutor:
    """An executor that runs worker processes on this machine.

    Attributes:
        workers: the number of worker processes.
        devices: the devices to train on, assigned in turn: with as many workers as GPUs, each run has its own GPU.
        grace: seconds after its limit in which a run can end by itself, since it checks the clock between steps.
        ranks: processes that train each run together, each on its own GPU or core, for tasks that would take too long
            on one GPU.

    Raises:
        InvalidOption: there are fewer than one worker or rank, or fewer GPUs than ranks.
        ValueError: this system has no POSIX processes.
    """

    workers: int
    devices: tuple[str, ...] = ("cpu",)
    grace: float = 60.0
    ranks: int = 1

    def __post_init__(self) -> None:
        check_system()
        check_count("workers", self.workers)
        check_count("ranks", self.ranks)
        if self.devices != ("cpu",) and len(self.devices) < self.ranks:
            raise InvalidOption("ranks", self.ranks, f"there are {len(self.devices)} devices")

    @property
    def slices(self) -> list[tuple[str, ...]]:
        """The devices of each worker, for as many workers as fit."""
        if self.devices == ("cpu",):
            return [self.devices * self.ranks]
        first = range(0, len(self.devices) - self.ranks + 1, self.ranks)
        return [self.devices[i : i + self.ranks] for i in first]

    def run(
        self, runs: Sequence[Run], store: Store, data: Mapping[str, Path], limits: Limits = ANY
    ) -> Generator[Event, None, None]:
        """Execute every run; see :meth:`Executor.run`."""
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
    """Wait until any worker has something to report, and yield it."""
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
def shared(runs: Sequence[Run], data: Mapping[str, Path], out: Path) -> Iterator[dict[str, int]]:
    """A context with an open file per task, by task name, that holds the task and its data for workers to map."""
    with ExitStack() as stack:
        files: dict[str, int] = {}
        for task in {run.task.name: run.task for run in runs}.values():
            files[task.name] = write_shared(out, task, load_data(task, data[task.name]))
            stack.callback(os.close, files[task.name])
        yield files


def _serve(connection: Connection, limits: Limits, devices: Sequence[str]) -> None:
    threading.Thread(target=_die_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="the first momentum step")  # here it is the thing measured
    mapped: tuple[str | None, Any, Any] = (None, None, None)
    with suppress(EOFError):  # the parent is gone
        while True:
            task, packed = connection.recv()
            file = recv_handle(connection)
            try:
                if mapped[0] != task:
                    mapped = (task, *read_shared(own_path(file)))
                parcel: Parcel = unpack(packed)
                run = parcel.run(mapped[1])
                if len(devices) > 1:
                    with path_for_children(file) as path:
                        for progress in execute_on(devices, run, path, parcel.folder, parcel.attempt, limits):
                            connection.send(tuple(progress))
                else:
                    for progress in execute(run, mapped[2], parcel.folder, parcel.attempt, limits, devices[0]):
                        connection.send(tuple(progress))
            except RankDiedError as error:
                connection.send(("died", None, str(error)))
            except TimeLimitError as error:
                connection.send(("failed", None, str(error)))
            except RankError as error:  # its text is a traceback, whose words say nothing about the cause
                machine = isinstance(error, OSError | MemoryError)
                connection.send(("failed" if machine else "raised", None, str(error)))
            except BaseException as error:  # a task may raise SystemExit, which must not end the worker
                if isinstance(error, OSError) and error.errno in FULL:
                    connection.send(("full", None, str(error.strerror)))
                else:
                    connection.send((failure(error), None, traceback.format_exc()))
            finally:
                os.close(file)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
