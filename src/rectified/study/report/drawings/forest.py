"""Differences from the baseline with their intervals: a forest plot, a row for each method at each lr."""

import math
from collections.abc import Mapping, Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import blended_transform_factory

from ....figures.drawing import Drawing, text_width
from ....figures.style import INK, MUTED, PAPER, RULE, SHADE, Style, canvas
from ...analysis.comparisons import Comparison, Difference
from ...analysis.formatting import number
from ...analysis.outcomes import Metric

_WIDTH, _ROW, _TOP, _BOTTOM, _TEXT = 560, 19, 34, 44, 150  # pixels
_EDGE, _INDENT, _GAP, _NARROW = 6, 10, 12, 220  # left of a name, of a row's label; right of them; the narrowest axes
_BOLD = 1.15  # as wide as plain letters
_FAR = 4  # an end this many times as far from 0 as the median one is cut
_BESIDE = 0.04  # of the axis' data, on each side of them, so that no marker touches the labels


def rows(found: Comparison) -> list[Difference]:
    """The differences in the order of the plot: per method, at best lrs, then at each lr; then those from controls."""
    at_best = [*found.at_best, *(d for d in found.beyond_lr if d.lr is None)]
    at_lr = [*found.at_lr, *(d for d in found.beyond_lr if d.lr is not None)]
    return [
        d
        for best in at_best
        for d in (best, *(e for e in at_lr if (e.method, e.baseline) == (best.method, best.baseline)))
        if d.values
    ]


def whom(d: Difference, baseline: str) -> str:
    """The label of a difference: the method, and its control if that is what it is compared with."""
    return d.method if d.baseline == baseline else f"{d.method} − {d.baseline}"


def where(d: Difference) -> str:
    """The learning rate of a difference, as a row label."""
    return "each at its best lr" if d.lr is None else f"lr {d.lr:g}"


def forest(found: Comparison, styles: Mapping[str, Style], metric: Metric, name: str) -> Drawing:
    """A forest plot of the differences from the baseline, with 95 % intervals or ranges by seed."""
    here = rows(found)
    better = [f"{whom(d, found.baseline)} {where(d)}" for d in here if d.finding == "better"]
    worse = [f"{whom(d, found.baseline)} {where(d)}" for d in here if d.finding == "worse"]
    label = (
        f"Differences in {metric.name} from {found.baseline}, {len(here)} rows: 95 % intervals, dotted ranges by seed. "
        f"Better: {', '.join(better) or 'none'}. Worse: {', '.join(worse) or 'none'}. "
        "The table below has every number."
    )
    return Drawing(name, label, partial(_forest, here, found.baseline, styles, metric))


def _forest(here: Sequence[Difference], baseline: str, styles: Mapping[str, Style], metric: Metric) -> Figure:
    names = list(dict.fromkeys(whom(d, baseline) for d in here))
    labels = max(_INDENT + text_width([where(d) for d in here]), _BOLD * text_width(names))
    left = max(_EDGE + labels + _GAP, 90)
    width = max(_WIDTH, left + _NARROW + _TEXT + 14)
    height = _TOP + _ROW * (len(here) + len(names)) + _BOTTOM
    figure = canvas(width, height)
    inner = (width - left - _TEXT - 14) / width
    axes = figure.add_axes((left / width, _BOTTOM / height, inner, 1 - (_TOP + _BOTTOM) / height))
    axes.set_title(f"difference from {baseline},{metric.difference or ' ' + metric.name}", y=1.0)
    axes.tick_params(length=0, pad=6)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.set_yticks([])
    axes.set_ylim(len(here) + len(names) - 0.5, -0.5)
    low, high = _extent(here, metric.margin)
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+.6g}".replace("-", "−") if value else "0"))
    axes.axvspan(-metric.margin, metric.margin, color=SHADE, linewidth=0, zorder=0)
    axes.axvline(0, color=MUTED, linewidth=1.2, zorder=1)
    ends = ("← worse", "better →") if metric.larger_is_better else ("← better", "worse →")
    for x, end, aligned in zip((0, 1), ends, ("left", "right"), strict=True):
        axes.text(x, -32 / (height - _TOP - _BOTTOM), end, transform=axes.transAxes, ha=aligned, color=MUTED)
    edge = blended_transform_factory(axes.transAxes, axes.transData)
    y = -1
    for name in names:
        own = [d for d in here if whom(d, baseline) == name]
        y += 1
        style = styles[own[0].method]
        shift = -(left - _EDGE) / (inner * width)
        axes.text(shift, y, name, transform=edge, va="center", color=INK, fontweight="bold", clip_on=False)
        for d in own:
            y += 1
            axes.text(shift + _INDENT / (inner * width), y, where(d), transform=edge, va="center", color=INK)
            _row(axes, d, y, style)
            numbers = number(d.mean, sign="+")
            if d.n > 1:
                numbers += " ({} to {})".format(*(number(end, sign="+") for end in _ends(d)))
            axes.text(1 + 12 / (inner * width), y, numbers, transform=edge, va="center", color=INK, fontsize=10)
        axes.axhline(y + 0.5, color=RULE, linewidth=0.7)
    return figure


def _row(axes: Axes, d: Difference, y: float, style: Style) -> None:
    """Draw an interval as a line, a range by seed dotted, with the mean on it; an end beyond the axis is an arrow."""
    (low, high), (first, last) = _ends(d), axes.get_xlim()
    name = f"{d.method} vs {d.baseline}, {where(d)}"
    if d.n > 1:
        dash = "-" if d.interval else ":"
        ends = [max(low, first), min(high, last)]
        axes.plot(ends, [y, y], dash, color=style.color, linewidth=1.6, label=f"{name}: interval")
        inset = 0.0075 * (last - first)
        for cut, x, marker in ((low < first, first + inset, "<"), (high > last, last - inset, ">")):
            if cut:
                axes.plot([x], [y], marker, color=style.color, markersize=4, label=f"{name}: cut")
    filled = style.color if d.finding in ("better", "worse") else PAPER
    axes.plot([d.mean], [y], style.marker, color=style.color, mfc=filled, ms=6, zorder=4, label=name)


def _ends(d: Difference) -> tuple[float, float]:
    """The ends of the interval, or the smallest and largest difference over seeds if there is no interval."""
    return (d.interval.low, d.interval.high) if d.interval else d.range


def _extent(here: Sequence[Difference], margin: float) -> tuple[float, float]:
    """The limits of the x axis: they include 0, the margin, every mean, and interval ends that are not too far out.

    An end is too far out if it is more than _FAR times as far from 0 as a typical row's farther end.
    """
    means = [d.mean for d in here]
    ends = [end for d in here for end in _ends(d) if math.isfinite(end)]
    distances = sorted(max(map(abs, (d.mean, *filter(math.isfinite, _ends(d))))) for d in here)
    far = _FAR * distances[(len(distances) - 1) // 2]
    shown = [-margin, margin, *means, *(end for end in ends if abs(end) <= far)]
    low, high = min(shown), max(shown)
    return low - _BESIDE * (high - low), high + _BESIDE * (high - low)
