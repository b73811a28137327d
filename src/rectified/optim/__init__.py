"""The optimizers: Adam with one scalar, omega, in front of its update."""

from .adam import Adam
from .adamw import AdamW
from .alternatives import COCOB, SGDHD, AdamHD, GIAdam, RandomV0Adam, StableAdamW, YellowFin
from .explain import Explanation, explain
from .family import LAMB, Adadelta, NAdam, RMSprop
from .groups import decay_groups
from .in_backward import StepInBackward
from .radam import RAdam
from .rectify import rectify
from .schedule import WarmupLR, linear_scaling

__all__ = [
    "COCOB",
    "LAMB",
    "SGDHD",
    "Adadelta",
    "Adam",
    "AdamHD",
    "AdamW",
    "Explanation",
    "GIAdam",
    "NAdam",
    "RAdam",
    "RMSprop",
    "RandomV0Adam",
    "StableAdamW",
    "StepInBackward",
    "WarmupLR",
    "YellowFin",
    "decay_groups",
    "explain",
    "linear_scaling",
    "rectify",
]
