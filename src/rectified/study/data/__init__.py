"""The data of the studies: found, checked, kept, read."""

from . import cifar10, fashion_mnist, idx
from .find import DataNotFoundError

__all__ = ["DataNotFoundError", "cifar10", "fashion_mnist", "idx"]
