"""A figure with its legend: on a page, whose legend is text, or as files that stand alone with a legend inside."""

import io
import math
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .style import PAPER, Style, canvas, look

_LEGEND_ROW, _LEGEND_LEFT = 18, 12  # pixels
_KEY_WIDTH, _KEY_HEIGHT = 40, 14
_LETTER = 6.3  # the width of a letter, roughly


@dataclass(frozen=True)
class Key:
    """What stands for a line in a legend: its color, dash and marker.

    Args:
        line: False for points without a line.
        marker: False for a line without markers.
        hollow: the marker is an outline.
    """

    style: Style
    line: bool = True
    marker: bool = True
    hollow: bool = False

    @property
    def name(self) -> str:
        """The CSS class that shows the key on a page; keys that look the same share it.

        >>> Key(Style(2)).name, Key(Style(2), hollow=True).name
        ('key-2-110', 'key-2-111')
        """
        return f"key-{self.style.index}-{self.line:d}{self.marker:d}{self.hollow:d}"

    def handle(self) -> Line2D:
        """A line without data, as matplotlib's legends take it."""
        handle = Line2D([], [], color=self.style.color, markersize=5.5)
        handle.set_markerfacecolor(PAPER if self.hollow else self.style.color)
        handle.set_linestyle(self.style.dash if self.line else "none")
        handle.set_marker(self.style.marker if self.marker else "")
        return handle


@dataclass(frozen=True)
class Drawing:
    """A figure for a page and for files.

    Attributes:
        name: unique on the page; the files are called so, too.
        label: what a screen reader reads aloud: what the figure shows, with its numbers.
        draw: makes the figure. :meth:`figure` calls it with the house's look.
        legend: what each key stands for.
    """

    name: str
    label: str
    draw: Callable[[], Figure]
    legend: Mapping[str, Key] = field(default_factory=dict)

    def figure(self, legend: bool = False) -> Figure:
        """The matplotlib figure.

        Args:
            legend: with the legend below, as in the files.
        """
        with look():
            figure = self.draw()
            if legend and self.legend:
                _add_legend(figure, self.legend)
        return figure

    def __html__(self) -> Markup:
        """An image element for a page; the picture is part of it, nothing is fetched."""
        figure = self.figure()
        width, height = pixels(figure)
        return Markup('<img src="{}" width="{}" height="{}" alt="{}">').format(
            data_url(figure), width, height, self.label
        )

    def __str__(self) -> str:
        return str(self.__html__())

    def files(self) -> dict[str, bytes]:
        """SVG and PDF on white paper with a legend, by file name."""
        figure = self.figure(legend=True)
        return {f"{self.name}.{kind}": saved(figure, kind, "white", self.label) for kind in ("svg", "pdf")}


def key_css(keys: Iterable[Key]) -> Markup:
    """CSS that shows each key as the background of an element of its class."""
    rules = []
    for key in {key.name: key for key in keys}.values():
        with look():
            figure = canvas(_KEY_WIDTH, _KEY_HEIGHT)
            axes = figure.add_axes((0, 0, 1, 1), xlim=(0, _KEY_WIDTH), ylim=(0, _KEY_HEIGHT))
            axes.set_axis_off()
            handle = key.handle()
            middle = _KEY_HEIGHT / 2
            handle.set_data([2, _KEY_WIDTH / 2, _KEY_WIDTH - 2], [middle] * 3)
            handle.set_markevery([1])
            axes.add_line(handle)
        rules.append(f'.{key.name} {{ background-image: url("{data_url(figure)}"); }}')
    return Markup("\n".join(rules))


def data_url(figure: Figure) -> str:
    """The figure as an SVG inside a URL, without the file's line breaks and indentation."""
    return "data:image/svg+xml;base64," + b64encode(b" ".join(saved(figure, "svg").split())).decode()


def saved(figure: Figure, kind: str, facecolor: str = "none", title: str = "") -> bytes:
    """The figure as the bytes of an SVG or PDF; no date in it, so that equal figures give equal bytes.

    Args:
        title: what a screen reader reads aloud.
    """
    buffer = io.BytesIO()
    metadata: dict[str, str | None] = {"Date": None, "Creator": None} if kind == "svg" else {"CreationDate": None}
    if title:
        metadata["Title"] = title
    with look():
        figure.savefig(buffer, format=kind, facecolor=facecolor, metadata=metadata)
    return buffer.getvalue()


def pixels(figure: Figure) -> tuple[int, int]:
    """Width and height."""
    width, height = figure.get_size_inches()
    return round(width * 72), round(height * 72)


def text_width(names: Sequence[str]) -> float:
    """The width of the longest of the names in pixels, roughly."""
    return _LETTER * max(map(len, names), default=0)


def _add_legend(figure: Figure, legend: Mapping[str, Key]) -> None:
    """Put the legend below everything: the figure grows, and what is on it keeps its size."""
    width, height = pixels(figure)
    columns = max(1, min(len(legend), int((width - 54) // (text_width(list(legend)) + 60))))
    below = math.ceil(len(legend) / columns) * _LEGEND_ROW + 8
    total = height + below
    figure.set_size_inches(width / 72, total / 72)
    for axes in figure.axes:
        place = axes.get_position()
        axes.set_position((place.x0, (place.y0 * height + below) / total, place.width, place.height * height / total))
    figure.legend(
        handles=[key.handle() for key in legend.values()],
        labels=list(legend),
        loc="lower left",
        bbox_to_anchor=(_LEGEND_LEFT / width, 8 / total),
        ncols=columns,
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        handlelength=3.2,
        columnspacing=1.6,
        labelspacing=0.45,
        fontsize=10,
    )
