"""The range of learning rates over which a method stays close to its best. Pure functions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from .stats import finite


@dataclass(frozen=True)
class Robustness:
    """The decades of lr over which a method's mean is within a margin of its best mean.

    Attributes:
        width: in decades.
        by_seed: the smallest and the largest width of any one seed. This is a range, not a confidence interval:
            resampling so few seeds would give one that is far too narrow.
        lrs: the lowest and the highest lr of the range.
        open: whether the range reaches an end of the grid, which makes the width a lower bound.
        seeds: the number of seeds.
    """

    width: float
    by_seed: tuple[float, float]
    lrs: tuple[float, float]
    open: bool
    seeds: int


def robustness(
    lrs: Sequence[float], values: Sequence[Sequence[float]], margin: float, larger_is_better: bool
) -> Robustness:
    """Measure how sensitive a method is to its lr; between grid points the mean is interpolated linearly in log lr.

    Args:
        lrs: from the smallest to the largest.
        values: for each seed, the value at each lr.

    Raises:
        ValueError: the margin is not positive, there is no seed, an lr is not positive or has no value, or a number is
            NaN or infinite.

    >>> found = robustness([0.001, 0.01, 0.1], [[80, 90, 85], [82, 90, 87]], margin=5, larger_is_better=True)
    >>> round(found.width, 3), found.open
    (1.556, True)
    """
    if not 0 < margin < math.inf:
        raise ValueError(f"margin is {margin}; it must be positive and finite")
    if not values:
        raise ValueError("no values; there must be at least one seed")
    sign = 1 if larger_is_better else -1
    if min(finite(lrs)) <= 0:
        raise ValueError(f"an lr is {min(lrs)}; it must be positive")
    x = [math.log10(lr) for lr in lrs]
    rows = [[sign * value for value in finite(row)] for row in values]
    if any(len(row) != len(x) for row in rows):
        raise ValueError(f"a seed does not have {len(x)} values; it must have one for each lr")
    low, high, is_open = _span(x, [fmean(column) for column in zip(*rows, strict=True)], margin)
    widths = [end - start for start, end, _ in (_span(x, row, margin) for row in rows)]
    return Robustness(high - low, (min(widths), max(widths)), (10**low, 10**high), is_open, len(rows))


def _span(x: Sequence[float], means: Sequence[float], margin: float) -> tuple[float, float, bool]:
    """The range around the highest mean in which the line stays within the margin, and whether it reaches an end."""
    top = max(means)
    first = means.index(top)
    ends = []
    is_open = False
    for step in (-1, 1):
        i = first
        while True:
            j = i + step
            if not 0 <= j < len(x):
                ends.append(x[i])
                is_open = True
                break
            if means[j] < top - margin:
                ends.append(x[i] + (x[j] - x[i]) * (means[i] - (top - margin)) / (means[i] - means[j]))
                break
            i = j
    return ends[0], ends[1], is_open
