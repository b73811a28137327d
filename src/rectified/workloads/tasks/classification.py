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
        images: how many there are to train on.
        cpu_tuning: whether the model is the reference model's faster form for CPUs, see :mod:`..models.cpu`.
    """

    options: ClassVar[tuple[str, ...]] = ("cpu_tuning", "loss_scale")

    images: int
    cpu_tuning: bool = True
    metric: str = "test_accuracy"
    metric_label: str = "test accuracy, %"
    larger_is_better: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.images < 1:
            raise ValueError(f"images is {self.images}; it must be at least 1")

    @property
    def largest_batch(self) -> int:
        return self.images

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
        order = torch.randperm(len(data.train_labels), generator=generator)
        for indices in torch.split(order, batch_size)[skip:]:
            yield self.pictures(data.train_images[indices]), data.train_labels[indices].long()

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        images, labels = batch
        return F.cross_entropy(model(images), labels)

    def evaluation(self, data: Any) -> Iterator[Batch]:
        """The test pictures, as bytes, and their labels, so many at a time as fit in memory."""
        images, labels = (torch.split(part, EVALUATED) for part in (data.test_images, data.test_labels.long()))
        return zip(images, labels, strict=True)

    def evaluate(self, model: nn.Module, data: Any) -> dict[str, float]:
        device = next(model.parameters()).device
        right, loss, count = 0, 0.0, 0
        for images, labels in self.evaluation(data):
            labels = labels.to(device)
            logits = model(self.pictures(images.to(device)))
            right += int((logits.argmax(1) == labels).sum())
            loss += float(F.cross_entropy(logits, labels, reduction="sum"))
            count += len(labels)
        return {"test_accuracy": 100 * right / count, "test_loss": loss / count}


def normalised(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Bytes as numbers whose mean is 0 and deviation 1 in every channel: [n, channels, height, width].

    Args:
        mean, std: of the channels, where 255 is 1.
    """
    floats = images.to(torch.float32)
    middle, unit = (torch.tensor(each, device=images.device).reshape(-1, 1, 1) for each in (mean, std))
    return floats.div_(255).sub_(middle).div_(unit)
