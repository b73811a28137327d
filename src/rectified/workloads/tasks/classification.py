"""What image classification tasks have in common."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.images.pictures import Pictures
from ..models import cpu
from .task import BaseTask

Batch = tuple[Tensor, Tensor]
EVALUATED = 1000  # pictures at once


@dataclass(frozen=True, kw_only=True)
class Classification(BaseTask):
    """Cross entropy in training, accuracy on the test pictures; all of them are in memory, as bytes.

    Attributes:
        validation: so many training pictures are held out and never trained on, and an lr is chosen by the accuracy on
            them; 0 is none. They are the same for every seed: pictures 0, n / N, 2 n / N, ... of n, rounded down.
        images: how many there are to train on.
        classes: how many there are in the published data set.
        cpu_tuning: whether the model is the reference model's faster form for CPUs, see :mod:`..models.cpu`.
    """

    options: ClassVar[tuple[str, ...]] = ("cpu_tuning", "loss_scale", "validation")

    images: int
    validation: int = 0
    classes: int = 10
    cpu_tuning: bool = True
    metric: str = "test_accuracy"
    metric_label: str = "test accuracy, %"
    larger_is_better: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.images < 1:
            raise ValueError(f"images is {self.images}; it must be at least 1")
        if self.validation and "validation" not in self.options:
            raise ValueError(f"validation is {self.validation}; {self.name} holds no training pictures out")
        if not 0 <= self.validation < self.images:
            raise ValueError(
                f"validation is {self.validation}; it must be from 1 to {self.images - 1}, so that pictures to train "
                "on are left, or 0 to hold none out"
            )

    @property
    def chance(self) -> float | None:
        """The accuracy of a guess, in percent: all classes have as many test pictures."""
        return 100 / self.classes

    @property
    def chosen_by(self) -> tuple[str, str] | None:
        return ("valid_accuracy", "validation accuracy, %") if self.validation else None

    @property
    def largest_batch(self) -> int:
        return self.images - self.validation

    def split(self, count: int) -> tuple[Tensor, Tensor]:
        """Which of so many training pictures are trained on, and which are held out: their numbers, ascending."""
        out = torch.arange(self.validation) * count // max(1, self.validation)
        trained = torch.ones(count, dtype=torch.bool)
        trained[out] = False
        return trained.nonzero().flatten(), out

    def steps_per_epoch(self, batch_size: int) -> int:
        return -(-self.largest_batch // batch_size)

    @abstractmethod
    def reference(self, data: Any) -> nn.Module:
        """The model made of torch.nn modules, initialized from torch's global generator."""

    def model(self, data: Any) -> nn.Module:
        """:meth:`reference`, tuned for a CPU if the task's option says so: same parameters, same function."""
        model = self.reference(data)
        return cpu.tuned(model) if self.cpu_tuning else model

    @abstractmethod
    def pictures(self, images: Tensor) -> Tensor:
        """Bytes as the model wants them: normalised, [n, channels, height, width]."""

    def batches(self, data: Pictures, batch_size: int, generator: torch.Generator, skip: int = 0) -> Iterator[Batch]:
        trained, _ = self.split(len(data.train_labels))
        order = trained[torch.randperm(len(trained), generator=generator)]
        for indices in torch.split(order, batch_size)[skip:]:
            yield self.pictures(data.train_images[indices]), data.train_labels[indices].long()

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        images, labels = batch
        return F.cross_entropy(model(images), labels)

    def evaluation(self, data: Any) -> Iterator[Batch]:
        """The test pictures, as bytes, and their labels, so many at a time as fit in memory."""
        images, labels = (torch.split(part, EVALUATED) for part in (data.test_images, data.test_labels.long()))
        return zip(images, labels, strict=True)

    def held_out(self, data: Any) -> Iterator[Batch]:
        """The pictures that are held out of training, as :meth:`evaluation` has those of the test."""
        _, out = self.split(len(data.train_labels))
        for which in torch.split(out, EVALUATED):
            yield data.train_images[which], data.train_labels[which].long()

    def evaluate(self, model: nn.Module, data: Any) -> dict[str, float]:
        """``test_accuracy`` and ``test_loss``; ``valid_accuracy`` and ``valid_loss`` where pictures are held out."""
        accuracy, loss = self._over(model, self.evaluation(data))
        found = {"test_accuracy": accuracy, "test_loss": loss}
        if self.validation:
            found["valid_accuracy"], found["valid_loss"] = self._over(model, self.held_out(data))
        return found

    def _over(self, model: nn.Module, batches: Iterator[Batch]) -> tuple[float, float]:
        """Accuracy in percent, and mean loss."""
        device = next(model.parameters()).device
        right, loss, count = 0, 0.0, 0
        for images, labels in batches:
            labels = labels.to(device)
            logits = model(self.pictures(images.to(device)))
            right += int((logits.argmax(1) == labels).sum())
            loss += float(F.cross_entropy(logits, labels, reduction="sum"))
            count += len(labels)
        return 100 * right / count, loss / count


def normalised(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Bytes as numbers whose mean is 0 and deviation 1 in every channel: [n, channels, height, width].

    Args:
        mean, std: of the channels, where 255 is 1.
    """
    floats = images.to(torch.float32)
    middle, unit = (torch.tensor(each, device=images.device).reshape(-1, 1, 1) for each in (mean, std))
    return floats.div_(255).sub_(middle).div_(unit)
