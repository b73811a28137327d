"""Fashion-MNIST with the report's small convolutional network, and with a ResNet."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from ..data.images import fashion_mnist_files
from ..data.images.pictures import Pictures
from ..models.small_cnn import SmallCNN
from .classification import Classification
from .task import Say

_MEAN, _STD = 0.2860, 0.3530  # of the 60,000 training images


@dataclass(frozen=True, kw_only=True)
class FashionMnist(Classification):
    """Fashion-MNIST: 10 classes of 28x28 gray images, by accuracy on the test images."""

    methods: tuple[str, ...] = ("adam", "radam", "adam+untuned-linear")
    lrs: tuple[float, ...] = (0.003, 0.01, 0.025, 0.05)
    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: int = 4

    def find(self, folder: Path | None, say: Say, fetch: bool = True) -> Path:
        return fashion_mnist_files.find(folder, say, fetch)

    def load(self, folder: Path) -> Pictures:
        return fashion_mnist_files.load(folder)

    def pictures(self, images: Tensor) -> Tensor:
        return images.unsqueeze(1).float().div_(255).sub_(_MEAN).div_(_STD)

    def reference(self, data: Pictures) -> nn.Module:
        return SmallCNN()


class FashionMnistMini(FashionMnist):
    """Fashion-MNIST's first 600 + 100 images of each class, which come with the package: a first look in seconds."""

    def find(self, folder: Path | None, say: Say, fetch: bool = True) -> Path:
        if folder is not None:
            raise ValueError("fashion-mnist-mini comes with the package; --data is for fashion-mnist")
        return fashion_mnist_files.mini()


FASHION_MNIST = FashionMnist(name="fashion-mnist", title="Fashion-MNIST", images=60_000, batch_size=1000)
FASHION_MNIST_MINI = FashionMnistMini(
    name="fashion-mnist-mini", title="Fashion-MNIST, 6,000 images", images=6_000, batch_size=100
)
