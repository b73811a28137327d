"""CIFAR-10 with ResNet-20, as the RAdam paper trains it; Fashion-MNIST with the same network."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.images import cifar10_files
from ..data.images.pictures import Pictures
from ..models.resnet import resnet20
from .classification import Batch, Classification, normalized
from .fashion_mnist import FashionMnist
from .lr_decay import LrSchedule, Milestones
from .task import Say

# Per channel, red, green, blue, as in the authors' code. (Its standard deviations are means over the pictures' own;
# those of all pixels are 0.247, 0.243, 0.262.)
_MEAN = (0.4914, 0.4822, 0.4465)
_STD = (0.2023, 0.1994, 0.2010)

RECIPE = Milestones((81, 122), epochs=164)  # the authors' code; the paper's text says 186 epochs


@dataclass(frozen=True, kw_only=True)
class Augmented(Classification):
    """An image task that pads each picture, crops it at a random place, and flips it half of the time.

    Attributes:
        subset: train only on the first `subset` pictures that are not held out; 0 for all.
        padding: zeros on every side, in pixels.
    """

    options: ClassVar[tuple[str, ...]] = (
        "autocast", "cpu_tuning", "cuda_graph", "loss_scale", "subset", "validation", "weight_decay",
    )  # fmt: skip

    methods: tuple[str, ...] = ("sgd", "adam", "radam")
    lrs: tuple[float, ...] = (0.1, 0.03, 0.01, 0.003)
    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: int = 164
    batch_size: int = 128
    weight_decay: float = 1e-4
    schedule: LrSchedule = RECIPE
    subset: int = 0
    padding: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        most = self.images - self.validation
        if not 0 <= self.subset <= most:
            raise ValueError(f"subset is {self.subset}; it must be from 1 to {most}, or 0 for all of them")

    @property
    def largest_batch(self) -> int:
        return self.subset or super().largest_batch

    def batches(self, data: Pictures, batch_size: int, generator: torch.Generator, skip: int = 0) -> Iterator[Batch]:
        trained, _ = self.split(len(data.train_labels))
        count = min(self.largest_batch, len(trained))
        order = trained[torch.randperm(count, generator=generator)]
        moves = torch.randint(2 * self.padding + 1, (2, count), generator=generator)
        flips = torch.randint(2, (count,), generator=generator).bool()
        # Drawn on the CPU for any device, and moved once per epoch.
        device = data.train_images.device
        drawn = (torch.split(each.to(device), batch_size, dim=-1) for each in (order, moves, flips))
        for which, moved, flipped in list(zip(*drawn, strict=True))[skip:]:
            images = augmented(data.train_images[which], moved, flipped, self.padding)
            yield self.pictures(images), data.train_labels[which].long()


def augmented(images: Tensor, moves: Tensor, flips: Tensor, padding: int) -> Tensor:
    """Crop pictures at their own size after padding them with zeros, then flip some of them.

    Args:
        images: [n, ..., height, width].
        moves: [2, n], from 0 to 2 `padding`: the crop's first row and column; on the pictures' device.
        flips: bool [n]: which are mirrored left to right; on the pictures' device.
    """
    height, width = images.shape[-2:]
    columns = torch.arange(width, device=images.device).expand(len(images), width)
    columns = torch.where(flips[:, None], width - 1 - columns, columns) + moves[1, :, None]
    rows = torch.arange(height, device=images.device) + moves[0, :, None]
    # One index per pixel for all channels: a seventh of the time of indexing by picture, channel, row and column.
    places = (rows[:, :, None] * (width + 2 * padding) + columns[:, None, :]).reshape(len(images), 1, -1)
    padded = F.pad(images, (padding,) * 4).reshape(len(images), -1, (height + 2 * padding) * (width + 2 * padding))
    return padded.gather(2, places.expand(-1, padded.shape[1], -1)).reshape(images.shape)


@dataclass(frozen=True, kw_only=True)
class Cifar10(Augmented):
    """CIFAR-10: 10 classes of 32x32 color pictures."""

    def find(self, folder: Path | None, say: Say, fetch: bool = True) -> Path:
        return cifar10_files.find(folder, say, fetch)

    def load(self, folder: Path) -> Pictures:
        return cifar10_files.load(folder)

    def pictures(self, images: Tensor) -> Tensor:
        return normalized(images, _MEAN, _STD)

    def reference(self, data: Pictures) -> nn.Module:
        """ResNet-20 with 269,722 parameters; shortcuts have none, as in He et al. for CIFAR-10."""
        return resnet20()


@dataclass(frozen=True, kw_only=True)
class FashionMnistResNet(Augmented, FashionMnist):
    """Fashion-MNIST, trained with ResNet-20 in the same way as CIFAR-10."""

    def reference(self, data: Pictures) -> nn.Module:
        return resnet20(channels=1)


CIFAR10 = Cifar10(name="cifar10", title="CIFAR-10", images=50_000)
FASHION_MNIST_RESNET20 = FashionMnistResNet(
    name="fashion-mnist-resnet20", title="Fashion-MNIST with ResNet-20", images=60_000
)
