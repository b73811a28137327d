"""What tasks have in common whose model tells the class of a picture."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.images.pictures import Pictures
from .task import Task

Batch = tuple[Tensor, Tensor]
EVALUATED = 1000  # pictures at once


@dataclass(frozen=True, kw_only=True)
class Classification(Task):
    """Cross entropy in training, accuracy on the test pictures; all of them are in memory, as bytes.

    Attributes:
        images: how many there are to train on.
    """

    images: int
    metric: str = "test_accuracy"
    metric_label: str = "test accuracy, %"
    larger_is_better: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.images < 1:
            raise ValueError(f"images is {self.images}; it must be at least 1")

    def steps_per_epoch(self, batch_size: int) -> int:
        return -(-self.images // batch_size)

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
    """Bytes as numbers whose mean is 0 and deviation 1 in every channel: [n, channels, height, width], channels_last.

    Args:
        mean, std: of the channels, where 255 is 1.
    """
    floats = images.to(torch.float32, memory_format=torch.channels_last)
    middle, unit = (torch.tensor(each, device=images.device).reshape(-1, 1, 1) for each in (mean, std))
    return floats.div_(255).sub_(middle).div_(unit)
