"""Other methods that divide by the root of an average of squared gradients, with a warmup: one file each."""

from .adadelta import Adadelta
from .lamb import LAMB
from .nadam import NAdam
from .rmsprop import RMSprop

__all__ = ["LAMB", "Adadelta", "NAdam", "RMSprop"]
