"""Histograms of gradients by step, a panel a run: how much of the network has gradients of which size."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ...figures.style import COLOURS, Style
from ..analysis.formatting import number
from ..execution.gradients import EDGES, PER_DECADE, Histogram
from .draw import Drawing, panel

_WIDTH, _HEIGHT = 290, 190
_STRONGEST = 0.85  # of the colour, where a bin holds the most


def histograms(found: Sequence[Histogram], style: Style, title: str, extent: tuple[float, float], name: str) -> Drawing:
    """One run's: step by log10 |g|, the darker the more elements; the line is their median.

    Args:
        extent: of the y axis, the same for all that are to be compared.
    """
    first, last = ((number(median(h), 1), h.step) for h in (found[0], found[-1]))
    label = (
        f"log10 of absolute gradients by step, {title}: the median goes from {first[0]} in step {first[1]} "
        f"to {last[0]} in step {last[1]}."
    )
    return Drawing(name, label, partial(_histograms, found, style, title, extent))


def _histograms(found: Sequence[Histogram], style: Style, title: str, extent: tuple[float, float]) -> Figure:
    figure, axes, _, _ = panel(_WIDTH, _HEIGHT, title)
    shares = np.array([h.shares() for h in found]).T
    # The colour as it stands on light paper, and its transparency the share: so it also stands on dark paper.
    image = np.empty((*shares.shape, 4))
    image[..., :3] = to_rgb(COLOURS[style.index % len(COLOURS)][1])
    image[..., 3] = _STRONGEST * np.sqrt(shares / max(shares.max(), 1e-12))
    first, last = found[0].step - 0.5, found[-1].step + 0.5
    axes.imshow(image, origin="lower", extent=(first, last, EDGES[0], EDGES[-1]), aspect="auto", interpolation="none")
    axes.plot([h.step for h in found], [median(h) for h in found], color=style.colour, linewidth=1.4)
    axes.set_xlim(first, last)
    axes.set_ylim(extent)
    axes.grid(visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    axes.set_xlabel("step")
    axes.set_ylabel("log10 |g|", labelpad=2)
    return figure


def median(found: Histogram) -> float:
    """Of log10 |g| over the elements that are not 0, evenly spread within a bin.

    >>> median(Histogram(1, 0, (1, 0, 2, 1)))
    -15.375
    """
    half, below = sum(found.counts) / 2, 0
    for edge, count in zip(EDGES, found.counts, strict=False):
        if count and below + count >= half:
            return edge + (half - below) / count / PER_DECADE
        below += count
    return EDGES[0]


def extent(runs: Sequence[Sequence[Histogram]]) -> tuple[float, float]:
    """The bins that hold a thousandth of some step's elements or more, of all the runs."""
    held = [i for run in runs for h in run for i, share in enumerate(h.shares()) if share >= 1e-3]
    return EDGES[min(held, default=0)], EDGES[max(held, default=len(EDGES) - 2) + 1]
