"""The Ray actor that executes runs on a cluster's nodes, in its own temporary folders."""

import socket
import tempfile
import traceback
import warnings
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from queue import Empty, SimpleQueue
from stat import S_ISREG
from threading import Thread
from typing import Any

import torch

from ...files import FULL
from ...workloads.tasks import BaseTask
from ..execution import checkpoint
from ..execution.execute import execute
from ..execution.limits import Limits, TimeLimitError
from ..storage.records import Row
from ..storage.run_folder import is_ours
from .executor import ENDS, FAILURES, failure
from .parcels import Parcel, unpack

Report = tuple[Any, Row | None, str]
Files = dict[str, bytes | None]  # contents by name; None for a deleted file

_PATIENCE = 1.0  # seconds that a worker waits for news; a checkpoint is fetched after at most this long


class RayWorker:
    """An actor that executes runs one after another in a thread, and reports news when polled."""

    def __init__(self, limits: Limits, device: str) -> None:
        warnings.filterwarnings("ignore", message="the first momentum step")  # here it is the thing measured
        self.limits, self.device = limits, device
        self.workload: tuple[Any, tuple[BaseTask, Any] | None] = (None, None)
        self.reports: SimpleQueue[Report] = SimpleQueue()
        self.reports.put(("ready", None, ""))
        self.home: tempfile.TemporaryDirectory[str] | None = None
        self.seen: dict[str, tuple[int, ...]] = {}

    def give(self, parcel: bytes, workload: list[Any], files: Mapping[str, bytes]) -> tuple[Files, list[Report]]:
        """Start or resume a run; return the first news.

        Args:
            workload: the reference to the packed task and its data, in a list, since Ray resolves a bare reference at
                every call.
            files: the contents of the run's folder.
        """
        Thread(target=self._run, args=(parcel, workload[0], files), daemon=True).start()
        return self.news()

    def news(self) -> tuple[Files, list[Report]]:
        """Changed files and news since the last call; waits up to a second for any."""
        news: list[Report] = []
        with suppress(Empty):
            news.append(self.reports.get(timeout=_PATIENCE))
            while True:
                news.append(self.reports.get_nowait())
        files = self._changes(Path(self.home.name)) if self.home else {}
        if self.home and news and news[-1][0] in (*ENDS, *FAILURES, "full"):
            self.home.cleanup()
            self.home = None
        return files, news

    def _run(self, packed: bytes, workload: Any, files: Mapping[str, bytes]) -> None:
        torch.set_num_threads(1)  # of this thread
        try:
            home = tempfile.TemporaryDirectory(prefix="rectified-")
            folder = Path(home.name)
            for name, content in files.items():
                (folder / name).write_bytes(content)
            self.seen, self.home = stamps(folder), home
            if self.workload[0] != workload:
                self.workload = (workload, unpack(import_module("ray").get(workload)))
            assert self.workload[1] is not None
            task, data = self.workload[1]
            parcel: Parcel = unpack(packed)
            for progress in execute(parcel.run(task), data, folder, parcel.attempt, self.limits, self.device):
                self.reports.put((progress.kind, progress.row, progress.text))
        except TimeLimitError as error:
            self.reports.put(("failed", None, str(error)))
        except BaseException as error:  # SystemExit would end this thread silently
            if isinstance(error, OSError) and error.errno in FULL:
                self.reports.put(("full", None, f"{error.strerror}, on node {socket.gethostname()}"))
            else:
                self.reports.put((failure(error), None, traceback.format_exc()))

    def _changes(self, folder: Path) -> Files:
        now = stamps(folder)
        files: Files = {name: None for name in self.seen if name not in now}
        # Read the checkpoint first: TensorBoard's files may hold more than it covers, but not less.
        for name in sorted(now, key=lambda name: name != checkpoint.NAME):
            if now[name] != self.seen.get(name):
                with suppress(FileNotFoundError):
                    files[name] = (folder / name).read_bytes()
        self.seen = now
        return files


def stamps(folder: Path) -> dict[str, tuple[int, ...]]:
    """A stamp for each of this program's files that changes with its content; temporary files are left out."""
    found: dict[str, tuple[int, ...]] = {}
    for path in folder.glob("[!.]*"):
        with suppress(FileNotFoundError):
            stat = path.lstat()
            if is_ours(path.name) and S_ISREG(stat.st_mode):
                found[path.name] = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    return found
