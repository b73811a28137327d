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
_FAR = 4  # an end this many times as far from 0 as the median one is cut


def rows(found: Comparison) -> list[Difference]:
    """The differences that have an interval: method by method, first at its best lr, then lr by lr."""
    return [
        d for best in found.at_best for d in (best, *(e for e in found.at_lr if e.method == best.method)) if d.interval
    ]


def where(d: Difference) -> str:
    """The learning rate of a difference, for its row."""
    return "each at its best lr" if d.lr is None else f"lr {d.lr:g}"


def forest(found: Comparison, styles: Mapping[str, Style], metric: Metric, name: str) -> Drawing:
    """The paired differences from the baseline with 95 % intervals; a filled marker is a finding."""
    here = rows(found)
    better = [f"{d.method} {where(d)}" for d in here if d.finding == "better"]
    worse = [f"{d.method} {where(d)}" for d in here if d.finding == "worse"]
    label = (
        f"Differences in {metric.name} from {found.baseline}, {len(here)} rows, with 95 % intervals. "
        f"Better: {', '.join(better) or 'none'}. Worse: {', '.join(worse) or 'none'}. "
        "The table below has every number."
    )
    return Drawing(name, label, partial(_forest, here, found.baseline, styles, metric))


def _forest(here: Sequence[Difference], baseline: str, styles: Mapping[str, Style], metric: Metric) -> Figure:
    methods = list(dict.fromkeys(d.method for d in here))
    left = max(text_width([where(d) for d in here]) + 22, 90)
    height = _TOP + _ROW * (len(here) + len(methods)) + _BOTTOM
    figure = canvas(_WIDTH, height)
    inner = (_WIDTH - left - _TEXT - 14) / _WIDTH
    axes = figure.add_axes((left / _WIDTH, _BOTTOM / height, inner, 1 - (_TOP + _BOTTOM) / height))
    axes.set_title(f"difference from {baseline},{metric.difference or ' ' + metric.name}", y=1.0)
    axes.tick_params(length=0, pad=6)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.set_yticks([])
    axes.set_ylim(len(here) + len(methods) - 0.5, -0.5)
    reach = _reach(here, metric.margin)
    axes.set_xlim(-reach, reach)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+.6g}".replace("-", "−") if value else "0"))
    axes.axvspan(-metric.margin, metric.margin, color=SHADE, linewidth=0, zorder=0)
    axes.axvline(0, color=MUTED, linewidth=1.2, zorder=1)
    ends = ("← worse", "better →") if metric.larger_is_better else ("← better", "worse →")
    for x, end, aligned in zip((0, 1), ends, ("left", "right"), strict=True):
        axes.text(x, -32 / (height - _TOP - _BOTTOM), end, transform=axes.transAxes, ha=aligned, color=MUTED)
    edge = blended_transform_factory(axes.transAxes, axes.transData)
    y = -1
    for method in methods:
        y += 1
        style = styles[method]
        shift = -(left - 6) / (inner * _WIDTH)
        axes.text(shift, y, method, transform=edge, va="center", color=INK, fontweight="bold", clip_on=False)
        for d in (d for d in here if d.method == method):
            y += 1
            assert d.interval is not None
            axes.text(shift + 10 / (inner * _WIDTH), y, where(d), transform=edge, va="center", color=INK)
            _row(axes, d, y, style, reach)
            numbers = number(d.interval.estimate, sign="+")
            if math.isfinite(d.interval.half):
                numbers += f" ({number(d.interval.low, sign='+')} to {number(d.interval.high, sign='+')})"
            axes.text(1 + 12 / (inner * _WIDTH), y, numbers, transform=edge, va="center", color=INK, fontsize=10)
        axes.axhline(y + 0.5, color=RULE, linewidth=0.7)
    return figure


def _row(axes: Axes, d: Difference, y: float, style: Style, reach: float) -> None:
    """Draw an interval as a line with the estimate on it; an end that leaves the axis is an arrow."""
    assert d.interval is not None
    low, high, middle = d.interval.low, d.interval.high, d.interval.estimate
    name = f"{d.method}, {where(d)}"
    if math.isfinite(d.interval.half):
        axes.plot(
            [max(low, -reach), min(high, reach)], [y, y], color=style.color, linewidth=1.6, label=f"{name}: interval"
        )
        for end, marker in ((-reach, "<"), (reach, ">")):
            if low < end < high or (middle > end > 0) or (middle < end < 0):
                axes.plot([end * 0.985], [y], marker, color=style.color, markersize=4, label=f"{name}: cut")
    if abs(middle) <= reach:
        filled = style.color if d.finding in ("better", "worse") else PAPER
        axes.plot([middle], [y], style.marker, color=style.color, mfc=filled, ms=6, zorder=4, label=name)


def _reach(here: Sequence[Difference], margin: float) -> float:
    """Half the width of the x axis: most intervals fit, and the few that would squash them are cut."""
    ends = sorted(
        max(abs(end) for end in (d.interval.low, d.interval.high, d.interval.estimate) if math.isfinite(end))
        for d in here
        if d.interval
    )
    typical = ends[(len(ends) - 1) // 2]
    return 1.06 * max(margin, max(end for end in ends if end <= _FAR * typical))
