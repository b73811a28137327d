"""What the optimizers tell unasked, each thing once."""

import logging
import sys
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .coefficients import coefficients
from .options import Group, number
from .plan import Bucket, Plan

if TYPE_CHECKING:
    from ..adam import Adam

log = logging.getLogger("rectified")

# A first momentum step beyond this share of the weights' own norm is worth a word: up to four more follow.
HUGE = 0.1


def say_excuses(optimizer: "Adam", group: Group, plan: Plan) -> None:
    """Log, once per reason and optimizer, why parameters step by foreach ops and not by the fused one."""
    said: set[str] = optimizer.__dict__.setdefault("_said", set())
    for reason, i in plan.excuses.items():
        if reason not in said:
            said.add(reason)
            name = group["param_names"][i] if "param_names" in group else f"parameter {i}"
            log.warning(
                "%s takes the slower foreach path for %s of shape %s (and whatever is like it): %s",
                type(optimizer).__name__,
                name,
                tuple(group["params"][i].shape),
                reason,
            )


def warn_of_huge_start(
    optimizer: "Adam",
    work: Iterable[tuple[Group, Plan, list[tuple[Bucket, list[Tensor], float]]]],
    grad_scale: Tensor | None,
) -> None:
    """Warn, once per optimizer, of a first momentum step that is large against the weights."""
    moved, weights = [], []
    for group, _, moves in work:
        for bucket, grads, omega in moves:
            if omega or bucket.t != getattr(group["warmup"], "m_delay", 0):
                continue
            if coefficients(group, bucket.t + 1, omega).momentum:
                moved += [number(group["lr"]) * norm.item() for norm in torch._foreach_norm(grads)]
                weights += [norm.item() for norm in torch._foreach_norm(bucket.tensors.params)]
    if not moved or optimizer.__dict__.get("_warned"):
        return
    step, weight = (sum(x * x for x in norms) ** 0.5 for norms in (moved, weights))
    if grad_scale is not None:
        step /= number(grad_scale)
    if weight > 0 and step > HUGE * weight:
        optimizer.__dict__["_warned"] = True
        warnings.warn(
            f"the first momentum step of {type(optimizer).__name__} moves the parameters by {step / weight:.2g} times "
            f"their norm ({step:.2g} against {weight:.2g}), and more such steps follow until rectification begins. "
            "Gradients this large can ruin the run here: start='hold' leaves the parameters alone meanwhile",
            stacklevel=_outside(),
        )


def _outside() -> int:
    """The stacklevel of the line that called ``step``, whichever hooks and wrappers lie between."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(("rectified.", "torch.")):
        level, frame = level + 1, frame.f_back
    return level
