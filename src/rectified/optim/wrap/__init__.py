"""Warmups for optimizers of other libraries: as a wrapper, or as a scheduler."""

from .rectify import rectify
from .schedule import WarmupLR, linear_scaling

__all__ = ["WarmupLR", "linear_scaling", "rectify"]
