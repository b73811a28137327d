"""Warnings that optimizers give once: why a step is slow, and that the first momentum step is huge."""

import logging
import sys
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from .._torch import has_values
from .options import Group, value_of
from .plan import Found
from .update import Numbers, is_zero

log = logging.getLogger("rectified")

# A first momentum step beyond this share of the weights' own norm merits a warning: up to four more follow.
HUGE = 0.1


def log_fallback_reasons(optimizer: Any, group: Group, reasons: Mapping[str, int]) -> None:
    """Log, once per reason and optimizer, why parameters step with foreach ops instead of the fused op.

    Args:
        reasons: maps each reason to the position in the group of the first parameter concerned.
    """
    logged: set[str] = optimizer.__dict__.setdefault("_logged", set())
    for reason, i in reasons.items():
        if reason not in logged:
            logged.add(reason)
            name = group["param_names"][i] if "param_names" in group else f"parameter {i}"
            log.warning(
                "%s uses the slower foreach path for %s of shape %s (and similar parameters): %s",
                type(optimizer).__name__,
                name,
                tuple(group["params"][i].shape),
                reason,
            )


def warn_of_huge_start(optimizer: Any, groups: Iterable[Iterable[tuple[Found, Numbers]]]) -> None:
    """Warn, once per optimizer, about a first momentum step that is large relative to the weights.

    Args:
        groups: for each group, the tensors about to step with their numbers.
    """
    first = [pair for pairs in groups for pair in pairs if pair[1].is_first and not is_zero(pair[1].momentum)]
    if not first or optimizer.__dict__.get("_warned"):
        return
    if not all(has_values(x) for found, _ in first for x in (*found.params, *found.grads)):
        return
    step = weight = 0.0
    for found, n in first:
        # In the first momentum step m_hat is the gradient.
        scale = value_of(n.momentum) * (1 - value_of(n.beta1)) / (1 if n.grad_scale is None else value_of(n.grad_scale))
        step += sum((scale * norm.item()) ** 2 for norm in torch._foreach_norm(found.grads))
        weight += sum(norm.item() ** 2 for norm in torch._foreach_norm(found.params))
    step, weight = step**0.5, weight**0.5
    if weight > 0 and step > HUGE * weight:
        optimizer.__dict__["_warned"] = True
        warnings.warn(
            f"the first momentum step of {type(optimizer).__name__} moves the parameters by {step / weight:.2g} times "
            f"their norm ({step:.2g} vs {weight:.2g}), and more such steps follow until rectification begins. "
            "Gradients this large can ruin the run: start='hold' keeps the parameters fixed until then",
            stacklevel=_outside(),
        )


def _outside() -> int:
    """The stacklevel of the line that called ``step``, outside of all hooks and wrappers."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(("rectified.", "torch.")):
        level, frame = level + 1, frame.f_back
    return level
