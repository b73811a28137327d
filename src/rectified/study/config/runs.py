"""What a study will run: the grid of methods, learning rates and seeds as cells, before anything runs."""

import hashlib
import json
import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .methods import Method


def slug(name: str) -> str:
    """The name of a method or a task as a folder's.

    >>> slug("radam(beta2=0.95)")
    'radam-beta2-0.95'
    """
    return re.sub(r"[^a-z0-9.+-]+", "-", name).strip("-")


@dataclass(frozen=True)
class Cell:
    """One run: everything that determines its result."""

    task: str
    method: str
    lr: float
    seed: int
    epochs: int
    batch_size: int

    @property
    def id(self) -> str:
        """A stable name for its folder: the method, to be found by eye, and a hash of the whole configuration."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        return slug(self.method)[:40] + "-" + digest[:10]

    @property
    def command(self) -> str:
        """The call that repeats this run alone."""
        axes = [
            "--methods",
            self.method,
            "--lrs",
            repr(self.lr),
            "--seeds",
            str(self.seed),
            "--epochs",
            str(self.epochs),
            "--batch-sizes",
            str(self.batch_size),
        ]
        return shlex.join(["rectified", "study", self.task, *axes])

    def __str__(self) -> str:
        return f"{self.method} lr {self.lr:g} seed {self.seed}"


def once(flag: str, values: Sequence[Any]) -> None:
    """Raise ValueError, with the flag, unless there are values, each of them once."""
    if not values:
        raise ValueError(f"{flag} is empty; name at least one")
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{flag} holds {value} twice")


@dataclass(frozen=True)
class Plan:
    """A grid of cells on one task at one batch size.

    Raises:
        ValueError: an axis is empty, holds a value twice or one out of its range; begins with the flag.
    """

    task: str
    methods: tuple[Method, ...]
    lrs: tuple[float, ...]
    seeds: tuple[int, ...]
    epochs: int
    batch_size: int

    def __post_init__(self) -> None:
        once("--methods", [method.name for method in self.methods])
        once("--lrs", self.lrs)
        once("--seeds", self.seeds)
        for lr in self.lrs:
            if not 0 < lr < math.inf:
                raise ValueError(f"--lrs holds {lr}; a learning rate is a positive number")
        self._refuse_twins()
        if self.epochs < 1:
            raise ValueError(f"--epochs is {self.epochs}; it must be at least 1")
        if self.batch_size < 1:
            raise ValueError(f"--batch-sizes holds {self.batch_size}; it must be at least 1")

    def _refuse_twins(self) -> None:
        """Two names may mean the same runs, such as adam and adam(eps=1e-8)."""
        for i, method in enumerate(self.methods):
            for other in self.methods[:i]:
                shared = [lr for lr in self._lrs(method) if lr in self._lrs(other)]
                if shared and method.same_as(other):
                    raise ValueError(
                        f"--methods holds {other.name} and {method.name}, the same at lr {shared[0]:g}; name one"
                    )

    def _lrs(self, method: Method) -> tuple[float, ...]:
        return self.lrs if method.lr is None else (method.lr,)

    def cells(self) -> list[Cell]:
        """Every run, method by method, lr by lr, seed by seed."""
        return [
            Cell(self.task, method.name, lr, seed, self.epochs, self.batch_size)
            for method in self.methods
            for lr in self._lrs(method)
            for seed in self.seeds
        ]

    def unfinished_warmups(self, steps: int) -> dict[str, float]:
        """Methods whose warmup is longer than a run of that many steps, with the omega at which the run ends.

        A warmup counts as over where omega reaches 0.9: RAdam's and the exponential one never quite reach 1.
        """
        return {
            method.name: method.omega(steps)
            for method in self.methods
            if (warm := method.warm_at()) is None or warm > steps
        }
