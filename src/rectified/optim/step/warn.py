"""Warnings that optimizers give once: a slow step, a huge first momentum step, 16-bit weights that hardly move."""

import logging
import math
import sys
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._torch import has_values
from ..states.low_precision import NARROW
from .options import Group, value_of
from .plan import Found
from .update import Numbers, is_zero

log = logging.getLogger("rectified")

# A first momentum step beyond this share of the weights' own norm merits a warning: up to four more follow.
HUGE = 0.1

# From this step on 16-bit weights are looked at once, and merit a warning if fewer than this share of them move.
LATE, VANISHING = 128, 0.1
_SAMPLE, _STRIDE = 2**10, 104_729  # elements of a parameter that are looked at; a prime, not to stay in a column


def log_fallback_reasons(optimizer: Any, group: Group, reasons: Mapping[str, int]) -> None:
    """Log, once per reason and optimizer, why parameters do not step with the fastest kernel that was asked for.

    Args:
        reasons: maps each reason to the position in the group of the first parameter concerned.
    """
    logged: set[str] = optimizer.__dict__.setdefault("_logged", set())
    for reason, i in reasons.items():
        if reason not in logged:
            logged.add(reason)
            name = group["param_names"][i] if "param_names" in group else f"parameter {i}"
            log.warning(
                "%s takes a slower path for %s of shape %s (and similar parameters): %s",
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


class Sample(NamedTuple):
    """Some elements of a 16-bit parameter before a step.

    Attributes:
        now: the flat parameter.
        places: those of its elements that are looked at; each has a gradient.
        before: their values before the step.
        lr: of the group.
        t: the number of the step.
    """

    now: Tensor
    places: Tensor
    before: Tensor
    lr: float
    t: int


def sample_narrow(optimizer: Any, groups: Iterable[tuple[Group, Iterable[tuple[Found, Numbers]]]]) -> list[Sample]:
    """Look once at 16-bit parameters that are rounded to nearest, at a step with an lr that is meant to move them.

    That is from step 128 on, with omega of at least 0.9. The lr must be within a tenth of the largest so far, or it has
    decayed; and not above the last step's, or a scheduler is still warming it up. Empty at every other step.
    """
    found, any_narrow = [], False
    peaks: dict[int, tuple[float, float]] = optimizer.__dict__.setdefault("_peaks", {})
    for i, (group, pairs) in enumerate(groups):
        # A capturable lr must not be read: that would wait for the device, and end a capture.
        if group["capturable"] or group["rounding"] != "nearest" or not any(p.dtype in NARROW for p in group["params"]):
            continue
        any_narrow = True
        largest, last = peaks.get(i, (0.0, math.inf))
        lr = value_of(group["lr"])
        peaks[i] = max(largest, lr), lr
        if not 0.9 * largest <= lr <= last or not any(group is mine for mine in optimizer.param_groups):
            continue  # StepInBackward has groups of one parameter, which would stand for all
        for here, n in pairs:
            if n.t < LATE or n.omega < 0.9 or not lr:
                continue
            for p, g in zip(here.params, here.grads, strict=True):
                if p.dtype in NARROW and p.numel() and has_values(p) and p.is_contiguous():
                    places = (torch.arange(_SAMPLE, device=p.device) * _STRIDE) % p.numel()
                    places = places[g.detach().flatten()[places] != 0]
                    now = p.detach().view(-1)
                    found.append(Sample(now, places, now[places], lr, n.t))
    optimizer._sampled = bool(found) or not any_narrow
    return found


def warn_of_vanishing(optimizer: Any, samples: Iterable[Sample]) -> None:
    """Warn if most of what was sampled has not moved in the step."""
    moved = total = 0
    for sample in samples:
        moved += int((sample.now[sample.places] != sample.before).sum())
        total += len(sample.places)
        lr, t, dtype = sample.lr, sample.t, sample.now.dtype
    if total and moved < VANISHING * total:
        warnings.warn(
            f"step {t} of {type(optimizer).__name__} at lr {lr:.3g} changed {moved / total:.0%} of the {dtype} weights "
            "that have a gradient: the update of the others is less than half a unit in the last place, and rounds to "
            "nothing. Use rounding='kahan' or 'stochastic', or float32 weights with autocast",
            stacklevel=_outside(),
        )


def _outside() -> int:
    """The stacklevel of the line that called ``step``, outside of all hooks and wrappers."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(("rectified.", "torch.")):
        level, frame = level + 1, frame.f_back
    return level
