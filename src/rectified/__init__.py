"""rectified: adaptive optimizers that start cold."""

from . import theory, warmup
from .optim import Adam, AdamW, RAdam, WarmupLR, explain, linear_scaling, rectify

__version__ = "0.1.0"

__all__ = [
    "Adam",
    "AdamW",
    "RAdam",
    "WarmupLR",
    "__version__",
    "explain",
    "linear_scaling",
    "rectify",
    "theory",
    "warmup",
]
