"""ImageNet with ResNet-18, as the RAdam paper trains it; Tiny ImageNet with the same network."""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from ..data.images import imagenet_files
from ..data.images.image_folder import Files, ImageFolder, decoded, index
from ..data.images.pictures import Pictures
from ..models.resnet import resnet18
from ..sharding import needed_here
from .cifar10 import Augmented
from .classification import Batch, Classification, normalized
from .lr_decay import LrSchedule, Milestones
from .task import Say

# The usual mean and standard deviation of ImageNet's pixels, red, green and blue.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
IMAGES, TINY_IMAGES = 1_281_167, 100_000  # published training pictures
SIZE, SHORTER, TINY = 224, 256, 64  # pixels
AHEAD = 2  # batches that are decoded ahead of the model
EVALUATED = 250  # pictures at once

RECIPE = Milestones((31, 61), epochs=90)

Crop = Callable[[Image.Image, int], Image.Image]


@dataclass(frozen=True, kw_only=True)
class ImageNet(Classification):
    """ImageNet: pictures of any size, decoded on demand; batches hold bytes, normalized on the model's device.

    Threads decode while the model trains: Pillow decodes and resizes without the GIL, and a study's worker cannot have
    child processes. No pictures are held out: an lr is chosen by the accuracy on the published validation pictures, on
    which methods are also compared.

    Attributes:
        loaders: the number of decoding threads.
    """

    options: ClassVar[tuple[str, ...]] = (
        "autocast", "cpu_tuning", "cuda_graph", "images", "loaders", "loss_scale", "weight_decay",
    )  # fmt: skip

    methods: tuple[str, ...] = ("sgd", "adam", "radam")
    lrs: tuple[float, ...] = (0.1, 0.03, 0.01, 0.005, 0.003)
    seeds: tuple[int, ...] = (0,)
    classes: int = 1000
    epochs: int = 90
    batch_size: int = 256
    weight_decay: float = 1e-4
    schedule: LrSchedule = RECIPE
    loaders: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loaders < 1:
            raise ValueError(f"loaders is {self.loaders}; it must be at least 1")

    @property
    def chance(self) -> float | None:
        """The accuracy of a guess, in percent; None for a subset, which may have fewer classes."""
        return super().chance if self.images == IMAGES else None

    def find(self, folder: Path | None, say: Say, fetch: bool = True) -> Path:
        return imagenet_files.IMAGENET.find(folder, self.images, say)

    def load(self, folder: Path) -> ImageFolder:
        return index(folder)

    def on_device(self, data: ImageFolder, device: torch.device) -> ImageFolder:
        """The folder's index, unchanged: pictures are decoded on the CPU."""
        return data

    def reference(self, data: ImageFolder) -> nn.Module:
        return resnet18(len(data.classes))

    def pictures(self, images: Tensor) -> Tensor:
        return normalized(images, _MEAN, _STD)

    def batches(self, data: Any, batch_size: int, generator: torch.Generator, skip: int = 0) -> Iterator[Batch]:
        """Training batches; with several ranks, each decodes only its own part, and the rest is undefined."""
        count = len(data.train.labels)
        order = torch.randperm(count, generator=generator)
        seeds = torch.randint(2**63 - 1, (count,), generator=generator)
        batches = list(zip(*(torch.split(each, batch_size) for each in (order, seeds)), strict=True))[skip:]
        return self._decoded(data.folder, data.train, batches, random_crop, needed_here)

    def evaluation(self, data: Any) -> Iterator[Batch]:
        batches = [(pictures, pictures) for pictures in torch.split(torch.arange(len(data.test.labels)), EVALUATED)]
        return self._decoded(data.folder, data.test, batches, central_crop, lambda size: slice(0, size))

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        images, labels = batch
        return super().loss(model, (self.pictures(images), labels))

    def _decoded(
        self,
        folder: str,
        files: Files,
        batches: Sequence[Batch],
        crop: Crop,
        mine: Callable[[int], slice],
    ) -> Iterator[Batch]:
        """Decode batches, uint8 [n, 3, SIZE, SIZE] in channels_last, AHEAD batches ahead of the consumer.

        Args:
            batches: the indexes of the pictures, and the seed of each one's crop.
            mine: returns which examples of a batch of a given size to decode.
        """

        def fill(images: NDArray[np.uint8], pictures: list[int], seeds: list[int]) -> None:
            for image, picture, seed in zip(images, pictures, seeds, strict=True):
                image[:] = np.asarray(crop(decoded(Path(folder, files.path(picture))), seed))

        pool = ThreadPoolExecutor(self.loaders)
        ahead: deque[tuple[Tensor, Tensor, list[Future[None]]]] = deque()
        try:
            for pictures, seeds in batches:
                images = torch.empty(len(pictures), SIZE, SIZE, 3, dtype=torch.uint8)
                part = mine(len(pictures))
                arrays, which, own = images[part].numpy(), pictures[part].tolist(), seeds[part].tolist()
                every = [slice(i, None, self.loaders) for i in range(self.loaders)]
                work = [pool.submit(fill, arrays[some], which[some], own[some]) for some in every]
                ahead.append((images.permute(0, 3, 1, 2), files.labels[pictures].long(), work))
                if len(ahead) > AHEAD:
                    yield _done(*ahead.popleft())
            while ahead:
                yield _done(*ahead.popleft())
        finally:
            pool.shutdown(cancel_futures=True)


def _done(images: Tensor, labels: Tensor, work: list[Future[None]]) -> Batch:
    for part in work:
        part.result()
    return images, labels


def random_crop(image: Image.Image, seed: int) -> Image.Image:
    """A random crop of the picture, resized to SIZE x SIZE and mirrored half of the time.

    The crop has 0.08 to 1 of the area and an aspect ratio of 3/4 to 4/3; the area and the log of the ratio are uniform.
    After ten crops that do not fit, it is the largest central crop whose ratio is closest to the picture's (Szegedy et
    al. 2014, arXiv:1409.4842; standard practice since).
    """
    draw = Random(seed)
    width, height = image.size
    for _ in range(10):
        area = width * height * draw.uniform(0.08, 1.0)
        ratio = math.exp(draw.uniform(math.log(3 / 4), math.log(4 / 3)))
        across, down = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < across <= width and 0 < down <= height:
            left, top = draw.randint(0, width - across), draw.randint(0, height - down)
            break
    else:
        across, down = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
        left, top = (width - across) // 2, (height - down) // 2
    image = image.crop((left, top, left + across, top + down)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if draw.random() < 0.5 else image


def central_crop(image: Image.Image, seed: int = 0) -> Image.Image:
    """The central SIZE x SIZE crop after the shorter side is resized to SHORTER; the seed is not used."""
    width, height = image.size
    shorter = min(width, height)
    width, height = width * SHORTER // shorter, height * SHORTER // shorter
    left, top = (width - SIZE) // 2, (height - SIZE) // 2
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    return image.crop((left, top, left + SIZE, top + SIZE))


@dataclass(frozen=True, kw_only=True)
class TinyImageNet(Augmented):
    """Tiny ImageNet: 200 classes of 64x64 color pictures, all in memory, augmented like CIFAR-10.

    As for ImageNet, no pictures are held out of training.
    """

    options: ClassVar[tuple[str, ...]] = (
        "autocast", "cpu_tuning", "cuda_graph", "images", "loss_scale", "subset", "weight_decay",
    )  # fmt: skip

    lrs: tuple[float, ...] = (0.1, 0.03, 0.01, 0.005, 0.003)
    classes: int = 200
    epochs: int = 90
    batch_size: int = 256
    schedule: LrSchedule = RECIPE
    padding: int = 8

    @property
    def chance(self) -> float | None:
        """The accuracy of a guess, in percent; None for a subset, which may have fewer classes."""
        return super().chance if self.images == TINY_IMAGES else None

    def find(self, folder: Path | None, say: Say, fetch: bool = True) -> Path:
        return imagenet_files.TINY_IMAGENET.find(folder, self.images, say)

    def load(self, folder: Path) -> Pictures:
        found = index(folder)
        train, test = (_whole(folder, files) for files in (found.train, found.test))
        return Pictures(train, found.train.labels, test, found.test.labels)

    def reference(self, data: Pictures) -> nn.Module:
        """ResNet-18 for the data's classes, without the two initial halvings, which are for larger pictures."""
        return resnet18(int(data.train_labels.max()) + 1, small=True)

    def pictures(self, images: Tensor) -> Tensor:
        return normalized(images, _MEAN, _STD)


def _whole(folder: Path, files: Files) -> Tensor:
    """Decode all pictures, uint8 [n, 3, TINY, TINY].

    Raises:
        ValueError: a file has another size or is not a picture; the message names it.
    """
    images = torch.empty(len(files.labels), 3, TINY, TINY, dtype=torch.uint8)
    for picture, image in enumerate(images.numpy()):
        path = Path(folder, files.path(picture))
        pixels = np.asarray(decoded(path))
        if pixels.shape != (TINY, TINY, 3):
            height, width = pixels.shape[:2]
            raise ValueError(
                f"{path}: {width} x {height} pixels, not {TINY} x {TINY}; the task imagenet takes any size"
            )
        image[:] = pixels.transpose(2, 0, 1)
    return images


IMAGENET = ImageNet(name="imagenet", title="ImageNet", images=IMAGES)
TINY_IMAGENET = TinyImageNet(name="tiny-imagenet", title="Tiny ImageNet", images=TINY_IMAGES)
