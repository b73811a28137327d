"""What a study will run: the grid of methods, learning rates and seeds as cells, before anything runs."""

import hashlib
import json
import math
import re
import shlex
from dataclasses import asdict, dataclass

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
        ]
        return shlex.join(["rectified", "study", self.task, *axes])

    def __str__(self) -> str:
        return f"{self.method} lr {self.lr:g} seed {self.seed}"


@dataclass(frozen=True)
class Plan:
    """A grid of cells on one task.

    Raises:
        ValueError: an axis is empty, holds a value twice or one out of its range.
    """

    task: str
    methods: tuple[Method, ...]
    lrs: tuple[float, ...]
    seeds: tuple[int, ...]
    epochs: int
    batch_size: int

    def __post_init__(self) -> None:
        names = tuple(method.name for method in self.methods)
        for flag, values in (("--methods", names), ("--lrs", self.lrs), ("--seeds", self.seeds)):
            if not values:
                raise ValueError(f"{flag} is empty; name at least one")
            for value in values:
                if values.count(value) > 1:
                    raise ValueError(f"{flag} holds {value} twice")
        for lr in self.lrs:
            if not 0 < lr < math.inf:
                raise ValueError(f"--lrs holds {lr}; a learning rate is a positive number")
        if self.epochs < 1:
            raise ValueError(f"--epochs is {self.epochs}; it must be at least 1")

    def cells(self) -> list[Cell]:
        """Every run, method by method, lr by lr, seed by seed."""
        return [
            Cell(self.task, method.name, lr, seed, self.epochs, self.batch_size)
            for method in self.methods
            for lr in (self.lrs if method.lr is None else (method.lr,))
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
