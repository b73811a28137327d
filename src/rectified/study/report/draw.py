"""What the report's figures share: a drawing for the page and for files, axes with a strip below, keys."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from ...figures.style import INK, MUTED, SHADE, Style, canvas, look, saved, svg
from ..analysis.formatting import number
from .plot_data import beyond

LEFT, RIGHT, TOP, BOTTOM = 54, 14, 30, 42  # margins
ROW = 17  # of a strip
_LEGEND = 18  # a row of it
_LETTER = 6.3  # the width of one, about


@dataclass(frozen=True)
class Drawing:
    """A figure: as part of a page, whose legend is text, or as files that stand alone with a legend of their own.

    Attributes:
        name: of no other figure on the page; its files' too.
        label: what a screen reader says: what the figure shows, with its numbers.
        draw: makes it, within :func:`look`.
        legend: methods with their looks.
    """

    name: str
    label: str
    draw: Callable[[], Figure]
    legend: Mapping[str, Style] = field(default_factory=dict)

    def __html__(self) -> Markup:
        with look():
            return svg(self.draw(), self.name, self.label)

    def __str__(self) -> str:
        return str(self.__html__())

    def files(self) -> dict[str, bytes]:
        """SVG and PDF, by name."""
        with look():
            figure = self.draw()
            if self.legend:
                _add_legend(figure, self.legend)
            return saved(figure, self.name)


@cache
def key(style: Style) -> Markup:
    """A method's line and marker, for a legend, as the contents of an SVG symbol of 40 by 14."""
    with look():
        figure = canvas(40, 14)
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 40), ylim=(0, 14))
        axes.set_axis_off()
        axes.plot([2, 38], [7, 7], color=style.colour, linestyle=style.dash)
        axes.plot([20], [7], color=style.colour, marker=style.marker)
        drawn = svg(figure, f"key-{style.index}", "")
        return Markup(drawn[drawn.index(">") + 1 : drawn.rindex("</svg>")])


def room(names: Sequence[str]) -> float:
    """The width of the longest of the names, in pixels, about."""
    return _LETTER * max(map(len, names), default=0)


def _add_legend(figure: Figure, legend: Mapping[str, Style]) -> None:
    """Below everything: the figure grows, what is on it keeps its size."""
    width, height = (round(inches * 72) for inches in figure.get_size_inches())
    columns = max(1, min(len(legend), int((width - LEFT) // (room(list(legend)) + 60))))
    below = math.ceil(len(legend) / columns) * _LEGEND + 8
    figure.set_size_inches(width / 72, (height + below) / 72)
    for axes in figure.axes:
        place = axes.get_position()
        bottom = (place.y0 * height + below) / (height + below)
        axes.set_position((place.x0, bottom, place.width, place.height * height / (height + below)))
    figure.legend(
        handles=[
            Line2D([], [], color=style.colour, linestyle=style.dash, marker=style.marker) for style in legend.values()
        ],
        labels=list(legend),
        loc="lower left",
        bbox_to_anchor=(min(LEFT, 12) / width, 8 / (height + below)),
        ncols=columns,
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        handlelength=3,
        columnspacing=1.6,
    )


def panel(
    width: int, height: int, title: str, rows: Sequence[str] = (), lower: int = 0
) -> tuple[Figure, Axes, Axes | None, Axes | None]:
    """Axes of that height; below them a strip with a line for each of rows, and others of the height `lower`.

    Returns:
        The figure, the axes, the strip and the lower axes, None where there is none.
    """
    strip_height = len(rows) * ROW + 8 if rows else 0
    lower_height = lower + TOP if lower else 0
    total = TOP + height + strip_height + lower_height + BOTTOM
    figure = canvas(width, total)
    inner = (width - LEFT - RIGHT) / width
    axes = figure.add_axes((LEFT / width, (BOTTOM + lower_height + strip_height) / total, inner, height / total))
    dress(axes, title)
    strip = under = None
    if rows:
        axes.tick_params(labelbottom=False)
        strip = figure.add_axes(
            (LEFT / width, (BOTTOM + lower_height) / total, inner, (strip_height - 6) / total), facecolor=SHADE
        )
        strip.set_ylim(len(rows) - 0.5, -0.5)
        strip.set_yticks([(len(rows) - 1) / 2], ["diverged"])
        strip.tick_params(length=0, pad=6)
        strip.tick_params(axis="y", labelsize=10, pad=4)
        strip.grid(axis="y", visible=False)
        for side in ("left", "bottom"):
            strip.spines[side].set_visible(False)
    if lower:
        for above in filter(None, (axes, strip)):
            above.tick_params(labelbottom=False)
        under = figure.add_axes((LEFT / width, BOTTOM / total, inner, lower / total))
        dress(under, "omega")
    return figure, axes, strip, under


def dress(axes: Axes, title: str) -> None:
    """The look of axes, with the title over the y axis."""
    axes.set_title(title, y=1.0)  # given a place, it is not searched for, which takes a third of the time
    axes.tick_params(length=0, pad=6)
    axes.spines["left"].set_visible(False)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}".replace("-", "−")))


def note(strip: Axes, row: int, x: float, style: Style, text: str) -> None:
    """A method's marker in its row of the strip, with words beside it."""
    strip.plot([x], [row], style.marker, color=style.colour, markersize=5)
    strip.annotate(text, (x, row), xytext=(6, -0.5), textcoords="offset points", va="center", fontsize=10, color=INK)


def scale(axes: Axes, runs: Sequence[Sequence[float]], ylim: tuple[float, float]) -> None:
    """Set the y axis, and say what lies outside."""
    axes.set_ylim(ylim)
    if not runs:
        axes.yaxis.set_major_locator(NullLocator())
    if values := beyond(runs, *ylim):
        reach = "1 run reaches" if len(values) == 1 else f"{len(values)} runs reach"
        axes.set_title(
            f"{reach} beyond, to {number(max(values, key=abs), 1)}", loc="right", y=1.0, color=MUTED, fontsize=10
        )
