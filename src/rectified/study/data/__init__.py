"""The data of the studies: found, checked, kept, read."""

from . import fashion_mnist, idx
from .fashion_mnist import DataNotFoundError

__all__ = ["DataNotFoundError", "fashion_mnist", "idx"]
