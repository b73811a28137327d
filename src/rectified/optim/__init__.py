"""The optimizers: Adam with one scalar, omega, in front of its update."""

from .adam import Adam
from .adamw import AdamW
from .explain import Explanation, explain
from .family import LAMB, Adadelta, NAdam, RMSprop
from .groups import decay_groups
from .in_backward import StepInBackward
from .radam import RAdam
from .rectify import rectify
from .schedule import WarmupLR, linear_scaling

__all__ = [
    "LAMB",
    "Adadelta",
    "Adam",
    "AdamW",
    "Explanation",
    "NAdam",
    "RAdam",
    "RMSprop",
    "StepInBackward",
    "WarmupLR",
    "decay_groups",
    "explain",
    "linear_scaling",
    "rectify",
]
