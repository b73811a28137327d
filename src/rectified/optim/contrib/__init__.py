"""Alternatives to warmup from the literature, for comparison."""

from .cocob import COCOB
from .hypergradient import SGDHD, AdamHD
from .second_moment import GIAdam, RandomV0Adam
from .stable_adamw import StableAdamW
from .yellowfin import YellowFin

__all__ = ["COCOB", "SGDHD", "AdamHD", "GIAdam", "RandomV0Adam", "StableAdamW", "YellowFin"]
