"""The Ray executor: one actor per worker, without a shared disk.

A run writes to a temporary folder on its node. This side polls for changes and writes them to the study's folder, so
that a run whose node dies resumes elsewhere from its checkpoint here. Polled actors are better than streaming tasks:
they import torch once for many runs, and a node's death fails a pending call, while a stream might hang.
"""

import errno
import logging
import math
import os
import socket
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten
from typing import IO, Any, ClassVar

from ...files import FULL, read, write
from ...messages import shown
from ...workloads.tasks import BaseTask, load_data
from ...workloads.user_code import users_code
from ..config.errors import InvalidOption, check_count
from ..config.runs import Run
from ..execution import checkpoint
from ..execution.execute import claimed
from ..execution.limits import ANY, Limits
from ..storage.run_folder import ROWS, is_ours, refuse_link
from ..storage.store import Store
from .executor import ATTEMPTS, ENDS, FAILURES, Attempts, Event
from .local import MALLOC
from .parcels import Parcel, pack
from .ray_worker import Files, RayWorker, stamps

_AHEAD = 100  # workers that may wait for resources at a time: a cluster grows with demand
_LAST = {checkpoint.NAME: 1, "done.json": 2}  # written in this order, after the files they refer to
# Keep Ray's output off the terminal. Ray reads these on import and start; log_to_driver does not cover everything.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS_SKIP_REGEX": ".*"}


@dataclass(frozen=True)
class RayExecutor:
    """An executor that runs workers on a Ray cluster, whose nodes must have this version of rectified.

    Attributes:
        address: the address of the cluster, as ``ray.init`` takes it. This machine must be one of its nodes (``ray
            start --address HEAD --num-cpus 0`` if it should not run anything). None for the cluster that this process
            is connected to, or else a new one on this machine that ends with the study.
        workers: the number of concurrent workers; None for as many as fit.
        cpus: CPUs per worker.
        gpus: GPUs per worker; if not 0, runs train on them.
        grace: seconds after its limit in which a run can end by itself, since it checks the clock between steps.

    Raises:
        ValueError: a value is out of range, or Ray is not installed.
    """

    address: str | None = None
    workers: int | None = None
    cpus: float = 1.0
    gpus: float = 0.0
    grace: float = 60.0

    ranks: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.workers is not None:
            check_count("workers", self.workers)
        if not (0 < self.cpus < math.inf and 0 <= self.gpus < math.inf):
            raise ValueError(f"a worker has {self.cpus} CPUs and {self.gpus} GPUs; it needs at least part of a CPU")
        if find_spec("ray") is None:
            raise InvalidOption("executor", "ray", "Ray is not installed; pip install 'rectified[ray]'")

    def run(
        self, runs: Sequence[Run], store: Store, data: Mapping[str, Path], limits: Limits = ANY
    ) -> Generator[Event, None, None]:
        """Execute every run; see :meth:`Executor.run`.

        Raises:
            ValueError: there is no cluster at that address, or no worker starts there.
        """
        with self._connected() as ray:
            tasks = {run.task.name: run.task for run in runs}
            there = {name: ray.put(_packed(task, data[name])) for name, task in tasks.items()}
            pool = _Pool(ray, self, deque(runs), there, limits, Attempts(store))
            try:
                yield from pool.events()
            finally:
                pool.stop()

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        ray = import_module("ray")
        if self.address is None and ray.is_initialized():
            yield ray
            return
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self.address is None:
            cores = None if self.workers is None else math.ceil(self.workers * self.cpus)
            ray.init("local", num_cpus=cores, include_dashboard=False, **quiet)
        else:
            host, _, port = self.address.removeprefix("ray://").rpartition(":")
            try:
                if port.isdigit():  # without an answer, Ray itself would retry for minutes
                    socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
                ray.init(self.address, **quiet)
            except OSError as error:
                raise InvalidOption(
                    "address", self.address, f"no Ray cluster answers at this address: {error}"
                ) from None
        try:
            yield ray
        finally:
            ray.shutdown()


def _packed(task: BaseTask, folder: Path) -> bytes:
    data = load_data(task, folder)
    with users_code(f"task {shown(task.name)} cannot be sent to another process"):
        return pack((task, data))


@dataclass(eq=False)
class _Slot:
    """The local view of a worker: its current run and its pending answer."""

    actor: Any
    answer: Any  # the first answer comes when the cluster has room for the worker
    run: Run | None = None
    deadline: float = math.inf
    claim: ExitStack = field(default_factory=ExitStack)
    rows: IO[str] | None = None

    def end(self) -> None:
        """Mark the worker as idle."""
        self.run, self.deadline, self.rows = None, math.inf, None
        self.claim.close()


class _Pool:
    """The workers of a study, and the runs that are waiting for one."""

    def __init__(
        self,
        ray: Any,
        executor: RayExecutor,
        queue: deque[Run],
        data: dict[str, Any],
        limits: Limits,
        attempts: Attempts,
    ) -> None:
        self.ray, self.executor, self.queue, self.data = ray, executor, queue, data
        self.limits, self.attempts, self.store = limits, attempts, attempts.store
        self.slots: list[_Slot] = []
        self.stillborn = 0  # consecutive workers that died before they received a run
        takes = {"num_cpus": executor.cpus, "num_gpus": executor.gpus}
        self.worker = ray.remote(RayWorker).options(**takes, runtime_env={"env_vars": MALLOC})

    def events(self) -> Generator[Event, None, None]:
        """Execute all runs and yield their events."""
        yield from self._note_no_room()
        while self.queue or any(slot.run for slot in self.slots):
            for slot in self.slots:
                while slot.answer is None and self.queue:  # retried if its folder cannot be written
                    yield self._give(slot, self.queue.popleft())
            self._resize()
            answers = [slot.answer for slot in self.slots]
            until = min(slot.deadline for slot in self.slots)
            self.ray.wait(answers, timeout=None if until == math.inf else max(0.0, until - time.monotonic()))
            ready, _ = self.ray.wait(answers, num_returns=len(answers), timeout=0)
            for slot in list(self.slots):
                if slot.answer in ready:
                    yield from self._listen(slot)
                elif time.monotonic() >= slot.deadline:
                    grace, minutes = self.executor.grace, self.limits.minutes
                    text = f"killed: it was still running {grace:g} s after its limit, --run-minutes {minutes:g}"
                    yield from self._lose(slot, text, died=False)

    def stop(self) -> None:
        for slot in list(self.slots):
            self._dismiss(slot)

    def _note_no_room(self) -> Iterator[Event]:
        takes = {"CPU": self.executor.cpus, "GPU": self.executor.gpus}
        for node in self.ray.nodes():
            if node["Alive"] and all(node["Resources"].get(name, 0) >= count for name, count in takes.items()):
                return
        text = f"no node of the Ray cluster has {takes['CPU']:g} CPU and {takes['GPU']:g} GPU for a run; waiting"
        yield Event("note", self.queue[0].key, text=text)

    def _resize(self) -> None:
        """Adjust the number of workers to the remaining runs, the limit, and how many still wait for resources."""
        busy = sum(slot.run is not None for slot in self.slots)
        wanted = min(self.executor.workers or math.inf, busy + min(len(self.queue), _AHEAD))
        for slot in [slot for slot in self.slots if slot.run is None]:
            if len(self.slots) > wanted:
                self._dismiss(slot)
        while len(self.slots) < wanted:
            actor = self.worker.remote(self.limits, "cuda" if self.executor.gpus else "cpu")
            self.slots.append(_Slot(actor, actor.news.remote()))

    def _dismiss(self, slot: _Slot) -> None:
        self.slots.remove(slot)
        self.ray.kill(slot.actor)
        slot.end()

    def _give(self, slot: _Slot, run: Run) -> Event:
        key = run.key
        folder, minutes = self.store.folder(key), self.limits.minutes
        try:
            rows = slot.claim.enter_context(claimed(folder))
        except OSError as error:
            if error.errno in FULL:
                raise
            return self.attempts.fail(key, f"{type(error).__name__}: {error}", "machine")
        slot.run, slot.rows = run, rows
        slot.deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes + self.executor.grace
        files = {name: read(folder / name) for name in stamps(folder)}
        parcel = Parcel.of(run, folder, self.attempts.begin(key)).packed()
        slot.answer = slot.actor.give.remote(parcel, [self.data[key.task]], files)
        return Event("started", key)

    def _listen(self, slot: _Slot) -> Generator[Event, None, None]:
        """Write what a worker reports into the study's folder, and yield its events."""
        try:
            files, news = self.ray.get(slot.answer)
        except self.ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[-1]
            yield from self._lose(slot, f"its worker died ({shorten(reason, 200, placeholder=' ...')})")
            return
        slot.answer = None
        run = slot.run
        if run is None:  # it has just started
            self.stillborn = 0
            return
        folder = self.store.folder(run.key)
        try:
            _write(folder, files, slot.rows)
        except OSError as error:
            if error.errno in FULL:
                raise
            self._dismiss(slot)  # its further output could not be written either
            yield self.attempts.fail(run.key, f"{type(error).__name__}: {error}", "machine")
            return
        for kind, row, text in news:
            if kind == "full":
                raise OSError(errno.ENOSPC, text)
            if kind in ENDS or kind in FAILURES:
                slot.end()
            if kind in FAILURES:
                yield self.attempts.fail(run.key, text, FAILURES[kind])
            else:
                yield Event(kind, run.key, row, text)
        if slot.run:
            slot.answer = slot.actor.news.remote()

    def _lose(self, slot: _Slot, text: str, died: bool = True) -> Generator[Event, None, None]:
        """Handle a worker that is dead or must be killed."""
        run = slot.run
        self._dismiss(slot)
        if run is None:
            self.stillborn += 1
            if self.stillborn == ATTEMPTS:
                raise ValueError(f"no worker starts on the Ray cluster; each node needs this rectified[study]: {text}")
            return
        event = self.attempts.lost(run.key, text, again=died)
        if event.kind == "retry":
            self.queue.appendleft(run)
        yield event


def _write(folder: Path, files: Files, rows: IO[str] | None) -> None:
    """Update a run's folder in the study to match the one on the node, for this program's files."""
    refuse_link(folder)
    files = {name: content for name, content in files.items() if is_ours(name)}
    for name in sorted(files, key=lambda name: (files[name] is None, _LAST.get(name, 0))):
        content = files[name]
        if content is None:
            (folder / name).unlink(missing_ok=True)
        elif name == ROWS and rows is not None:  # in place, since it is open here
            rows.truncate(0)
            rows.write(content.decode())
            rows.flush()
            os.fsync(rows.fileno())
        else:
            write(folder / name, content)
