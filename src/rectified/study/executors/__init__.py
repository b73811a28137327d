"""Who runs the cells: this machine's worker processes, or a Ray cluster."""

from .executor import Engine, Event
from .local import LocalEngine
from .ray import RayEngine

__all__ = ["Engine", "Event", "LocalEngine", "RayEngine"]
