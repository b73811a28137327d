"""A figure of lines and points: for a page, whose legend is text, or to stand alone with a legend of its own."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from .style import INK, MUTED, PAPER, Style, canvas, look, saved, svg
from .table import Table

WIDTH, HEIGHT = 430, 250  # of what is drawn for a page, in pixels; a legend is put below that
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 30, 44  # margins
_ROW = 18  # of a legend
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Line:
    """A line, or points with bars, and what they are called.

    Args:
        label: for the legend, which leaves out a line without one.
        error: a standard error of each y: twice as much is drawn, as a band or as bars. Where it is infinite a point
            is hollow, and the line leaves it out.
        points: no line.
        marked: a line with a marker here and there.
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
    def hollow(self) -> bool:
        """Whether it is nothing but hollow points."""
        return self.error is not None and all(error == math.inf for error in self.error)

    @property
    def key(self) -> str:
        """A name that it shares with the lines that look the same in a legend."""
        return f"key-{self.style.index}-{self.points:d}{self.marked:d}{self.hollow:d}"


@dataclass(frozen=True)
class Mark:
    """A thin line across, with a word at its end."""

    text: str
    x: float | None = None
    y: float | None = None
    place: float = 0.0  # how far along the line the word stands, from 0 to 1


@dataclass(frozen=True)
class Panel:
    """A figure: its name is that of its files, its title what is drawn upwards.

    Args:
        table: the numbers, as they go into the CSV.
        alt: what a screen reader says.
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
    def legend(self) -> list[Line]:
        return [line for line in self.lines if line.label]


def inline(panel: Panel) -> Markup:
    """The figure as an element of a page; it takes the page's colours."""
    with look():
        return svg(_draw(panel), panel.name, panel.alt)


def files(panel: Panel) -> dict[str, bytes]:
    """The figure as files that stand alone, and its numbers: the content of each by its name."""
    with look():
        drawn = saved(_draw(panel, legend=True), panel.name)
    return {f"{panel.name}.csv": panel.table.csv().encode(), **drawn}


def key(line: Line) -> Markup:
    """A line's look, for a legend on a page, as the contents of an SVG symbol of 40 by 14; its id is the line's key."""
    with look():
        figure = canvas(40, 14)
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 40), ylim=(0, 14))
        axes.set_axis_off()
        handle = _handle(line)
        handle.set_data([2, 20, 38], [7, 7, 7])
        handle.set_markevery([1])
        axes.add_line(handle)
        drawn = svg(figure, line.key, "")
        return Markup(drawn[drawn.index(">") + 1 : drawn.rindex("</svg>")])


def _draw(panel: Panel, legend: bool = False) -> Figure:
    columns = 1 if max(len(line.label) for line in panel.legend) > 24 else 2
    below = math.ceil(len(panel.legend) / columns) * _ROW + 2 if legend else 0
    total = HEIGHT + below
    figure = canvas(WIDTH, total)
    axes = figure.add_axes(
        (_LEFT / WIDTH, (_BOTTOM + below) / total, 1 - (_LEFT + _RIGHT) / WIDTH, (HEIGHT - _TOP - _BOTTOM) / total)
    )
    axes.set_title(panel.title, y=1.0)
    axes.set_xlabel(panel.xlabel)
    axes.tick_params(length=0, pad=6)
    axes.spines["left"].set_visible(False)
    for line in panel.lines:
        _add(axes, line)
    _scale(axes, panel)
    for mark in panel.marks:
        _mark(axes, mark)
    if legend:
        figure.legend(
            handles=[_handle(line) for line in panel.legend],
            labels=[line.label for line in panel.legend],
            loc="lower left",
            bbox_to_anchor=(_LEFT / WIDTH, 10 / total),
            ncols=columns,
            frameon=False,
            borderpad=0,
            borderaxespad=0,
            handlelength=3.2,
            labelspacing=0.45,
            fontsize=10,
        )
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
            color=style.colour,
            markersize=4.8,
            markeredgewidth=0,
            elinewidth=1.1,
            zorder=5,
        )
    else:
        if any(errors):
            band = [y - e for y, e in zip(ys, errors, strict=True)], [y + e for y, e in zip(ys, errors, strict=True)]
            axes.fill_between(xs, *band, color=style.colour, alpha=0.18, linewidth=0)
        every = max(1, math.ceil(len(xs) / 6))
        axes.plot(
            xs,
            ys,
            color=style.colour,
            linestyle=style.dash,
            zorder=style.level,
            drawstyle=line.drawstyle,
            marker=style.marker if line.marked else "",
            markersize=4.5,
            markevery=((2 * style.index) % every, every),
        )
    axes.plot(
        [x for x, _ in unsure],
        [y for _, y in unsure],
        style.marker,
        color=style.colour,
        markersize=4,
        markerfacecolor=PAPER,
        markeredgewidth=1,
        zorder=5,
    )


def _handle(line: Line) -> Line2D:
    """The line as a legend shows it."""
    style = line.style
    handle = Line2D([], [], color=style.colour, markersize=4.8, markeredgewidth=1 if line.hollow else 0)
    handle.set_markerfacecolor(PAPER if line.hollow else style.colour)
    handle.set_linestyle("none" if line.points else style.dash)
    handle.set_marker(style.marker if line.points or line.marked else "")
    return handle


def _scale(axes: Axes, panel: Panel) -> None:
    for name, axis, limits in (("x", axes.xaxis, panel.xlim), ("y", axes.yaxis, panel.ylim)):
        ticks = panel.yticks if name == "y" else None
        if name in panel.logs:
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
        powers = name in panel.logs and ticks is None and (low < 1e-4 or high > 2e4)
        axis.set_major_formatter(FuncFormatter(lambda value, _, powers=powers: _tick(value, powers)))


def _tick(value: float, power: bool) -> str:
    """A number at an axis; on a long logarithmic one as a power of ten.

    >>> _tick(1000, power=False), _tick(0.001, power=True), _tick(-0.25, power=False)
    ('1,000', '10⁻³', '−0.25')
    """
    if power:
        exponent = round(math.log10(value))
        return f"{value:g}" if exponent in (0, 1) else "10" + str(exponent).translate(_SUPERSCRIPTS)
    return (f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}").replace("-", "−")


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
