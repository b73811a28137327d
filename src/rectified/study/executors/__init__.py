"""Who executes the runs: this machine's worker processes, or a Ray cluster."""

from .executor import Event, Executor
from .local import LocalExecutor
from .ray import RayExecutor

__all__ = ["Event", "Executor", "LocalExecutor", "RayExecutor"]
