"""The base of image classification tasks."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...messages import shown
from ..data.images.pictures import Pictures
from ..models import cpu, cuda_graph
from .task import BaseTask

Batch = tuple[Tensor, Tensor]
EVALUATED = 1000  # pictures at once
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class Classification(BaseTask):
    """An image classification task with cross entropy and test accuracy, whose pictures are in memory as bytes.

    On a GPU they are in its memory, and batches are made there. What is random is drawn on the CPU in either case, so a
    seed has the same pictures in the same order on both.

    Attributes:
        autocast: the precision of the model's convolutions and matrix products in training: ``float32``, or
            ``bfloat16`` by torch.autocast. Weights, the loss and the evaluation stay float32.
        validation: the number of training pictures that are held out, by whose accuracy an lr is chosen; 0 for none.
            They are the same for every seed: pictures 0, n / N, 2 n / N, ... of n, rounded down.
        images: the number of training pictures.
        classes: the number of classes in the published data set.
        cpu_tuning: whether to use the model's faster form for CPUs, see :mod:`..models.cpu`. A ResNet is in
            channels_last then, also on a GPU.
        cuda_graph: whether training on a GPU replays a CUDA graph, see :mod:`..models.cuda_graph`.
    """

    options: ClassVar[tuple[str, ...]] = ("autocast", "cpu_tuning", "cuda_graph", "loss_scale", "validation")

    images: int
    autocast: str = "float32"
    validation: int = 0
    classes: int = 10
    cpu_tuning: bool = True
    cuda_graph: bool = False
    metric: str = "test_accuracy"
    metric_label: str = "test accuracy, %"
    larger_is_better: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.autocast not in PRECISIONS:
            raise ValueError(
                f"autocast is {shown(self.autocast)}; it must be bfloat16, or float32, which is without autocast"
            )
        if self.images < 1:
            raise ValueError(f"images is {self.images}; it must be at least 1")
        if self.validation and "validation" not in self.options:
            raise ValueError(f"validation is {self.validation}; {self.name} has no held-out pictures")
        if not 0 <= self.validation < self.images:
            raise ValueError(
                f"validation is {self.validation}; it must be from 1 to {self.images - 1}, so that training pictures "
                "remain, or 0 to hold out none"
            )

    @property
    def chance(self) -> float | None:
        """The accuracy of a guess, in percent; all classes have the same number of test pictures."""
        return 100 / self.classes

    @property
    def chosen_by(self) -> tuple[str, str] | None:
        return ("valid_accuracy", "validation accuracy, %") if self.validation else None

    @property
    def largest_batch(self) -> int:
        return self.images - self.validation

    def split(self, count: int) -> tuple[Tensor, Tensor]:
        """The indexes of the training pictures to train on and of those held out, ascending."""
        out = torch.arange(self.validation) * count // max(1, self.validation)
        trained = torch.ones(count, dtype=torch.bool)
        trained[out] = False
        return trained.nonzero().flatten(), out

    def steps_per_epoch(self, batch_size: int) -> int:
        return -(-self.largest_batch // batch_size)

    def on_device(self, data: Any, device: torch.device) -> Any:
        """The pictures and labels in the memory of `device` if it is a GPU; unchanged for a CPU."""
        return Pictures(*(part.to(device) for part in data)) if device.type == "cuda" else data

    @abstractmethod
    def reference(self, data: Any) -> nn.Module:
        """The model built from torch.nn modules, initialized from torch's global generator."""

    def model(self, data: Any) -> nn.Module:
        """The :meth:`reference` model, as the options ask: same parameters, same function."""
        model = self.reference(data)
        if self.cpu_tuning:
            model = cpu.tuned(model)
        return cuda_graph.graphed(model) if self.cuda_graph else model

    @abstractmethod
    def pictures(self, images: Tensor) -> Tensor:
        """Pictures in bytes as the model's input: normalized, [n, channels, height, width]."""

    def batches(self, data: Pictures, batch_size: int, generator: torch.Generator, skip: int = 0) -> Iterator[Batch]:
        trained, _ = self.split(len(data.train_labels))
        order = trained[torch.randperm(len(trained), generator=generator)].to(data.train_labels.device)
        for indices in torch.split(order, batch_size)[skip:]:
            yield self.pictures(data.train_images[indices]), data.train_labels[indices].long()

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        images, labels = batch
        if self.autocast == "float32":
            return F.cross_entropy(model(images), labels)
        # Each weight is used once, so a cache of it in bfloat16 saves nothing, and a CUDA graph's capture refuses one.
        with torch.autocast(images.device.type, torch.bfloat16, cache_enabled=False):
            logits = model(images)
        return F.cross_entropy(logits.float(), labels)

    def evaluation(self, data: Any) -> Iterator[Batch]:
        """The test pictures as bytes and their labels, in batches that fit in memory."""
        images, labels = (torch.split(part, EVALUATED) for part in (data.test_images, data.test_labels.long()))
        return zip(images, labels, strict=True)

    def held_out(self, data: Any) -> Iterator[Batch]:
        """The held-out pictures as bytes and their labels, in batches like those of :meth:`evaluation`."""
        _, out = self.split(len(data.train_labels))
        for which in torch.split(out, EVALUATED):
            yield data.train_images[which], data.train_labels[which].long()

    def evaluate(self, model: nn.Module, data: Any) -> dict[str, float]:
        """``test_accuracy`` and ``test_loss``; also ``valid_accuracy`` and ``valid_loss`` if pictures are held out."""
        accuracy, loss = self._over(model, self.evaluation(data))
        found = {"test_accuracy": accuracy, "test_loss": loss}
        if self.validation:
            found["valid_accuracy"], found["valid_loss"] = self._over(model, self.held_out(data))
        return found

    def _over(self, model: nn.Module, batches: Iterator[Batch]) -> tuple[float, float]:
        """The accuracy in percent and the mean loss over batches."""
        device = next(model.parameters()).device
        right, loss, count = 0, 0.0, 0
        for images, labels in batches:
            labels = labels.to(device)
            logits = model(self.pictures(images.to(device)))
            right += int((logits.argmax(1) == labels).sum())
            loss += float(F.cross_entropy(logits, labels, reduction="sum"))
            count += len(labels)
        return 100 * right / count, loss / count


def normalized(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Normalize pictures in bytes to mean 0 and standard deviation 1 per channel: [n, channels, height, width].

    Args:
        mean, std: the mean and standard deviation of each channel, where 255 is 1.
    """
    floats, device = images.to(torch.float32), images.device
    return floats.div_(255).sub_(_per_channel(tuple(mean), device)).div_(_per_channel(tuple(std), device))


@lru_cache
def _per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    """The values as [channels, 1, 1]; kept, because a copy to a GPU would wait there for all earlier work."""
    return torch.tensor(values, device=device).reshape(-1, 1, 1)
