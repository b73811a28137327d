"""Learning rate schedules of tasks, as a factor over a run; a method's warmup multiplies it."""

from dataclasses import dataclass
from typing import Protocol


class LrSchedule(Protocol):
    """A function from the progress of a run to a factor on its lr."""

    def __call__(self, step: int, steps: int) -> float:
        """The factor at the update after `step` of `steps` updates."""
        ...


@dataclass(frozen=True)
class NoDecay:
    """A constant factor of 1."""

    def __call__(self, step: int, steps: int) -> float:
        return 1.0


NO_DECAY = NoDecay()


@dataclass(frozen=True)
class Milestones:
    """Multiply the lr by 0.1 at each milestone, an epoch in a run of `epochs`; shorter runs scale the milestones.

    >>> schedule = Milestones((81, 122), epochs=164)
    >>> [round(schedule(step, 1640), 12) for step in (0, 809, 810, 1219, 1220, 1639)]
    [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]
    """

    milestones: tuple[int, ...]
    epochs: int

    def __call__(self, step: int, steps: int) -> float:
        # In whole numbers, so that a milestone is exactly at its epoch's first update.
        return 0.1 ** sum(step * self.epochs >= milestone * steps for milestone in self.milestones)


@dataclass(frozen=True)
class LinearDecay:
    """Decay linearly from 1, to reach 0 just after the last update.

    >>> [LinearDecay()(step, 4) for step in range(4)]
    [1.0, 0.75, 0.5, 0.25]
    """

    def __call__(self, step: int, steps: int) -> float:
        return 1.0 - step / steps
