"""Serialization of runs, tasks and data for other processes.

A user's code is pickled by value (``cloudpickle``): workers and nodes need not import a task's file, and scripts and
notebooks need no ``__main__`` guard.
"""

import io
import os
import pickle
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import torch

from ...messages import shown
from ...workloads.tasks import BaseTask
from ...workloads.user_code import users_code
from ..config.method import Method
from ..config.runs import Run


@dataclass(frozen=True)
class Parcel:
    """A serialized run for a worker, without its task, which the worker receives together with the data.

    Attributes:
        folder: the run's folder; not used if the worker has its own.
        attempt: the number of the attempt, from 1.
    """

    method: Method
    lr: float
    seed: int
    epochs: int
    batch_size: int
    folder: Path
    attempt: int

    @classmethod
    def of(cls, run: Run, folder: Path, attempt: int) -> "Parcel":
        """Pack a run."""
        return cls(run.method, run.lr, run.seed, run.epochs, run.batch_size, folder, attempt)

    def packed(self) -> bytes:
        """Serialize the parcel to bytes.

        Raises:
            ValueError: the user's optimizer or warmup cannot be pickled.
        """
        with users_code(f"method {shown(self.method.name)} cannot be sent to another process"):
            return pack(self)

    def run(self, task: BaseTask) -> Run:
        """Rebuild the run with its task."""
        return Run(task, self.method, self.lr, self.seed, self.epochs, self.batch_size)


def pack(value: Any) -> bytes:
    """Serialize a value to bytes that a process without the user's files can read."""
    return cloudpickle.dumps(value)  # type: ignore[no-any-return]


def unpack(content: bytes) -> Any:
    """Deserialize what :func:`pack` serialized."""
    return pickle.loads(content)


def write_shared(folder: Path, task: BaseTask, data: Any) -> int:
    """Write a task and its data to an unnamed file that any number of workers map, so tensors are in memory once.

    The file has no name because workers unpickle it, and anybody who can write to the folder could replace a named one.
    It disappears when every process that has it open has ended, for whatever reason.

    Args:
        folder: a folder on the disk that will hold the file.

    Returns:
        The file's descriptor, for the caller to close.

    Raises:
        ValueError: one of the user's objects cannot be pickled.
        OSError: the disk is full, or the folder cannot be written.
    """
    content = io.BytesIO()  # writing to a file, torch.save would not report a full disk clearly
    with users_code(f"task {shown(task.name)} cannot be sent to another process"):
        torch.save((task, data), content, pickle_module=cloudpickle, pickle_protocol=pickle.DEFAULT_PROTOCOL)
    folder.mkdir(parents=True, exist_ok=True)  # it may have been removed while the data was loaded
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file, content.getbuffer() as left:
        while left:
            left = left[file.write(left) :]
        return os.dup(file.fileno())


def read_shared(path: Path) -> tuple[BaseTask, Any]:
    """Load a task and memory-map the data that :func:`write_shared` wrote.

    Args:
        path: from :func:`own_path` or :func:`path_for_children`; nobody else can put a file at such a path.
    """
    return torch.load(path, mmap=True, weights_only=False)  # type: ignore[no-any-return]


def own_path(descriptor: int) -> Path:
    """A path at which this process can reopen a file that it has open."""
    return Path(f"/dev/fd/{descriptor}")


@contextmanager
def path_for_children(descriptor: int) -> Iterator[Path]:
    """A path at which child processes can open a file that this process has open: the file or a private copy."""
    path = Path(f"/proc/{os.getpid()}/fd/{descriptor}")
    if path.exists():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="rectified-") as private:  # macOS has no such path
        copy = Path(private, "shared")
        shutil.copyfile(own_path(descriptor), copy)
        yield copy
