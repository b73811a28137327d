"""Studies: which optimizer, which warmup, which lr, on a real task, over seeds."""

from .cell import Limits
from .plan import Cell, Plan
from .results import Record
from .run import run_study
from .store import Store

__all__ = ["Cell", "Limits", "Plan", "Record", "Store", "run_study"]
