"""What warmups remember of the run: a few numbers for each step count of a group, saved with it."""

from collections.abc import Mapping
from typing import Any

from ...warmup import Feedback, Warmup
from ...warmup.interface import as_warmup
from ..step.options import OBSERVED, Group

Memory = tuple[float, ...]  # its first number is omega
Memories = dict[int, Memory]  # by the number of the last step

OVER = 0
"""The key of a memory that says: of parameters without one of their own, the warmup is over."""


def memories(group: Group, warmup: Warmup) -> Memories:
    """What a group's warmup remembers, by the number of steps that the parameters have taken.

    Nothing, if it is another warmup's.
    """
    name, *rows = group.get(OBSERVED) or ("",)
    return {t: tuple(memory) for t, *memory in rows} if name == _name(warmup) else {}


def remember(group: Group, warmup: Warmup, known: Mapping[int, Memory]) -> None:
    """Keep in the group what is known, as plain values."""
    group[OBSERVED] = (_name(warmup), *((t, *memory) for t, memory in known.items()))


def _name(warmup: Warmup) -> str:
    return type(getattr(warmup, "own", warmup)).__name__


def is_over(memory: Memory) -> bool:
    """Whether omega has reached 1, from when on nothing is observed."""
    return memory[0] >= 1


def all_over(known: Memories) -> bool:
    """Whether the warmup of all parameters that have stepped is over."""
    return known.keys() == {OVER}


def is_over_at(group: Group, given: Any, t: int) -> bool:
    """Whether the warmup of parameters that are about to take step t is over."""
    known = memories(group, as_warmup(given))
    memory = known.get(t - 1 or -1) or (known.get(OVER) if t > 1 else None)
    return memory is not None and is_over(memory)


def refuse_memories(saved: Any, whose: str) -> None:
    """Raise for a saved group that remembers something else.

    Raises:
        ValueError: it is not a name and step counts with numbers.

    >>> refuse_memories(["GuardedLinear", [3, "much"]], "group 0")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: what the warmup of group 0 has observed is ['GuardedLinear', [3, 'much']]; it must be its name, and ...
    """
    if not saved and isinstance(saved, tuple | list):
        return
    name, *rows = saved if isinstance(saved, tuple | list) else (saved,)
    if not isinstance(name, str) or not isinstance(saved, tuple | list) or not all(map(_is_row, rows)):
        raise ValueError(
            f"what the warmup of {whose} has observed is {saved!r}; it must be its name, and step counts with numbers"
        )


def _is_row(row: Any) -> bool:
    numbers = isinstance(row, tuple | list) and len(row) > 1 and all(isinstance(x, int | float) for x in row)
    return numbers and isinstance(row[0], int) and row[0] >= 0 and 0 <= row[1] <= 1


class FromMemory(Warmup):
    """A warmup that observes, with the omegas that it remembers."""

    def __init__(self, warmup: Warmup, known: Memories) -> None:
        self.warmup, self.known = warmup, known
        self.start, self.m_delay, self.observes = warmup.start, warmup.m_delay, warmup.observes

    def __repr__(self) -> str:
        return repr(self.warmup)

    def observe(self, memory: Memory, feedback: Feedback) -> Memory:
        return self.warmup.observe(memory, feedback)

    def observes_at(self, t: int) -> bool:
        return self.warmup.observes_at(t)

    def omega(self, t: int, beta2: float) -> float:
        """The omega of step t, or until that is known, of the step before it."""
        memory = self.known.get(t) or self.known.get(t - 1 or -1) or (self.known.get(OVER) if t > 1 else None)
        return memory[0] if memory else self.warmup.omega(t, beta2)


def observing(given: Any) -> bool:
    """Whether a warmup, or a user's object with an omega, observes the run."""
    return bool(getattr(given, "observes", ()))


def needs_slopes(warmup: Warmup, t: int) -> bool:
    """Whether a warmup observes the slopes along the last step before step t."""
    return "slopes" in warmup.observes and warmup.observes_at(t)
