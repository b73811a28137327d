"""Passing what the last step did to the warmups that observe it, before omega of the next one is used."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from ...warmup import Feedback, Warmup
from ..step.options import OBSERVED, Group, value_of
from .remembered import OVER, Memories, Memory, is_over, memories, needs_slopes, remember
from .slopes import LastStep, slopes

Undo = list[tuple[Group, Any]]


class Part(NamedTuple):
    """Parameters of a group that are about to take the same step.

    Attributes:
        t: the number of that step.
        before: the number of their last step; 0 if this is their first.
        beta2: of the group.
        last: their last step, in lists of those with the same numbers.
    """

    group: Group
    warmup: Warmup
    t: int
    before: int
    beta2: float
    last: Sequence[LastStep] = ()


def observe(parts: Sequence[Part], loss: Any, idle: Collection[tuple[int, int]] = ()) -> Undo:
    """Let the warmup of each part observe, and keep in its group what it remembers.

    Args:
        loss: a number or a one-element tensor; None if it is unknown.
        idle: which step counts parameters without a gradient have: the id of their group, and the count.

    Returns:
        What the groups had before, for :func:`undo`.

    Raises:
        RuntimeError: a warmup observes the loss, which is unknown.
        TypeError: a warmup returned no numbers.
        ValueError: it returned none, or an omega outside [0, 1]. Nothing is changed in these cases.
    """
    known = {id(part.group): memories(part.group, part.warmup) for part in parts}
    previous = [_previous(part, known[id(part.group)]) for part in parts]
    active = [(part, memory) for part, memory in zip(parts, previous, strict=True) if memory is not None]
    slope_before, slope_after = _slopes(active)
    seen = Feedback(0, slope_before, slope_after, _loss(active, loss))
    kept: dict[int, Memories] = {key: {OVER: x[OVER]} if OVER in x else {} for key, x in known.items()}
    for part, memory in zip(parts, previous, strict=True):
        mine = kept[id(part.group)]
        if memory is None:
            mine[OVER] = (1.0,)
        else:
            mine[part.t] = _next(part, memory, seen)
    old = {id(part.group): (part.group, part.group.get(OBSERVED)) for part in parts}
    for part in parts:
        key = id(part.group)
        waiting = {t: memory for t, memory in known[key].items() if (key, t) in idle}
        remember(part.group, part.warmup, waiting | kept[key])
    return list(old.values())


def undo(observed: Undo) -> None:
    """Forget what was observed before a step that was not taken."""
    for group, before in observed:
        group[OBSERVED] = () if before is None else before


def _previous(part: Part, known: Memories) -> Memory | None:
    """What the warmup remembers of a part's last step: nothing if it begins here; None if it is over."""
    if part.before == 0 or not known:
        return ()
    memory = known.get(part.before, known.get(OVER, ()))
    return None if memory and is_over(memory) else memory


def _next(part: Part, memory: Memory, seen: Feedback) -> Memory:
    """What to remember at a part's step."""
    warmup, t = part.warmup, part.t
    slopes = (seen.slope_before, seen.slope_after) if needs_slopes(warmup, t) else (None, None)
    returned = warmup.observe(memory, Feedback(t, *slopes, seen.loss))
    if not isinstance(returned, tuple | list) or not all(isinstance(x, int | float) for x in returned):
        raise TypeError(f"{warmup!r} observed {returned!r}; it must return a tuple of numbers, omega first")
    if not returned or not 0 <= returned[0] <= 1:
        gave = f"omega = {returned[0]!r}" if returned else "no omega"
        raise ValueError(f"{warmup!r} gave {gave} at t = {t}; it must be in [0, 1]")
    omega, *rest = map(float, returned)
    if not memory and part.before:  # in the middle of a run it begins where it would be without observation
        omega = max(omega, warmup.omega(t, part.beta2))
    return omega, *rest


def _slopes(active: Sequence[tuple[Part, Memory]]) -> tuple[float, float] | tuple[None, None]:
    """The slopes along the last step, in which each part's weight is its lr * omega over the largest one."""
    found: list[tuple[float, LastStep]] = []
    for part, memory in active:
        if memory and "slopes" in part.warmup.observes:
            moved = value_of(part.group["lr"]) * memory[0]
            found += [(moved, last) for last in part.last]
    largest = max((moved for moved, _ in found), default=0.0)
    if not largest:
        return None, None
    return slopes((moved / largest, last) for moved, last in found)


def _loss(active: Sequence[tuple[Part, Memory]], loss: Any) -> float | None:
    for part, _ in active:
        if "loss" in part.warmup.observes:
            if loss is None:
                raise RuntimeError(
                    f"{part.warmup!r} observes the loss, which is unknown: call observe_loss(loss) before each step, "
                    "or pass a closure that returns it to step()"
                )
            return value_of(loss)
    return None


def after_closure(
    optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], call: Callable[[Any], None]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """The arguments of a step whose closure is followed by a call with its loss, the first time it is called.

    Args:
        args: as a step's pre-hook gets them, with the optimizer first.

    Returns:
        New arguments; None if there is no closure.
    """
    closure = kwargs.get("closure") or (args[1] if len(args) > 1 and args[0] is optimizer else next(iter(args), None))
    if not callable(closure):
        return None
    called = False

    def observed() -> Any:
        nonlocal called
        loss = closure()
        if not called:
            called = True
            call(loss)
        return loss

    if "closure" in kwargs:
        return args, {**kwargs, "closure": observed}
    return (*(args[:-1]), observed), kwargs
