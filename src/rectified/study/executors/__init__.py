"""Executors of runs: worker processes on this machine, or a Ray cluster."""

from .executor import Event, Executor
from .local import LocalExecutor
from .ray import RayExecutor

__all__ = ["Event", "Executor", "LocalExecutor", "RayExecutor"]
