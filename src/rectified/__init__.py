"""rectified: adaptive optimizers that start cold."""

from . import theory, warmup
from .optim import Adam, AdamW, RAdam, explain

__version__ = "0.1.0"

__all__ = ["Adam", "AdamW", "RAdam", "__version__", "explain", "theory", "warmup"]
