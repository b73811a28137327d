"""The shape of an lr or omega over a run: where it peaks, how long it warms up, where its decay ends.

Equal numbers are compared up to :data:`SAME`: a schedule that computes each lr from the last one, as torch's cosine
does, drifts by rounding.
"""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...warmup.period import first_at

SAME = 1e-6  # a share of the peak: smaller differences are rounding
NEARLY = 0.9  # of the peak: no warmup, or one that only approaches its end has ended
_MILESTONES = 10  # at most; more drops are a smooth decay that is computed once per epoch


def as_tensor(values: Sequence[float]) -> Tensor:
    """The values in float64; an array's without a copy."""
    return (
        torch.frombuffer(values, dtype=torch.float64)
        if isinstance(values, array)
        else torch.tensor(list(values), dtype=torch.float64)
    )


def first(mask: Tensor) -> int | None:
    """The index of the first true element."""
    return int(mask.to(torch.uint8).argmax()) if mask.any() else None


def first_at_peak(values: Sequence[float]) -> int:
    """The index at which the maximum is first reached, up to rounding."""
    x = as_tensor(values)
    return first(x >= (1 - SAME) * x.max()) or 0


def is_flat(values: Sequence[float]) -> bool:
    """Whether all values are equal, up to rounding."""
    low, high = as_tensor(values).aminmax()
    return bool(high - low <= SAME * high.abs())


def warmup_length(values: Sequence[float]) -> int:
    """The length that an lr's warmup was set to: the steps until it peaks; 0 if it starts near its peak.

    A warmup that only approaches its peak ends at 0.9 of it. A factor of (t + 1) / length has its full value in the
    last step of the warmup, and t / length in the step after it.

    >>> warmup_length([0.25, 0.5, 0.75, 1.0, 1.0]), warmup_length([0.0, 0.25, 0.5, 0.75, 1.0]), warmup_length([1.0])
    (4, 4, 0)
    """
    x = as_tensor(values)
    peak = float(x.max())
    if peak <= 0 or x[0] >= NEARLY * peak:
        return 0
    nearly, full = first(x >= NEARLY * peak) or 0, first(x >= (1 - SAME) * peak) or 0
    if full > 2 * nearly + 1:
        return nearly
    starts_at_one = x[0] > 0 and abs(2 * x[0] - x[1]) <= SAME * x[1]
    return full + bool(starts_at_one)


def omega_length(omega: Callable[[int], float], taken: int, unknown: int) -> int:
    """The steps until omega is 1, or 0.9 if it only approaches 1; 0 if it starts there, `unknown` if it never does.

    >>> omega_length(lambda t: min(1.0, t / 100), 0, unknown=10), omega_length(lambda t: 1 - 0.99**t, 0, unknown=10)
    (100, 230)
    """
    nearly = first_at(omega, NEARLY, taken)
    if nearly is None or nearly == taken + 1:
        return unknown if nearly is None else 0
    full = first_at(omega, 1 - SAME, taken)
    return (full if full is not None and full - taken <= 2 * (nearly - taken) + 1 else nearly) - taken


@dataclass(frozen=True)
class Decay:
    """The decay of a schedule after its peak.

    Attributes:
        end: the step, from 1, at which the lr is first lowest; 0 if it does not decay, or decays until the end.
        left: the lr there, as a share of the peak.
        after: the largest lr after it, as a share of the peak.
        by_milestones: whether the lr drops in a few steps and is constant between them.
        restarts: whether the lr jumps up again.
    """

    end: int = 0
    left: float = 1.0
    after: float = 1.0
    by_milestones: bool = False
    restarts: bool = False


def decay_of(values: Sequence[float], stride: int = 1) -> Decay:
    """How a schedule decays; `values` are the lrs of every `stride`-th step.

    >>> decay_of([1.0, 0.5, 0.0, 0.0, 0.0, 0.0]).end
    3
    """
    x = as_tensor(values)
    begin = first_at_peak(values)
    tail, peak = x[begin:], float(x[begin])
    lowest = float(tail.min())
    if peak <= 0 or lowest >= NEARLY * peak:
        return Decay()
    at = first(tail <= lowest + SAME * peak) or 0
    after = tail[at:]
    if len(after) < max(2, 0.005 * len(x)) or bool((after.diff() < 0).all()):
        return Decay()  # it goes down until the last value: an exponential is low early, but has no end
    high = int(torch.nonzero(tail[: at + 1] >= (1 - SAME) * peak)[-1])
    falling = tail[high : at + 1]
    changes = int((falling[1:] != falling[:-1]).sum())
    jump = float(after.diff().max()) if len(after) > 1 else 0.0
    return Decay(
        end=(begin + at) * stride + 1,
        left=float(tail[at]) / peak,
        after=float(after.max()) / peak,
        by_milestones=changes <= min(_MILESTONES, (at - high + 1) // 2),
        restarts=jump > 0.1 * peak,
    )
