"""Passing what the last step did to the warmups that observe it, before omega of the next one is used."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...warmup import Feedback, Warmup
from ..step.options import Group, value_of
from .memory import Memories, Memory, is_over, memories, remember
from .slopes import LastStep, slopes


@dataclass(frozen=True)
class Part:
    """Parameters of a group that are about to take the same step.

    Attributes:
        t: the number of that step.
        before: the number of their last step; 0 if this is their first.
        lr: of the group, without omega.
        last: their last step, in lists of those with the same numbers.
    """

    group: Group
    warmup: Warmup
    t: int
    before: int
    lr: Any
    last: Sequence[LastStep] = ()


def observe(parts: Sequence[Part], loss: Any, idle: Collection[tuple[int, int]] = ()) -> None:
    """Let the warmup of each part observe, and keep in its group what it remembers.

    Args:
        loss: a number or a one-element tensor; None if it is unknown.
        idle: which step counts parameters without a gradient have: the id of their group, and the count.

    Raises:
        RuntimeError: a warmup observes the loss, which is unknown. Nothing is changed then.
    """
    known = {id(part.group): memories(part.group) for part in parts}
    slope_before, slope_after = _slopes(parts, known)
    seen = Feedback(0, slope_before, slope_after, _loss(parts, loss))
    kept: dict[int, Memories] = {key: {} for key in known}
    for part in parts:
        memory = _next(part, known[id(part.group)], seen)
        if memory is not None:
            kept[id(part.group)][part.t] = memory
    for part in parts:
        key = id(part.group)
        waiting = {t: memory for t, memory in known[key].items() if (key, t) in idle}
        remember(part.group, waiting | kept[key])


def _next(part: Part, known: Memories, seen: Feedback) -> Memory | None:
    """What to remember at a part's step; None if its warmup is over."""
    if part.t in known:  # others have taken as many steps, or this one was tried before and raised
        return known[part.t]
    if part.before == 0:
        memory: Memory = ()
    elif part.before in known and not is_over(known[part.before]):
        memory = known[part.before]
    else:
        return None
    return tuple(map(float, part.warmup.observe(memory, replace(seen, t=part.t))))


def _slopes(parts: Sequence[Part], known: dict[int, Memories]) -> tuple[float, float] | tuple[None, None]:
    """The slopes along the last step, in which each part's weight is its lr * omega over the largest one."""
    found: list[tuple[float, LastStep]] = []
    for part in parts:
        memory = known[id(part.group)].get(part.before)
        if memory is not None and "slopes" in part.warmup.observes and not is_over(memory):
            moved = value_of(part.lr) * memory[0]
            found += [(moved, last) for last in part.last]
    largest = max((moved for moved, _ in found), default=0.0)
    if not largest:
        return None, None
    return slopes((moved / largest, last) for moved, last in found)


def _loss(parts: Sequence[Part], loss: Any) -> float | None:
    for part in parts:
        if "loss" in part.warmup.observes:
            if loss is None:
                raise RuntimeError(
                    f"{part.warmup!r} observes the loss, which is unknown: pass a closure to step(), or call "
                    "optimizer.observe_loss(loss) before each step"
                )
            return value_of(loss)
    return None
