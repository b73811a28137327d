"""The optimizers: Adam and its relatives, whose update is multiplied by a warmup factor, omega."""

from .adam import Adam
from .adamw import AdamW
from .contrib import COCOB, SGDHD, AdamHD, GIAdam, RandomV0Adam, StableAdamW, YellowFin
from .explain import Explanation, explain
from .in_backward import StepInBackward
from .param_groups import param_groups_weight_decay
from .radam import RAdam
from .variants import LAMB, Adadelta, NAdam, RMSprop
from .wrap.rectify import rectify
from .wrap.schedule import WarmupLR, linear_scaling

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
    "explain",
    "linear_scaling",
    "param_groups_weight_decay",
    "rectify",
]
