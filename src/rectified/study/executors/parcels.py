"""Runs, tasks and data on their way to other processes.

A user's own code travels by value (``cloudpickle``): a worker or a node need not be able to import a task's file, and a
script or a notebook needs no ``__main__`` guard.
"""

import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import torch

from ...workloads.tasks import BaseTask
from ..config.methods import Method
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

    def run(self, task: BaseTask) -> Run:
        """The run, unpacked."""
        return Run(task, self.method, self.lr, self.seed, self.epochs, self.batch_size)


def pack(value: Any) -> bytes:
    """The value as bytes that a process without the user's files can read."""
    return cloudpickle.dumps(value)  # type: ignore[no-any-return]


def unpack(content: bytes) -> Any:
    """The reverse of :func:`pack`."""
    return pickle.loads(content)


def write_shared(path: Path, task: BaseTask, data: Any) -> None:
    """Write a task and its data to a file that any number of workers map, so that tensors are in memory once."""
    content = io.BytesIO()  # to a file, torch.save would not report a full disk in words
    torch.save((task, data), content, pickle_module=cloudpickle, pickle_protocol=pickle.DEFAULT_PROTOCOL)
    path.write_bytes(content.getbuffer())


def read_shared(path: Path) -> tuple[BaseTask, Any]:
    """Map what :func:`write_shared` wrote. It unpickles: the file is one that the parent process has just written."""
    return torch.load(path, mmap=True, weights_only=False)  # type: ignore[no-any-return]
