"""The base class of tasks: what a study requires of them."""

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
    """A model, its data and its metrics: what a study requires of every task.

    To compare methods on a model and data of your own, write a :class:`~.user_task.Task`, which needs no subclass.

    Attributes:
        name: its name on the command line.
        title: its title in reports.
        metric: the metric's name in results.csv, and ``metric_label`` on an axis: a name, or "name, unit".
        compared: the metric that methods are compared by, if another one: its name in results.csv, and its label. For
            example, a perplexity is skewed over seeds, but its logarithm is not. Only the last epoch must measure it.
        larger_is_better: the direction of both metrics.
        margin: differences smaller than this do not matter in practice, in the compared metric's unit.
        methods, lrs, seeds, epochs, batch_size: the defaults of a study; methods by name.
        weight_decay: for every method that does not set its own: decoupled, except for SGD, as usual.
        clip: the norm to which gradients are clipped; infinite for no clipping.
        schedule: the factor on the lr over the run.
        averaged: the number of final epochs over which weights are averaged for :meth:`final`.
        loss_scale: multiplies the loss before backward, to see what an optimizer does with large raw gradients; the
            reported loss is without it.
        version: a digest of the user's file that the task comes from, which is part of a run's identity; empty for a
            built-in task.
        written_as: the task on the command line of ``rectified study``, if not its name: ``my_task.py:NAME``.
        resumable: whether an epoch can be resumed in the middle. If not, checkpoints are written only at the end of an
            epoch, and a resumed run restarts its epoch.
        options: the names of attributes that may be set in parentheses after the name.

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
        """The text that :func:`rectified.workloads.tasks.parse_task` parses to this task."""
        return self.written_as or self.name

    @property
    def chance(self) -> float | None:
        """The compared metric of a model that has learned nothing; None if unknown.

        A run that diverged or failed in its own code counts as having ended there.
        """
        return None

    @property
    def chosen_by(self) -> tuple[str, str] | None:
        """The metric that chooses an lr, if it is measured on another split than the compared metric.

        Its name in results.csv and its label; the direction is the same. None if there is no other split.
        """
        return None

    @property
    def largest_batch(self) -> int | None:
        """The number of training examples, if known before the data is loaded; no batch can be larger."""
        return None

    def titled(self, options: Mapping[str, Any]) -> str:
        """The title of this task with other values for some options."""
        return ", ".join([self.title, *(_in_words(name, value) for name, value in options.items())])

    def options_of(self, folder: Path) -> dict[str, Any]:
        """The options that identify the data in a user's folder, if the task accepts any data.

        Raises:
            DataNotFoundError: the folder holds such data, but something is wrong with it.
        """
        return {}

    @property
    def final_metrics(self) -> tuple[tuple[str, str], ...]:
        """Names and labels of what :meth:`final` measures besides the compared metric: ``("bleu", "BLEU")``."""
        return ()

    @abstractmethod
    def find(self, folder: Path | None, say: Say, fetch: bool = True) -> Path:
        """Find the folder with the verified data, fetching it if needed and `fetch`; called once, before any run.

        Raises:
            DataNotFoundError: the data is not here and cannot be fetched.
        """

    @abstractmethod
    def load(self, folder: Path) -> Any:
        """Load the data into memory; called once in each worker."""

    def on_device(self, data: Any, device: torch.device) -> Any:
        """The data where :meth:`batches` and :meth:`evaluate` of a run on `device` read it; here, unchanged.

        A task whose data fits into a GPU's memory moves it there once, so that no step waits for a copy.
        """
        return data

    @abstractmethod
    def steps_per_epoch(self, batch_size: int) -> int: ...

    @abstractmethod
    def model(self, data: Any) -> nn.Module:
        """A new model, initialized from torch's global generator, from which it may also draw in training.

        State that it keeps between steps must be in its state_dict, from which a run resumes. It may use the sizes of
        the data.
        """

    @abstractmethod
    def batches(self, data: Any, batch_size: int, generator: torch.Generator, skip: int = 0) -> Iterator[Any]:
        """The training batches of one epoch, in the generator's order, skipping the first `skip` cheaply.

        This resumes an epoch in the middle: all random numbers come from `generator` and are drawn before the first
        batch, regardless of `skip`.
        """

    @abstractmethod
    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """The mean loss over the batch's examples, or over what :meth:`weight` counts."""

    def weight(self, batch: Any) -> int:
        """The number of items that the loss is a mean over, by which ranks weight their parts of a batch.

        Raises:
            ValueError: no tensor in the batch has a dimension.
        """
        return examples(batch)

    @abstractmethod
    def evaluate(self, model: nn.Module, data: Any) -> dict[str, float]:
        """Measure the metric and ``test_loss`` on the model's device; the data is what :meth:`on_device` returned."""

    def final(self, model: nn.Module, data: Any) -> dict[str, float]:
        """Measure the final metrics, once after the last epoch, with the mean weights of the last `averaged` epochs."""
        return {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _in_words(name: str, value: Any) -> str:
    """An option in words, for a title.

    >>> _in_words("loss_scale", 1000.0), _in_words("bleu", True), _in_words("norm", "pre")
    ('loss scale 1000', 'bleu', 'norm pre')
    """
    words = name.replace("_", " ")
    if isinstance(value, bool):
        return words if value else f"no {words}"
    return f"{words} {value:g}" if isinstance(value, float) else f"{words} {value}"
