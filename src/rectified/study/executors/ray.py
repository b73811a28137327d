"""Runs cells on a Ray cluster: one actor a slot, and no disk that is shared.

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
from typing import IO, Any

from ...files import write
from ...workloads.tasks import parse_task
from ..config.runs import Cell
from ..execution import checkpoint
from ..execution.execute import ANY, Limits, claimed
from ..storage.store import ROWS, Store
from .executor import ATTEMPTS, ENDS, Attempts, Event
from .local import MALLOC
from .ray_worker import Files, Worker, stamps

_AHEAD = 100  # workers that may wait for room at a time: a cluster grows by what it is asked for
_LAST = {checkpoint.NAME: 1, "done.json": 2}  # written in this order, after what they vouch for
# The terminal is the study's. Ray reads these as it is imported and as it starts; log_to_driver is not all it prints.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS_SKIP_REGEX": ".*"}


@dataclass(frozen=True)
class RayEngine:
    """Workers on a Ray cluster, each of whose nodes needs this version of rectified.

    Attributes:
        address: of a cluster of which this machine is a node (``ray start --address HEAD --num-cpus 0`` where it is
            not to run anything), as ``ray.init`` takes it; None is the one that this process is connected to, or else
            one that starts on this machine and ends with the study.
        workers: at a time; None is as many as there is room for.
        cpus: that each takes.
        gpus: that each takes; where it is not 0 they train on it.
        grace: seconds after its time in which a cell can end by itself, since it looks at the clock between steps.

    Raises:
        ValueError: one is out of its range, or Ray is not installed.
    """

    address: str | None = None
    workers: int | None = None
    cpus: float = 1.0
    gpus: float = 0.0
    grace: float = 60.0

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"--workers is {self.workers}; it must be at least 1")
        if not (0 < self.cpus < math.inf and 0 <= self.gpus < math.inf):
            raise ValueError(f"a worker has {self.cpus} CPUs and {self.gpus} GPUs; it needs a share of a CPU at least")
        if find_spec("ray") is None:
            raise ValueError("--engine is 'ray', and Ray is not installed; pip install 'rectified[ray]'")

    def run(
        self, cells: Sequence[Cell], store: Store, data: Mapping[str, Path], limits: Limits = ANY
    ) -> Generator[Event, None, None]:
        """See :meth:`Engine.run`.

        Raises:
            ValueError: there is no cluster at that address, or no worker starts there.
        """
        with self._connected() as ray:
            tasks = dict.fromkeys(cell.task for cell in cells)
            there = {task: ray.put(parse_task(task).load(data[task])) for task in tasks}
            pool = _Pool(ray, self, deque(cells), there, limits, Attempts(store))
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
                raise ValueError(f"--address is {self.address!r}, and no Ray cluster answers there: {error}") from None
        try:
            yield ray
        finally:
            ray.shutdown()


@dataclass(eq=False)
class _Slot:
    """A worker seen from here: the cell it is at, and its answer to come."""

    actor: Any
    answer: Any  # the first comes as soon as there is room for the worker
    cell: Cell | None = None
    deadline: float = math.inf
    claim: ExitStack = field(default_factory=ExitStack)
    rows: IO[str] | None = None

    def end(self) -> None:
        """It is at its cell no more."""
        self.cell, self.deadline, self.rows = None, math.inf, None
        self.claim.close()


class _Pool:
    """The workers of a study, and the cells that wait for one."""

    def __init__(
        self, ray: Any, engine: RayEngine, queue: deque[Cell], data: dict[str, Any], limits: Limits, attempts: Attempts
    ) -> None:
        self.ray, self.engine, self.queue, self.data = ray, engine, queue, data
        self.limits, self.attempts, self.store = limits, attempts, attempts.store
        self.slots: list[_Slot] = []
        self.stillborn = 0  # workers in a row that died before they could be given anything
        takes = {"num_cpus": engine.cpus, "num_gpus": engine.gpus}
        self.worker = ray.remote(Worker).options(**takes, runtime_env={"env_vars": MALLOC})

    def events(self) -> Generator[Event, None, None]:
        """Run everything."""
        yield from self._note_no_room()
        while self.queue or any(slot.cell for slot in self.slots):
            for slot in self.slots:
                if slot.answer is None and self.queue:
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
                    grace, minutes = self.engine.grace, self.limits.minutes
                    text = f"killed: it was not done {grace:g} s after its time, --cell-minutes {minutes:g}"
                    yield from self._lose(slot, text, died=False)

    def stop(self) -> None:
        for slot in list(self.slots):
            self._dismiss(slot)

    def _note_no_room(self) -> Iterator[Event]:
        takes = {"CPU": self.engine.cpus, "GPU": self.engine.gpus}
        for node in self.ray.nodes():
            if node["Alive"] and all(node["Resources"].get(name, 0) >= count for name, count in takes.items()):
                return
        text = f"no node of the Ray cluster has {takes['CPU']:g} CPU and {takes['GPU']:g} GPU for a run: it waits"
        yield Event("note", self.queue[0], text=text)

    def _resize(self) -> None:
        """As many workers as there are runs for them, up to the limit, and not too many that still wait for room."""
        busy = sum(slot.cell is not None for slot in self.slots)
        wanted = min(self.engine.workers or math.inf, busy + min(len(self.queue), _AHEAD))
        for slot in [slot for slot in self.slots if slot.cell is None]:
            if len(self.slots) > wanted:
                self._dismiss(slot)
        while len(self.slots) < wanted:
            actor = self.worker.remote(self.limits, "cuda" if self.engine.gpus else "cpu")
            self.slots.append(_Slot(actor, actor.news.remote()))

    def _dismiss(self, slot: _Slot) -> None:
        self.slots.remove(slot)
        self.ray.kill(slot.actor)
        slot.end()

    def _give(self, slot: _Slot, cell: Cell) -> Event:
        folder, minutes = self.store.folder(cell), self.limits.minutes
        slot.cell, slot.rows = cell, slot.claim.enter_context(claimed(folder))
        slot.deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes + self.engine.grace
        files = {name: (folder / name).read_bytes() for name in stamps(folder)}
        data = [self.data[cell.task]]
        slot.answer = slot.actor.give.remote(cell, data, files, self.attempts.begin(cell))
        return Event("started", cell)

    def _listen(self, slot: _Slot) -> Generator[Event, None, None]:
        """Write down, and pass on, what its worker tells."""
        try:
            files, told = self.ray.get(slot.answer)
        except self.ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[-1]
            yield from self._lose(slot, f"its worker died ({shorten(reason, 200, placeholder=' ...')})")
            return
        slot.answer = None
        cell = slot.cell
        if cell is None:  # it has just started
            self.stillborn = 0
            return
        folder = self.store.folder(cell)
        _write(folder, files, slot.rows)
        for kind, row, text in told:
            if kind == "full":
                raise OSError(errno.ENOSPC, text)
            if kind in ENDS:
                slot.end()
            yield self.attempts.fail(cell, text) if kind == "failed" else Event(kind, cell, row, text)
        if slot.cell:
            slot.answer = slot.actor.news.remote()

    def _lose(self, slot: _Slot, text: str, died: bool = True) -> Generator[Event, None, None]:
        """Its worker is dead, or has to be."""
        cell = slot.cell
        self._dismiss(slot)
        if cell is None:
            self.stillborn += 1
            if self.stillborn == ATTEMPTS:
                raise ValueError(f"no worker starts on the Ray cluster; each node needs this rectified[study]: {text}")
            return
        event = self.attempts.lost(cell, text, again=died)
        if event.kind == "retry":
            self.queue.appendleft(cell)
        yield event


def _write(folder: Path, files: Files, rows: IO[str] | None) -> None:
    """Make a study's folder what its run's is on the node."""
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
