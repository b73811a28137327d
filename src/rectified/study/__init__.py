"""Studies: which optimizer, which warmup, which lr, on a real task, over seeds."""

from .config.runs import Cell, Plan
from .execution.execute import Limits
from .runner import run_study
from .storage.records import Record
from .storage.store import Store

__all__ = ["Cell", "Limits", "Plan", "Record", "Store", "run_study"]
