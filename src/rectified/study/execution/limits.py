"""Limits on every run that do not affect its results, and the clock that enforces them."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from ..config.errors import InvalidOption

_EVERY = 30.0  # seconds
_SHARE = 0.01  # the share of a run's time that checkpoints may take by default


class TimeLimitError(RuntimeError):
    """A run has exceeded its time limit."""


@dataclass(frozen=True)
class Limits:
    """Limits on every run: checkpoint interval, time, and steps with gradient histograms.

    Attributes:
        checkpoint_every: seconds between checkpoints; 0 for one after every step. None for 30, or more if needed to
            keep checkpoints below 1 % of the time.
        minutes: the minutes that a run may take, summed over all calls that worked on it; None for no limit.
        gradients: the number of first steps for which to record gradient histograms.

    Raises:
        InvalidOption: a value is out of range.
    """

    checkpoint_every: float | None = None
    minutes: float | None = None
    gradients: int = 0

    def __post_init__(self) -> None:
        every, minutes = self.checkpoint_every, self.minutes
        if every is not None and not (_is_number(every) and 0 <= every < math.inf):
            raise InvalidOption("checkpoint_every", every, "it must be a number of seconds, 0 or more")
        if minutes is not None and not (_is_number(minutes) and 0 < minutes < math.inf):
            raise InvalidOption("run_minutes", minutes, "it must be a positive number")
        if isinstance(self.gradients, bool) or not isinstance(self.gradients, int) or self.gradients < 0:
            raise InvalidOption("gradients", self.gradients, "it must be 0 or a number of steps")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


ANY = Limits()


class RunClock:
    """The time that a run has taken, and when its next checkpoint is due.

    Args:
        spent: seconds that earlier calls spent on the run.
        agreed: turns a question into one that all processes of the run answer the same way.
    """

    def __init__(
        self, limits: Limits, spent: float, agreed: Callable[[Callable[[], bool]], Callable[[], bool]]
    ) -> None:
        self.limits = limits
        self._began = time.monotonic() - spent
        self._next = time.monotonic() + (_EVERY if limits.checkpoint_every is None else limits.checkpoint_every)
        self.is_over = agreed(self._is_over)
        self.checkpoint_is_due = agreed(self._is_due)

    @property
    def seconds(self) -> float:
        """The seconds that the run has taken so far, including earlier calls."""
        return time.monotonic() - self._began

    def wrote_checkpoint(self, seconds: float) -> None:
        """Note that a checkpoint was just written, and how many seconds that took."""
        every = self.limits.checkpoint_every
        self._next = time.monotonic() + (max(_EVERY, seconds / _SHARE) if every is None else every)

    def _is_over(self) -> bool:
        return self.limits.minutes is not None and self.seconds > 60 * self.limits.minutes

    def _is_due(self) -> bool:
        return time.monotonic() >= self._next
