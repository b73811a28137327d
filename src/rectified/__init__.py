"""rectified: PyTorch optimizers with learning rate warmup built in."""

from . import theory, warmup
from .optim import LAMB, Adadelta, Adam, AdamW, NAdam, RAdam, RMSprop, WarmupLR, explain, linear_scaling, rectify
from .probe import Probe, check

__version__ = "0.1.0"

__all__ = [
    "LAMB",
    "Adadelta",
    "Adam",
    "AdamW",
    "NAdam",
    "Probe",
    "RAdam",
    "RMSprop",
    "WarmupLR",
    "__version__",
    "check",
    "explain",
    "linear_scaling",
    "rectify",
    "theory",
    "warmup",
]
