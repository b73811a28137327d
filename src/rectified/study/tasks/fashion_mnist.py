"""Fashion-MNIST with the report's small convolutional network."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data import fashion_mnist
from .task import Say, Task

_MEAN, _STD = 0.2860, 0.3530  # of the 60,000 training images

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class FashionMnist(Task):
    """10 classes of 28x28 grey images; accuracy on the test images."""

    images: int
    metric: str = "test_accuracy"
    metric_label: str = "test accuracy, %"
    larger_is_better: bool = True
    methods: str = "adam,radam,adam+untuned-linear"
    lrs: tuple[float, ...] = (0.003, 0.01, 0.025, 0.05)
    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: int = 4

    def find(self, folder: Path | None, say: Say, fetch: bool = True) -> Path:
        return fashion_mnist.find(folder, say, fetch)

    def load(self, folder: Path) -> fashion_mnist.Images:
        return fashion_mnist.load(folder)

    def steps_per_epoch(self, batch_size: int) -> int:
        return -(-self.images // batch_size)

    def model(self) -> nn.Module:
        """32,998 parameters; channels_last, in which torch's CPU convolutions are faster."""
        # Pooled before the ReLU, which is the same to the bit, gradients too, and a sixth faster: a ReLU of a quarter.
        layers = nn.Sequential(
            nn.Conv2d(1, 6, 5),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(6, 12, 5),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(192, 120),
            nn.ReLU(),
            nn.Linear(120, 60),
            nn.ReLU(),
            nn.Linear(60, 10),
        )
        return layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def batches(
        self, data: fashion_mnist.Images, batch_size: int, generator: torch.Generator, skip: int = 0
    ) -> Iterator[Batch]:
        order = torch.randperm(len(data.train_labels), generator=generator)
        for indices in torch.split(order, batch_size)[skip:]:
            yield _normalised(data.train_images[indices]), data.train_labels[indices].long()

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        images, labels = batch
        return F.cross_entropy(model(images), labels)

    def evaluate(self, model: nn.Module, data: fashion_mnist.Images) -> dict[str, float]:
        device = next(model.parameters()).device
        right, loss = 0, 0.0
        for images, labels in zip(
            torch.split(data.test_images, 1000), torch.split(data.test_labels, 1000), strict=True
        ):
            labels = labels.to(device).long()
            logits = model(_normalised(images.to(device)))
            right += int((logits.argmax(1) == labels).sum())
            loss += float(F.cross_entropy(logits, labels, reduction="sum"))
        return {"test_accuracy": 100 * right / len(data.test_labels), "test_loss": loss / len(data.test_labels)}


class FashionMnistMini(FashionMnist):
    """The first 600 + 100 images of each class, which the package ships: no network, a first look in seconds."""

    def find(self, folder: Path | None, say: Say, fetch: bool = True) -> Path:
        if folder is not None:
            raise ValueError("fashion-mnist-mini comes with the package; --data goes with fashion-mnist")
        return fashion_mnist.mini()


def _normalised(images: Tensor) -> Tensor:
    return images.unsqueeze(1).float().div_(255).sub_(_MEAN).div_(_STD)


FASHION_MNIST = FashionMnist(name="fashion-mnist", title="Fashion-MNIST", images=60_000, batch_size=1000)
FASHION_MNIST_MINI = FashionMnistMini(
    name="fashion-mnist-mini", title="Fashion-MNIST, 6,000 images", images=6_000, batch_size=100
)
