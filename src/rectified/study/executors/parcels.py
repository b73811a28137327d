"""Runs, tasks and data on their way to other processes.

A user's own code travels by value (``cloudpickle``): a worker or a node need not be able to import a task's file, and a
script or a notebook needs no ``__main__`` guard.
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
    """A run on its way to a worker, without its task, which the worker has together with the data.

    Attributes:
        folder: the run's; where the worker has one of its own, it is not used.
        attempt: counts from 1.
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
        """The run, packed."""
        return cls(run.method, run.lr, run.seed, run.epochs, run.batch_size, folder, attempt)

    def packed(self) -> bytes:
        """The parcel as bytes.

        Raises:
            ValueError: the user's optimizer or warmup cannot be pickled.
        """
        with users_code(f"method {shown(self.method.name)} cannot be sent to another process"):
            return pack(self)

    def run(self, task: BaseTask) -> Run:
        """The run, unpacked."""
        return Run(task, self.method, self.lr, self.seed, self.epochs, self.batch_size)


def pack(value: Any) -> bytes:
    """The value as bytes that a process without the user's files can read."""
    return cloudpickle.dumps(value)  # type: ignore[no-any-return]


def unpack(content: bytes) -> Any:
    """The reverse of :func:`pack`."""
    return pickle.loads(content)


def write_shared(folder: Path, task: BaseTask, data: Any) -> int:
    """Write a task and its data to a file that any number of workers map, so that tensors are in memory once.

    The file has no name: workers unpickle what is in it, and whoever may write to the folder could put another in its
    place. It is gone once every process that has it open has ended, however that ends.

    Args:
        folder: on the disk that is to hold it.

    Returns:
        The file's descriptor, for the caller to close.

    Raises:
        ValueError: something of the user's cannot be pickled.
        OSError: the disk is full, or the folder cannot be written.
    """
    content = io.BytesIO()  # to a file, torch.save would not report a full disk in words
    with users_code(f"task {shown(task.name)} cannot be sent to another process"):
        torch.save((task, data), content, pickle_module=cloudpickle, pickle_protocol=pickle.DEFAULT_PROTOCOL)
    folder.mkdir(parents=True, exist_ok=True)  # it may have been removed while the data was loaded
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file, content.getbuffer() as left:
        while left:
            left = left[file.write(left) :]
        return os.dup(file.fileno())


def read_shared(path: Path) -> tuple[BaseTask, Any]:
    """Map what :func:`write_shared` wrote.

    Args:
        path: from :func:`own_path` or :func:`path_for_children`; nobody else can put a file there.
    """
    return torch.load(path, mmap=True, weights_only=False)  # type: ignore[no-any-return]


def own_path(descriptor: int) -> Path:
    """Where this process can open a file again that it has open."""
    return Path(f"/dev/fd/{descriptor}")


@contextmanager
def path_for_children(descriptor: int) -> Iterator[Path]:
    """Where the processes that this one starts can open a file that it has open: the file, or a private copy of it."""
    path = Path(f"/proc/{os.getpid()}/fd/{descriptor}")
    if path.exists():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="rectified-") as private:  # macOS has no such path
        copy = Path(private, "shared")
        shutil.copyfile(own_path(descriptor), copy)
        yield copy
