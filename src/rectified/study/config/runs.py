"""One run of a study, and the names and numbers that identify it."""

import hashlib
import json
import re
import shlex
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from ...workloads.tasks import BaseTask
from .method import Method


def slug(name: str) -> str:
    """A method's or task's name in a form that suits a folder name.

    >>> slug("radam(beta2=0.95)")
    'radam-beta2-0.95'
    """
    return re.sub(r"[^a-z0-9.+-]+", "-", name).strip("-")


def short_digest(text: str) -> str:
    """Ten hexadecimal digits that distinguish texts with the same slug.

    >>> short_digest("adam")
    'f7f376a1fc'
    """
    return hashlib.sha256(text.encode()).hexdigest()[:10]


@dataclass(frozen=True)
class RunKey:
    """The identity of a run: the names and numbers that records and files use.

    Attributes:
        version: a digest of the file that a user's task comes from; empty for a task of this package.
    """

    task: str
    method: str
    lr: float
    seed: int
    epochs: int
    batch_size: int
    version: str = ""

    @property
    def id(self) -> str:
        """A stable folder name for the run: its method, lr and seed for readers, and a hash of the full key."""
        return f"{slug(self.method)[:40]}-lr{self.lr:g}-seed{self.seed}-{self._digest}"

    @property
    def old_id(self) -> str:
        """The run's folder name in studies of earlier versions, which have cells/ instead of runs/."""
        return f"{slug(self.method)[:40]}-{self._digest}"

    @property
    def _digest(self) -> str:
        return short_digest(json.dumps(self.as_dict(), sort_keys=True))

    def as_dict(self) -> dict[str, Any]:
        """The key as JSON; without a version if it is empty, as in folders of earlier versions."""
        return {name: value for name, value in asdict(self).items() if name != "version" or value}

    def __str__(self) -> str:
        return f"{self.method} lr {self.lr:g} seed {self.seed}"


@dataclass(frozen=True)
class Run:
    """One training run: a task's model, trained by one method at one lr from one seed."""

    task: BaseTask
    method: Method
    lr: float
    seed: int
    epochs: int
    batch_size: int

    @cached_property
    def key(self) -> RunKey:
        """The run's identity."""
        task, method = self.task, self.method
        return RunKey(task.name, method.name, self.lr, self.seed, self.epochs, self.batch_size, task.version)

    @property
    def steps(self) -> int:
        """The total number of steps in the run."""
        return self.epochs * self.task.steps_per_epoch(self.batch_size)

    @property
    def command(self) -> str:
        """The command that repeats this run alone."""
        axes = {
            "--methods": self.method.name,
            "--lrs": repr(self.lr),
            "--seeds": str(self.seed),
            "--epochs": str(self.epochs),
            "--batch-sizes": str(self.batch_size),
        }
        return shlex.join(["rectified", "study", self.task.spec, *(word for axis in axes.items() for word in axis)])
