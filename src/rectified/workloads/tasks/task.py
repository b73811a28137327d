"""What a study asks of a task."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...messages import shown
from ..batches import examples
from .lr_decay import NO_DECAY, LrSchedule

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class BaseTask(ABC):
    """A model, its data and its measure: what a study asks of every task.

    To compare methods on a model and data of your own, write a :class:`~.user_task.Task`, which needs no subclass.

    Attributes:
        name: as on the command line.
        title: as in a report.
        metric: the measure's name in results.csv, and ``metric_label`` on an axis: a name, or "name, unit".
        compared: what methods are compared by, if not by the metric: its name in results.csv, and label. A perplexity
            is skewed over seeds, its logarithm is not. Only the last epoch needs to have measured it.
        larger_is_better: of both.
        margin: how much worse what is compared may be and still be as good for practical purposes, in its own unit.
        methods, lrs, seeds, epochs, batch_size: what a study takes where no flag says otherwise; methods by name.
        weight_decay: of every method that has none of its own: decoupled, but SGD's is in its gradient, as is usual.
        clip: the norm to which gradients are clipped; infinite for none.
        schedule: the factor on the lr as the run goes on.
        averaged: how many epochs at the end the weights are averaged over for :meth:`final`.
        loss_scale: a factor on the loss before its gradient is taken, to see what an optimizer does with large raw
            gradients; the reported loss is without it.
        version: a digest of the user's file that the task comes from, which is part of a run's identity; empty for a
            built-in task.
        written_as: what ``rectified study`` takes for the task where that is not its name: ``my_task.py:NAME``.
        resumable: whether an epoch can be entered in its middle. If not, checkpoints are written only at the end of an
            epoch, and a run that goes on begins its epoch again.
        options: the names of the attributes that may be set in parentheses after the name.

    Raises:
        ValueError: loss_scale, margin, clip or weight_decay is outside its range.
    """

    options: ClassVar[tuple[str, ...]] = ("loss_scale",)

    name: str
    title: str
    metric: str
    metric_label: str
    larger_is_better: bool
    methods: tuple[str, ...]
    lrs: tuple[float, ...]
    seeds: tuple[int, ...]
    epochs: int
    batch_size: int
    compared: tuple[str, str] | None = None
    margin: float = 1.0
    weight_decay: float = 0.0
    clip: float = math.inf
    schedule: LrSchedule = NO_DECAY
    averaged: int = 1
    loss_scale: float = 1.0
    version: str = ""
    written_as: str = field(default="", compare=False)
    resumable: bool = True

    def __post_init__(self) -> None:
        for name in ("loss_scale", "margin"):
            if not (_is_number(getattr(self, name)) and 0 < getattr(self, name) < math.inf):
                raise ValueError(f"{name} is {shown(getattr(self, name))}; it must be a positive number")
        if not (_is_number(self.clip) and self.clip > 0):
            raise ValueError(f"clip is {shown(self.clip)}; it must be a positive number")
        if not (_is_number(self.weight_decay) and 0 <= self.weight_decay < math.inf):
            raise ValueError(f"weight_decay is {shown(self.weight_decay)}; it must be 0 or a positive number")

    @property
    def spec(self) -> str:
        """The text that names this task to :func:`rectified.workloads.tasks.parse_task`."""
        return self.written_as or self.name

    @property
    def chance(self) -> float | None:
        """What methods are compared by, in its own unit, of a model that has learned nothing; None if unknown.

        A run that diverged, or failed for reasons of its own, counts as having ended there.
        """
        return None

    @property
    def chosen_by(self) -> tuple[str, str] | None:
        """What an lr is chosen by, where that is measured on another split than what methods are compared by.

        Its name in results.csv, and label; the better direction is the same. None where there is no other split.
        """
        return None

    @property
    def largest_batch(self) -> int | None:
        """The number of training examples, where it is known before the data is loaded: no batch can have more."""
        return None

    def titled(self, options: Mapping[str, Any]) -> str:
        """The title of this task with other values of some of its options."""
        return ", ".join([self.title, *(_in_words(name, value) for name, value in options.items())])

    def options_of(self, folder: Path) -> dict[str, Any]:
        """The options that the data in a user's folder decide: what identifies them, if any data will do.

        Raises:
            DataNotFoundError: the folder holds such data, and something is wrong with it.
        """
        return {}

    @property
    def final_metrics(self) -> tuple[tuple[str, str], ...]:
        """What :meth:`final` measures, but for what is compared: names in results.csv, labels: ``("bleu", "BLEU")``."""
        return ()

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
    def model(self, data: Any) -> nn.Module:
        """The model, initialised from torch's global generator, which is also what it may draw from in training.

        What it remembers from step to step is in its state_dict: a run goes on from that. Of the data it may ask its
        sizes.
        """

    @abstractmethod
    def batches(self, data: Any, batch_size: int, generator: torch.Generator, skip: int = 0) -> Iterator[Any]:
        """One epoch of training batches, in the generator's order, without the work of the first `skip` of them.

        An epoch may thus go on in its middle: what is drawn comes from `generator` alone, all of it before the first
        batch, however many are skipped.
        """

    @abstractmethod
    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """A mean over the batch's examples, or over what `weight` counts."""

    def weight(self, batch: Any) -> int:
        """How many things the loss is a mean over: several ranks weight their parts of a batch by that.

        Raises:
            ValueError: no tensor in the batch has a dimension.
        """
        return examples(batch)

    @abstractmethod
    def evaluate(self, model: nn.Module, data: Any) -> dict[str, float]:
        """The metric by its name, and ``test_loss``: on the model's device; the data is where `load` put it."""

    def final(self, model: nn.Module, data: Any) -> dict[str, float]:
        """What is measured once, after the last epoch, of the mean of the last `averaged` epochs' weights."""
        return {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _in_words(name: str, value: Any) -> str:
    """An option, for a title.

    >>> _in_words("loss_scale", 1000.0), _in_words("bleu", True), _in_words("norm", "pre")
    ('loss scale 1000', 'bleu', 'norm pre')
    """
    words = name.replace("_", " ")
    if isinstance(value, bool):
        return words if value else f"no {words}"
    return f"{words} {value:g}" if isinstance(value, float) else f"{words} {value}"
