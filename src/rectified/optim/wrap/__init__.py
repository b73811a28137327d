"""A warmup for optimizers of other libraries: around them, or beside them as a scheduler."""

from .rectify import rectify
from .schedule import WarmupLR, linear_scaling

__all__ = ["WarmupLR", "linear_scaling", "rectify"]
