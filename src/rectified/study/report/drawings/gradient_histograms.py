"""Histograms of gradient magnitudes by step, one panel per run."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ....figures.drawing import Drawing
from ....figures.style import INK, Style
from ...analysis.formatting import number
from ...execution.gradients import EDGES, PER_DECADE, Histogram
from .layout import panel

WIDTH, HEIGHT = 290, 190  # of the figure and of its axes, in pixels
_STRONGEST = 0.7  # opacity where a bin holds the most


def histograms(found: Sequence[Histogram], style: Style, title: str, extent: tuple[float, float], name: str) -> Drawing:
    """The histograms of one run, log10 |g| by step: darker means more elements, and the line is the median.

    Args:
        title: the name of the run.
        extent: the limits of the y axis; the same for panels that are to be compared.
    """
    first, last = ((number(median(h), 1), h.step) for h in (found[0], found[-1]))
    label = (
        f"log10 of absolute gradients by step, {title}: the median goes from {first[0]} in step {first[1]} "
        f"to {last[0]} in step {last[1]}."
    )
    return Drawing(name, label, partial(_histograms, found, style, title, extent))


def _histograms(found: Sequence[Histogram], style: Style, title: str, extent: tuple[float, float]) -> Figure:
    figure, axes, _, _ = panel(WIDTH, HEIGHT, title)
    draw_run(axes, found, style, extent)
    return figure


def draw_run(axes: Axes, found: Sequence[Histogram], style: Style, extent: tuple[float, float]) -> None:
    """Draw the histograms of one run side by side, one per step, and their medians."""
    shares = np.array([h.shares() for h in found]).T
    # Opacity is the share, so that the paper shows through, whatever its color.
    image = np.empty((*shares.shape, 4))
    image[..., :3] = to_rgb(style.color)
    image[..., 3] = _STRONGEST * np.sqrt(shares / max(shares.max(), 1e-12))
    first, last = found[0].step - 0.5, found[-1].step + 0.5
    axes.imshow(image, origin="lower", extent=(first, last, EDGES[0], EDGES[-1]), aspect="auto", interpolation="none")
    axes.plot([h.step for h in found], [median(h) for h in found], color=INK, linewidth=1.2, label="median")
    axes.set_xlim(first, last)
    axes.set_ylim(extent)
    axes.grid(visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    axes.set_xlabel("step")
    axes.set_ylabel("log10 |g|", labelpad=2)


def median(found: Histogram) -> float:
    """The median of log10 |g| over nonzero elements, assuming a uniform distribution within a bin.

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
    """The limits of log10 |g| over all runs: the bins that hold at least 0.1 % of some step's elements."""
    held = [i for run in runs for h in run for i, share in enumerate(h.shares()) if share >= 1e-3]
    return EDGES[min(held, default=0)], EDGES[max(held, default=len(EDGES) - 2) + 1]
