"""What the study asks of a task."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """A model, its data and its measure.

    Attributes:
        name: as on the command line.
        title: as in a report.
        metric: the measure's name in results.csv, and ``metric_label`` on an axis: a name, or "name, unit".
        larger_is_better: of the metric.
        margin: how much worse the metric may be and still be as good for practical purposes, in its own unit.
        methods, lrs, seeds, epochs, batch_size: what a study takes where no flag says otherwise.
        loss_scale: what the loss is multiplied by before its gradient is taken; the loss told is without it. For what
            an optimizer does with large raw gradients.
        options: the names of the attributes that may be set in parentheses after the name.
    """

    options: ClassVar[tuple[str, ...]] = ("loss_scale",)

    name: str
    title: str
    metric: str
    metric_label: str
    larger_is_better: bool
    methods: str
    lrs: tuple[float, ...]
    seeds: tuple[int, ...]
    epochs: int
    batch_size: int
    margin: float = 1.0
    loss_scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.loss_scale < math.inf:
            raise ValueError(f"loss_scale is {self.loss_scale!r}; it must be a positive number")
        if not 0 < self.margin < math.inf:
            raise ValueError(f"margin is {self.margin!r}; it must be a positive number")

    @abstractmethod
    def find(self, folder: Path | None, say: Say, fetch: bool = True) -> Path:
        """The folder with the verified data, fetched if need be and `fetch`; called once, before any run.

        Raises:
            DataNotFoundError: the data is nowhere to be had.
        """

    @abstractmethod
    def load(self, folder: Path) -> Any:
        """The data, resident in memory; called once in each worker."""

    @abstractmethod
    def steps_per_epoch(self, batch_size: int) -> int: ...

    @abstractmethod
    def model(self) -> nn.Module:
        """The model, initialised from torch's global generator, which is also what it may draw from in training.

        What it remembers from step to step is in its state_dict: a run goes on from that.
        """

    @abstractmethod
    def batches(self, data: Any, batch_size: int, generator: torch.Generator, skip: int = 0) -> Iterator[Any]:
        """One epoch of training batches, in the generator's order, without the work of the first `skip` of them.

        An epoch may thus go on in its middle: what is drawn comes from `generator` alone, all of it before the first
        batch, however many are skipped.
        """

    @abstractmethod
    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """A mean over the batch's examples: several ranks weight their parts by the numbers of these."""

    @abstractmethod
    def evaluate(self, model: nn.Module, data: Any) -> dict[str, float]:
        """The metric by its name, and ``test_loss``: on the model's device; the data is where `load` put it."""
