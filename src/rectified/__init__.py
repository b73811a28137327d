"""rectified: PyTorch optimizers with learning rate warmup built in."""

from . import theory, warmup
from .optim import LAMB, Adadelta, Adam, AdamW, NAdam, RAdam, RMSprop, WarmupLR, explain, linear_scaling, rectify

__version__ = "0.1.0"

__all__ = [
    "LAMB",
    "Adadelta",
    "Adam",
    "AdamW",
    "NAdam",
    "RAdam",
    "RMSprop",
    "WarmupLR",
    "__version__",
    "explain",
    "linear_scaling",
    "rectify",
    "theory",
    "warmup",
]
