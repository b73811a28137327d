"""What a training framework logs of a warmup; each framework is imported in its own file only."""

from .metrics import warmup_metrics

__all__ = ["warmup_metrics"]
