"""A figure with its legend: for a page, where the legend is text, or as standalone files with the legend inside."""

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
_LETTER = 6.3  # the approximate width of a letter


@dataclass(frozen=True)
class Key:
    """The symbol of a line in a legend: its color, dash and marker.

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
        """A line without data, for a matplotlib legend."""
        handle = Line2D([], [], color=self.style.color, markersize=5.5)
        handle.set_markerfacecolor(PAPER if self.hollow else self.style.color)
        handle.set_linestyle(self.style.dash if self.line else "none")
        handle.set_marker(self.style.marker if self.marker else "")
        return handle


@dataclass(frozen=True)
class Drawing:
    """A figure for a page and for files.

    Attributes:
        name: unique on the page; also the name of the files.
        label: the text for screen readers: what the figure shows, with its numbers.
        draw: makes the figure; :meth:`figure` calls it with the shared style.
        legend: the key of each legend entry.
    """

    name: str
    label: str
    draw: Callable[[], Figure]
    legend: Mapping[str, Key] = field(default_factory=dict)

    def figure(self, legend: bool = False) -> Figure:
        """Draw the matplotlib figure.

        Args:
            legend: whether to add the legend below, as in the files.
        """
        with look():
            figure = self.draw()
            if legend and self.legend:
                _add_legend(figure, self.legend)
        return figure

    def __html__(self) -> Markup:
        """An image element for a page, with the picture embedded."""
        figure = self.figure()
        width, height = pixels(figure)
        return Markup('<img src="{}" width="{}" height="{}" alt="{}">').format(
            data_url(figure), width, height, self.label
        )

    def __str__(self) -> str:
        return str(self.__html__())

    def files(self) -> dict[str, bytes]:
        """The figure as SVG and PDF with a white background and a legend, by file name."""
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
    """The figure as an SVG in a data URL, without line breaks and indentation."""
    return "data:image/svg+xml;base64," + b64encode(b" ".join(saved(figure, "svg").split())).decode()


def saved(figure: Figure, kind: str, facecolor: str = "none", title: str = "") -> bytes:
    """The figure as the bytes of an SVG or PDF without a date, so that equal figures give equal bytes.

    Args:
        title: the text for screen readers.
    """
    buffer = io.BytesIO()
    metadata: dict[str, str | None] = {"Date": None, "Creator": None} if kind == "svg" else {"CreationDate": None}
    if title:
        metadata["Title"] = title
    with look():
        figure.savefig(buffer, format=kind, facecolor=facecolor, metadata=metadata)
    return buffer.getvalue()


def pixels(figure: Figure) -> tuple[int, int]:
    """The width and height of a figure in pixels."""
    width, height = figure.get_size_inches()
    return round(width * 72), round(height * 72)


def text_width(names: Sequence[str]) -> float:
    """The approximate width of the longest name in pixels."""
    return _LETTER * max(map(len, names), default=0)


def _add_legend(figure: Figure, legend: Mapping[str, Key]) -> None:
    """Add the legend below the figure, which grows; its contents keep their size."""
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
