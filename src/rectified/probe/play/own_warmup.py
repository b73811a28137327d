"""What an optimizer of any library does by itself: its warmup, its step count, its options as numbers."""

from collections.abc import Callable
from dataclasses import replace
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from ...optim._torch import has_values
from ...optim.base import BaseOptimizer
from ...optim.explain import omegas_of
from ...optim.observe.remembered import observing
from ...optim.step.options import Group, value_of
from ...optim.wrap.compat import lacks_v, steps_taken
from ...optim.wrap.scaling import active
from ...warmup import Rectified

_ALGORITHM_2 = ("RAdamScheduleFree", "ScheduleFreeRAdam")  # with the paper's threshold


def number_of(x: Any, default: float = 0.0) -> float:
    """An option as a number; the default if it is missing, or None, a pair or a word, as in some libraries.

    >>> number_of(0.1), number_of(torch.tensor(0.5)), number_of((1e-30, 1e-3)), number_of(None), number_of("auto")
    (0.1, 0.5, 0.0, 0.0, 0.0)
    """
    if isinstance(x, Tensor):
        return value_of(x) if x.numel() == 1 and has_values(x) and not x.is_complex() else default
    return float(x) if isinstance(x, Real) else default


def adam_betas(optimizer: torch.optim.Optimizer, group: Group) -> tuple[float, float] | None:
    """beta1 and beta2 of an optimizer that averages squared gradients; None for any other, such as Lion."""
    betas = group.get("betas")
    if not isinstance(betas, tuple | list) or len(betas) != 2 or lacks_v(optimizer):
        return None
    beta1, beta2 = (number_of(beta, -1.0) for beta in betas)
    return None if beta1 < 0 or beta2 < 0 else (beta1, beta2)


def rectification_of(optimizer: torch.optim.Optimizer, group: Group) -> Rectified | None:
    """The rectification that an optimizer of any library uses in a group."""
    if (scaling := active(optimizer)) is not None:
        # A warmup around an optimizer skips or holds the steps at omega = 0.
        return replace(scaling.warmup, start="hold") if isinstance(scaling.warmup, Rectified) else None
    if "warmup" in group or isinstance(optimizer, BaseOptimizer):
        return group["warmup"] if isinstance(group.get("warmup"), Rectified) else None
    names = {kind.__name__ for kind in type(optimizer).__mro__}
    if not names.isdisjoint(_ALGORITHM_2):
        return Rectified(threshold=4, start="hold")
    if isinstance(optimizer, torch.optim.RAdam) or "Ranger" in names:
        return Rectified()
    if any("RAdam" in name for name in names) or _asks_to_rectify(optimizer, group):
        return Rectified(start="momentum" if getattr(optimizer, "degenerated_to_sgd", True) else "hold")
    return None


def observes_run(optimizer: torch.optim.Optimizer, group: Group) -> bool:
    """Whether a group's warmup observes the run, so that nothing is known of its omegas before."""
    scaling = active(optimizer)
    return observing(group.get("warmup") if scaling is None else scaling.warmup)


def _asks_to_rectify(optimizer: torch.optim.Optimizer, group: Group) -> bool:
    return group.get("rectify", getattr(optimizer, "rectify", False)) is True


def omega_function(optimizer: torch.optim.Optimizer, index: int) -> Callable[[int], float]:
    """omega(t) of a group, also for the RAdams and the schedule-free optimizers of other libraries.

    It is 0 for a RAdam that never leaves its start.
    """
    group = optimizer.param_groups[index]
    known = active(optimizer) is not None or isinstance(optimizer, BaseOptimizer)
    rectified, betas = rectification_of(optimizer, group), adam_betas(optimizer, group)
    if not known and rectified is not None and betas is not None:
        try:
            rectified.check(betas[1])
        except ValueError:
            return lambda t: 0.0
        return lambda t: rectified.omega(t, betas[1])
    length = number_of(group.get("warmup_steps"))
    if not known and _is_schedule_free(optimizer) and length > 0:
        return lambda t: min(1.0, t / length)
    return omegas_of(optimizer, index)


def _is_schedule_free(optimizer: torch.optim.Optimizer) -> bool:
    return any("ScheduleFree" in kind.__name__ for kind in type(optimizer).__mro__)


def taken_by(optimizer: torch.optim.Optimizer, group: Group) -> int:
    """The number of steps that a group has taken, as far as its optimizer counts them."""
    taken = steps_taken(optimizer, group)
    return taken or (int(number_of(group.get("k"))) if _is_schedule_free(optimizer) else 0)
