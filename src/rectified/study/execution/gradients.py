"""Histograms of gradient magnitudes in the first steps of a run, as in the paper's Figure 2.

Each step has a histogram of log10 |g| over all elements of all parameters. Gradients are taken right after backward,
before clipping, and divided by the task's loss scale.
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...files import write

NAME = "gradients.csv"
LOWEST, HIGHEST, PER_DECADE = -16, 4, 4
EDGES = [LOWEST + i / PER_DECADE for i in range((HIGHEST - LOWEST) * PER_DECADE + 1)]
_BINS = len(EDGES) - 1


@dataclass(frozen=True)
class Histogram:
    """The histogram of gradient magnitudes in one step.

    Attributes:
        step: the step, from 1.
        zeros: the number of elements that are exactly 0.
        counts: the number of other elements in each bin between EDGES; the first and last bins include values beyond.
    """

    step: int
    zeros: int
    counts: tuple[int, ...]

    def shares(self) -> list[float]:
        """The share of nonzero elements in each bin.

        >>> Histogram(1, 5, (0, 3, 1)).shares()
        [0.0, 0.75, 0.25]
        """
        total = sum(self.counts) or 1
        return [count / total for count in self.counts]


def histogram(step: int, gradients: Iterable[Tensor], scale: float = 1.0) -> Histogram:
    """The histogram of gradients of `scale` times the loss.

    >>> found = histogram(1, [torch.tensor([0.0, 1e-3, -1.1e-3, 0.5])])
    >>> found.zeros, [(EDGES[i], count) for i, count in enumerate(found.counts) if count]
    (1, [(-3.0, 2), (-0.5, 1)])
    """
    counts, zeros = torch.zeros(_BINS, dtype=torch.int64), 0
    for gradient in gradients:
        sizes = gradient.detach().abs().flatten().double()
        sizes = sizes[sizes > 0]
        zeros += gradient.numel() - len(sizes)
        bins = ((sizes / scale).log10() - LOWEST).mul_(PER_DECADE).floor_().clamp_(0, _BINS - 1)
        counts += torch.bincount(bins.long(), minlength=_BINS).cpu()
    return Histogram(step, zeros, tuple(counts.tolist()))


def write_histograms(folder: Path, found: Sequence[Histogram]) -> None:
    """Write gradients.csv into a run's folder: one row per step, and one column per bin, named by its lower edge."""
    lines = [",".join(["step", "zero", *(f"{edge:g}" for edge in EDGES[:-1])])]
    lines += [",".join(map(str, [h.step, h.zeros, *h.counts])) for h in found]
    write(folder / NAME, "\n".join(lines) + "\n")


def parse_histograms(content: bytes) -> list[Histogram]:
    """Parse the content of a gradients.csv; empty content has no histograms.

    Raises:
        ValueError: the content is damaged.

    >>> parse_histograms(b"")
    []
    """
    try:
        numbers = [list(map(int, row)) for row in list(csv.reader(content.decode().splitlines()))[1:]]
    except csv.Error as error:
        raise ValueError(f"{NAME}: {error}") from None
    return checked_histograms(numbers)


def checked_histograms(rows: Iterable[Sequence[int]]) -> list[Histogram]:
    """Build histograms from rows of step, zeros and counts.

    Raises:
        ValueError: a row has the wrong number of values, or a value that is not a count.
    """
    found = []
    for row in rows:
        if len(row) != 2 + _BINS or any(type(n) is not int or not 0 <= n < 2**63 for n in row):
            raise ValueError(f"{NAME} has a row that is not a histogram")
        found.append(Histogram(row[0], row[1], tuple(row[2:])))
    return found


def show(board: Any, found: Iterable[Histogram]) -> None:
    """Add histograms to TensorBoard."""
    for h in found:
        middles = [edge + 0.5 / PER_DECADE for edge in EDGES[:-1]]
        total = sum(count * middle for count, middle in zip(h.counts, middles, strict=True))
        squares = sum(count * middle**2 for count, middle in zip(h.counts, middles, strict=True))
        some = [middle for count, middle in zip(h.counts, middles, strict=True) if count]
        board.add_histogram_raw(
            "log10 of gradients",
            min=min(some, default=0.0),
            max=max(some, default=0.0),
            num=sum(h.counts),
            sum=total,
            sum_squares=squares,
            bucket_limits=EDGES[1:],
            bucket_counts=list(h.counts),
            global_step=h.step,
        )
