"""A figure of lines and points on one pair of axes, from columns of numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from .drawing import Drawing, Key
from .style import INK, MUTED, PAPER, Style, canvas
from .table import Table

WIDTH, HEIGHT = 430, 250  # pixels
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 30, 44  # margins
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Line:
    """A line, or points with error bars.

    Args:
        label: its name in the legend; not in the legend if empty.
        error: the standard error of each y; a band or bars show twice as much to either side. Points with an infinite
            error are hollow, and a line leaves them out.
        points: draw no line.
        marked: draw a marker here and there on the line.
    """

    label: str
    style: Style
    x: Sequence[float]
    y: Sequence[float]
    error: Sequence[float] | None = None
    points: bool = False
    marked: bool = True
    drawstyle: str = "default"

    @property
    def key(self) -> Key:
        hollow = self.error is not None and all(error == math.inf for error in self.error)
        return Key(self.style, line=not self.points, marker=self.points or self.marked, hollow=hollow)


@dataclass(frozen=True)
class Mark:
    """A thin line across the axes, at x or at y, with a label."""

    text: str
    x: float | None = None
    y: float | None = None
    place: float = 0.0  # position of the label along the line, from 0 to 1


@dataclass(frozen=True)
class Plot:
    """A figure and the numbers in it.

    Args:
        name: the name of its files.
        title: the title of the y axis, written above it.
        table: the numbers, as in the CSV.
        alt: the text for screen readers.
    """

    name: str
    title: str
    xlabel: str
    lines: Sequence[Line]
    table: Table
    alt: str
    logs: str = "xy"  # which axes are logarithmic
    xlim: tuple[float, float] | None = None
    ylim: tuple[float, float] | None = None
    yticks: Sequence[float] | None = None
    marks: Sequence[Mark] = field(default=())

    @property
    def drawing(self) -> Drawing:
        legend = {line.label: line.key for line in self.lines if line.label}
        return Drawing(self.name, self.alt, partial(_draw, self), legend)

    def files(self) -> dict[str, bytes]:
        """The figure as CSV, SVG and PDF, by file name."""
        return {f"{self.name}.csv": self.table.csv().encode(), **self.drawing.files()}


def _draw(plot: Plot) -> Figure:
    figure = canvas(WIDTH, HEIGHT)
    axes = figure.add_axes(
        (_LEFT / WIDTH, _BOTTOM / HEIGHT, 1 - (_LEFT + _RIGHT) / WIDTH, 1 - (_TOP + _BOTTOM) / HEIGHT)
    )
    axes.set_title(plot.title, y=1.0)
    axes.set_xlabel(plot.xlabel)
    axes.tick_params(length=0, pad=6)
    axes.spines["left"].set_visible(False)
    for line in plot.lines:
        _add(axes, line)
    _scale(axes, plot)
    for mark in plot.marks:
        _mark(axes, mark)
    return figure


def _add(axes: Axes, line: Line) -> None:
    style = line.style
    error = line.error if line.error is not None else [0.0] * len(line.y)
    ys = [y if math.isfinite(y) else math.nan for y in line.y]
    sure = [(x, y, 2 * e) for x, y, e in zip(line.x, ys, error, strict=True) if not math.isinf(e)]
    unsure = [(x, y) for x, y, e in zip(line.x, ys, error, strict=True) if math.isinf(e)]
    xs, ys, errors = ([row[i] for row in sure] for i in range(3))
    if line.points:
        axes.errorbar(
            xs,
            ys,
            errors,
            fmt=style.marker,
            color=style.color,
            markersize=4.8,
            markeredgewidth=0,
            elinewidth=1.1,
            label=line.label,
            zorder=5,
        )
    else:
        if any(errors):
            band = [y - e for y, e in zip(ys, errors, strict=True)], [y + e for y, e in zip(ys, errors, strict=True)]
            axes.fill_between(xs, *band, color=style.color, alpha=0.18, linewidth=0, label=line.label)
        every = max(1, math.ceil(len(xs) / 6))
        axes.plot(
            xs,
            ys,
            color=style.color,
            linestyle=style.dash,
            zorder=style.level,
            drawstyle=line.drawstyle,
            marker=style.marker if line.marked else "",
            markersize=4.5,
            markevery=((2 * style.index) % every, every),
            label=line.label,
        )
    axes.plot(
        [x for x, _ in unsure],
        [y for _, y in unsure],
        style.marker,
        color=style.color,
        markersize=4,
        markerfacecolor=PAPER,
        markeredgewidth=1,
        label=f"{line.label}: hollow",
        zorder=5,
    )


def _scale(axes: Axes, plot: Plot) -> None:
    for name, axis, limits in (("x", axes.xaxis, plot.xlim), ("y", axes.yaxis, plot.ylim)):
        ticks = plot.yticks if name == "y" else None
        if name in plot.logs:
            (axes.set_xscale if name == "x" else axes.set_yscale)("log")
            axis.set_major_locator(LogLocator(numticks=7))
            axis.set_minor_locator(NullLocator())
        else:
            axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
        if ticks is not None:
            axis.set_major_locator(FixedLocator(list(ticks)))
        if limits is not None:
            (axes.set_xlim if name == "x" else axes.set_ylim)(*limits)
        low, high = axis.get_view_interval()
        powers = name in plot.logs and ticks is None and (low < 1e-4 or high > 2e4)
        axis.set_major_formatter(FuncFormatter(lambda value, _, powers=powers: _tick(value, powers)))


def _tick(value: float, power: bool) -> str:
    """Format a number on an axis, as a power of ten on a long logarithmic axis.

    >>> _tick(1000, power=False), _tick(0.001, power=True), _tick(-0.25, power=False), _tick(2e9, power=False)
    ('1,000', '10⁻³', '−0.25', '2e+09')
    """
    if power:
        exponent = round(math.log10(value))
        return f"{value:g}" if exponent in (0, 1) else "10" + str(exponent).translate(_SUPERSCRIPTS)
    return (f"{value:,.0f}" if 1000 <= abs(value) < 1e8 else f"{value:.6g}").replace("-", "−")


def _mark(axes: Axes, mark: Mark) -> None:
    if mark.y is not None:
        axes.axhline(mark.y, color=MUTED, linewidth=1, zorder=2.5)
        where, offset, across = (mark.place, mark.y), (0, 3), axes.get_yaxis_transform()
        aligned = "left" if mark.place < 0.5 else "right"
    else:
        assert mark.x is not None
        axes.axvline(mark.x, color=MUTED, linewidth=1, zorder=2.5)
        where, offset, across = (mark.x, mark.place), (4, 0), axes.get_xaxis_transform()
        aligned = "left"
    axes.annotate(
        mark.text,
        where,
        xycoords=across,
        xytext=offset,
        textcoords="offset points",
        ha=aligned,
        va="bottom",
        fontsize=10,
        color=INK,
    )
