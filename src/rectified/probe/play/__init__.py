"""Playing a training configuration without training: lr, omega and betas of every step, on copies."""

from .curve import NEARLY, SAME, Decay, decay_of, first_at_peak, is_flat, warmup_length
from .own_warmup import number_of, rectification_of
from .played import Interval, Played, PlayedGroup, play

__all__ = [
    "NEARLY",
    "SAME",
    "Decay",
    "Interval",
    "Played",
    "PlayedGroup",
    "decay_of",
    "first_at_peak",
    "is_flat",
    "number_of",
    "play",
    "rectification_of",
    "warmup_length",
]
