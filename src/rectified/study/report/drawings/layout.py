"""The shared layout of the report's figures: axes with an optional strip for diverged runs and axes for omega."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from ....figures.drawing import Key
from ....figures.style import INK, MUTED, SHADE, Style, canvas
from ...analysis.formatting import number
from ..plot_data import beyond

LEFT, RIGHT, TOP, BOTTOM = 54, 14, 30, 42  # margins in pixels
ROW = 17  # pixels per method in the strip


def keys(styles: Mapping[str, Style]) -> dict[str, Key]:
    """Legend entries for methods that are drawn as lines with markers."""
    return {method: Key(style) for method, style in styles.items()}


def panel(
    width: int, height: int, title: str, rows: Sequence[str] = (), lower: int = 0
) -> tuple[Figure, Axes, Axes | None, Axes | None]:
    """A figure with one panel, and optionally a strip and axes for omega below it on the same x axis.

    Args:
        width: the width of the figure in pixels.
        height: the height of the panel's axes in pixels; the figure is taller.
        rows: the methods in the strip for diverged runs; no strip if empty.
        lower: the height of the axes for omega in pixels; no such axes if 0.

    Returns:
        The figure, the axes, the strip and the axes for omega; None for each part that is absent.
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
    """Give the axes a title above the y axis, few ticks and no line on the left."""
    axes.set_title(title, y=1.0)  # without y, matplotlib searches for a position, which takes a third of the time
    axes.tick_params(length=0, pad=6)
    axes.spines["left"].set_visible(False)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}".replace("-", "−")))


def note(strip: Axes, row: int, x: float, style: Style, text: str) -> None:
    """Put a method's marker and a text into a row of the strip."""
    strip.plot([x], [row], style.marker, color=style.color, markersize=5)
    strip.annotate(text, (x, row), xytext=(6, -0.5), textcoords="offset points", va="center", fontsize=10, color=INK)


def scale(axes: Axes, runs: Sequence[Sequence[float]], ylim: tuple[float, float]) -> None:
    """Set the y limits, and note above the axes how many runs go beyond them and how far."""
    axes.set_ylim(ylim)
    if not runs:
        axes.yaxis.set_major_locator(NullLocator())
    if values := beyond(runs, *ylim):
        reach = "1 run reaches" if len(values) == 1 else f"{len(values)} runs reach"
        axes.set_title(
            f"{reach} beyond, to {number(max(values, key=abs), 1)}", loc="right", y=1.0, color=MUTED, fontsize=10
        )
