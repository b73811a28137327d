"""The data of the studies: found, checked, kept, read."""

from .find import DataNotFoundError
from .images import cifar10_files as cifar10
from .images import fashion_mnist_files as fashion_mnist
from .images import idx

__all__ = ["DataNotFoundError", "cifar10", "fashion_mnist", "idx"]
