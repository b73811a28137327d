"""Runs on a Ray cluster: one actor a slot, and no disk that is shared.

A run works in a temporary folder of its node. This side asks what is new in there and writes it into the study's, so
that a run whose node dies goes on elsewhere from its checkpoint here. Asked actors, not streaming tasks: they import
torch once for many runs, and a node's death fails an answer, where a stream's last objects may be waited for in vain.
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

_AHEAD = 100  # workers that may wait for room at a time: a cluster grows by what it is asked for
_LAST = {checkpoint.NAME: 1, "done.json": 2}  # written in this order, after what they vouch for
# The terminal is the study's. Ray reads these as it is imported and as it starts; log_to_driver is not all it prints.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS_SKIP_REGEX": ".*"}


@dataclass(frozen=True)
class RayExecutor:
    """Workers on a Ray cluster, each of whose nodes needs this version of rectified.

    Attributes:
        address: of a cluster of which this machine is a node (``ray start --address HEAD --num-cpus 0`` where it is
            not to run anything), as ``ray.init`` takes it; None is the one that this process is connected to, or else
            one that starts on this machine and ends with the study.
        workers: at a time; None is as many as there is room for.
        cpus: that each takes.
        gpus: that each takes; where it is not 0 they train on it.
        grace: seconds after its time in which a run can end by itself, since it looks at the clock between steps.

    Raises:
        ValueError: one is out of its range, or Ray is not installed.
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
            raise ValueError(f"a worker has {self.cpus} CPUs and {self.gpus} GPUs; it needs a share of a CPU at least")
        if find_spec("ray") is None:
            raise InvalidOption("executor", "ray", "Ray is not installed; pip install 'rectified[ray]'")

    def run(
        self, runs: Sequence[Run], store: Store, data: Mapping[str, Path], limits: Limits = ANY
    ) -> Generator[Event, None, None]:
        """See :meth:`Executor.run`.

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
                if port.isdigit():  # where nobody answers Ray itself would try for minutes
                    socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
                ray.init(self.address, **quiet)
            except OSError as error:
                raise InvalidOption("address", self.address, f"no Ray cluster answers there: {error}") from None
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
    """A worker seen from here: the run it is at, and its answer to come."""

    actor: Any
    answer: Any  # the first comes as soon as there is room for the worker
    run: Run | None = None
    deadline: float = math.inf
    claim: ExitStack = field(default_factory=ExitStack)
    rows: IO[str] | None = None

    def end(self) -> None:
        """It is at no run any more."""
        self.run, self.deadline, self.rows = None, math.inf, None
        self.claim.close()


class _Pool:
    """The workers of a study, and the runs that wait for one."""

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
        self.stillborn = 0  # workers in a row that died before they could be given anything
        takes = {"num_cpus": executor.cpus, "num_gpus": executor.gpus}
        self.worker = ray.remote(RayWorker).options(**takes, runtime_env={"env_vars": MALLOC})

    def events(self) -> Generator[Event, None, None]:
        """Run everything."""
        yield from self._note_no_room()
        while self.queue or any(slot.run for slot in self.slots):
            for slot in self.slots:
                while slot.answer is None and self.queue:  # again where its folder cannot be written
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
                    text = f"killed: it was not done {grace:g} s after its time, --run-minutes {minutes:g}"
                    yield from self._lose(slot, text, died=False)

    def stop(self) -> None:
        for slot in list(self.slots):
            self._dismiss(slot)

    def _note_no_room(self) -> Iterator[Event]:
        takes = {"CPU": self.executor.cpus, "GPU": self.executor.gpus}
        for node in self.ray.nodes():
            if node["Alive"] and all(node["Resources"].get(name, 0) >= count for name, count in takes.items()):
                return
        text = f"no node of the Ray cluster has {takes['CPU']:g} CPU and {takes['GPU']:g} GPU for a run: it waits"
        yield Event("note", self.queue[0].key, text=text)

    def _resize(self) -> None:
        """As many workers as there are runs for them, up to the limit, and not too many that still wait for room."""
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
        """Write down, and pass on, what its worker reports."""
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
            self._dismiss(slot)  # what it goes on to write could not be kept either
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
        """Its worker is dead, or has to be."""
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
    """Make a study's folder what its run's is on the node, as far as this program's files go."""
    refuse_link(folder)
    files = {name: content for name, content in files.items() if is_ours(name)}
    for name in sorted(files, key=lambda name: (files[name] is None, _LAST.get(name, 0))):
        content = files[name]
        if content is None:
            (folder / name).unlink(missing_ok=True)
        elif name == ROWS and rows is not None:  # in place: it is open here
            rows.truncate(0)
            rows.write(content.decode())
            rows.flush()
            os.fsync(rows.fileno())
        else:
            write(folder / name, content)
