"""What is known of a scheduler: wrappers, the schedulers inside it, its clock and its groups, what it depends on."""

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from types import FunctionType
from typing import Any

import torch
from torch.optim.lr_scheduler import ChainedScheduler, LambdaLR, LRScheduler, ReduceLROnPlateau

from ...messages import shown
from ...optim.wrap.compat import unwrapped
from ...optim.wrap.schedule import WarmupLR
from .own_warmup import number_of


class FunctionSchedule:
    """A function of the step, from 0, to a factor on the lr, with a scheduler's interface."""

    def __init__(self, optimizer: torch.optim.Optimizer, function: Callable[[int], float]) -> None:
        self.optimizer, self.function, self.last_epoch = optimizer, function, -1
        self.base_lrs = [number_of(group.get("initial_lr", group.get("lr"))) for group in optimizer.param_groups]

    def step(self) -> None:
        """Set the lr of the next step."""
        self.last_epoch += 1
        factor = self.function(self.last_epoch)
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = base * factor


def given_schedulers(scheduler: Any) -> tuple[Any, ...]:
    """The schedulers in a list and inside wrappers, such as Accelerate's.

    Raises:
        TypeError: one is neither a scheduler nor a function of the step.
    """
    if scheduler is None:
        return ()
    found = []
    for one in scheduler if isinstance(scheduler, list | tuple) else [scheduler]:
        while not isinstance(one, LRScheduler) and isinstance(getattr(one, "scheduler", None), LRScheduler):
            one = one.scheduler
        if not (isinstance(one, LRScheduler | ReduceLROnPlateau) or callable(one) or callable(getattr(one, "step", 0))):
            raise TypeError(
                f"scheduler is {shown(one)}; it must be a torch LRScheduler, a list of them, or a function of the step "
                "to a factor on the lr"
            )
        found.append(one)
    return tuple(found)


def is_function(scheduler: Any) -> bool:
    """Whether a scheduler was given as a function of the step."""
    return not hasattr(scheduler, "step")


def members(scheduler: Any) -> tuple[Any, ...]:
    """The schedulers directly inside a ChainedScheduler, a SequentialLR or the like."""
    inner = getattr(scheduler, "_schedulers", ())
    return tuple(inner) if isinstance(inner, list | tuple) else ()


def together(scheduler: Any) -> Iterator[Any]:
    """The schedulers that step at the same time: the members of a chain, not of a sequence."""
    if isinstance(scheduler, ChainedScheduler):
        for member in members(scheduler):
            yield from together(member)
    else:
        yield scheduler


def clock_of(scheduler: Any) -> int | None:
    """The number of steps that a scheduler has taken; None if it has no clock."""
    clock = getattr(scheduler, "last_epoch", None)
    if isinstance(clock, int):
        return clock
    return max((at for at in map(clock_of, members(scheduler)) if at is not None), default=None)


def groups_of(scheduler: Any) -> int | None:
    """The number of parameter groups that a scheduler was made for; None if it does not say."""
    bases = getattr(scheduler, "base_lrs", None)
    if bases is not None:
        return len(bases)
    return min((count for count in map(groups_of, members(scheduler)) if count is not None), default=None)


def needs_a_metric(scheduler: Any) -> bool:
    """Whether a scheduler's step must be given something, as that of ReduceLROnPlateau: it depends on the run."""
    try:
        parameters = inspect.signature(scheduler.step).parameters.values()
    except (AttributeError, TypeError, ValueError):
        return False
    return any(x.default is x.empty and x.kind in (x.POSITIONAL_ONLY, x.POSITIONAL_OR_KEYWORD) for x in parameters)


def fits(scheduler: Any, optimizer: torch.optim.Optimizer) -> bool:
    """Whether a scheduler was made for this optimizer and all of its groups."""
    own = unwrapped(getattr(scheduler, "optimizer", optimizer))
    return own is optimizer and groups_of(scheduler) in (None, len(optimizer.param_groups))


def can_be_played(scheduler: Any, optimizer: torch.optim.Optimizer) -> bool:
    """Whether a scheduler sets the lr of this optimizer by its step count alone."""
    is_omega = isinstance(scheduler, WarmupLR)
    return fits(scheduler, optimizer) and not is_omega and not needs_a_metric(scheduler)


def is_closed_form(scheduler: Any) -> bool:
    """Whether each lr is a base times a function of the step, so that any step can be computed alone."""
    if isinstance(scheduler, FunctionSchedule):
        return True
    kind = type(scheduler)
    is_torchs = getattr(kind, "get_lr", None) is LambdaLR.get_lr and kind.step is LambdaLR.step
    return is_torchs and "step" not in vars(scheduler)


_AFFINE = (
    "ConstantLR",
    "CosineAnnealingLR",
    "ExponentialLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "PolynomialLR",
    "StepLR",
)


def is_affine(scheduler: Any) -> bool:
    """Whether each lr is an affine function of the group's base lr, the same for all groups."""
    kind = type(scheduler)
    if "step" in vars(scheduler) or kind.__module__ != LambdaLR.__module__:
        return False
    inner = members(scheduler)
    return all(map(is_affine, inner)) if inner else kind.__name__ in _AFFINE


def functions_of(scheduler: Any) -> list[Callable[[int], float]]:
    """The function of each group of a scheduler in closed form."""
    if isinstance(scheduler, FunctionSchedule):
        return [scheduler.function] * len(scheduler.base_lrs)
    return list(scheduler.lr_lambdas)


def shared_objects(scheduler: Any) -> Iterator[Any]:
    """The objects behind a scheduler's functions that are not copied to play it, since they may be whole models."""
    for inner in members(scheduler):
        yield from shared_objects(inner)
    for function in [*getattr(scheduler, "lr_lambdas", ()), getattr(scheduler, "function", None)]:
        while isinstance(function, partial):
            yield from (x for x in (*function.args, *function.keywords.values()) if isinstance(x, torch.nn.Module))
            function = function.func
        owner = getattr(function, "__self__", function)
        if not isinstance(owner, FunctionType) and not _is_plain(owner):
            yield owner


def _is_plain(x: Any, depth: int = 3) -> bool:
    """Whether an object holds nothing but numbers and words, so that a copy is cheap and equivalent."""
    if x is None or isinstance(x, int | float | str):
        return True
    if not depth or isinstance(x, torch.nn.Module):
        return False
    if isinstance(x, list | tuple):
        return all(_is_plain(item, depth - 1) for item in x)
    held = x if isinstance(x, dict) else getattr(x, "__dict__", None)
    return held is not None and all(_is_plain(item, depth - 1) for item in held.values())
