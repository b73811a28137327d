"""What warmups remember of the run: a few numbers for each step count of a group, saved with it."""

from collections.abc import Mapping
from typing import Any

from ...warmup import Warmup
from ..step.options import OBSERVED, Group

Memory = tuple[float, ...]  # its first number is omega
Memories = dict[int, Memory]  # by the number of the last step


def memories(group: Group) -> Memories:
    """What a group's warmup remembers, by the number of steps that the parameters have taken."""
    return {int(t): tuple(memory) for t, *memory in group.get(OBSERVED, ())}


def remember(group: Group, known: Mapping[int, Memory]) -> None:
    """Keep in the group what is known, as plain values."""
    group[OBSERVED] = tuple((t, *memory) for t, memory in known.items())


def is_over(memory: Memory) -> bool:
    """Whether omega has reached 1, from when on nothing is observed."""
    return memory[0] >= 1


def refuse_memories(saved: Any, whose: str) -> None:
    """Raise for a saved group that remembers something else.

    Raises:
        ValueError: it is not a list of step counts with numbers.

    >>> refuse_memories([[3, "much"]], "group 0")
    Traceback (most recent call last):
    ValueError: what the warmup of group 0 has observed is [[3, 'much']]; it must be step counts, each with numbers
    """
    rows = saved if isinstance(saved, tuple | list) else [saved]
    for row in rows:
        numbers = isinstance(row, tuple | list) and all(isinstance(x, int | float) for x in row)
        if not numbers or len(row) < 2 or not isinstance(row[0], int) or not 0 <= row[1] <= 1:
            raise ValueError(
                f"what the warmup of {whose} has observed is {saved!r}; it must be step counts, each with numbers"
            )


class FromMemory(Warmup):
    """A warmup that observes, with the omegas that it remembers."""

    def __init__(self, warmup: Warmup, known: Memories) -> None:
        self.warmup, self.known = warmup, known
        self.start, self.m_delay, self.observes = warmup.start, warmup.m_delay, warmup.observes

    def __repr__(self) -> str:
        return repr(self.warmup)

    def omega(self, t: int, beta2: float) -> float:
        """The omega of step t, or until that is known, of the step before it."""
        memory = self.known.get(t) or self.known.get(t - 1)
        return memory[0] if memory else self.warmup.omega(t, beta2)


def observing(given: Any) -> bool:
    """Whether a warmup, or a user's object with an omega, observes the run."""
    return bool(getattr(given, "observes", ()))
