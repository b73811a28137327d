"""Logging a warmup from training frameworks; each framework is imported only in its own file."""

from .metrics import warmup_metrics

__all__ = ["warmup_metrics"]
