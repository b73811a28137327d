"""The benchmark as a picture: each peer's step time divided by ours, one panel per model."""

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from ..figures.drawing import saved
from ..figures.style import COLORS, INK, MUTED, canvas, look
from .entries import BASE, ENTRIES, Entry
from .ratios import Outcome, Results

_NAMES, _PANEL, _ROW, _TOP, _BOTTOM = 210, 125, 21, 40, 34  # pixels
_LOOKS = {"ours": (COLORS[0], "s"), "RAdam": (COLORS[1], "o"), "Adam": (COLORS[2], "^")}


def picture(results: Results) -> str:
    """The picture as an SVG file on a white background."""
    title = "Step time divided by our RAdam's, by method and model; the tables have the numbers."
    return saved(draw_ratios(results), "svg", "white", title).decode()


def draw_ratios(results: Results) -> Figure:
    """Draw the median ratio of step times for each model and method, on a line from quartile to quartile."""
    outcomes = results.outcomes
    entries = [
        entry
        for entry in ENTRIES
        if entry.dtype is torch.float32
        and (entry.kind != "ours" or entry is BASE)
        and any(entry.name in outcome.entries for outcome in outcomes)
    ]
    width, height = _NAMES + len(outcomes) * _PANEL + 12, _TOP + len(entries) * _ROW + _BOTTOM
    found = [ratio for outcome in outcomes for entry in entries if (ratio := outcome.ratio(entry.name))]
    limits = min(0.65, 0.9 * min(ratio.low for ratio in found)), max(1.5, 1.2 * max(ratio.high for ratio in found))
    with look():
        figure = canvas(width, height)
        for i, outcome in enumerate(outcomes):
            left = (_NAMES + i * _PANEL + 6) / width
            axes = figure.add_axes((left, _BOTTOM / height, (_PANEL - 12) / width, len(entries) * _ROW / height))
            _draw(axes, outcome, entries, limits)
            axes.set_yticks(range(len(entries)), [entry.name if i == 0 else "" for entry in entries])
            axes.get_yticklabels()[0].set_color(INK)
        figure.text(
            _NAMES / width,
            4 / height,
            "step time / rectified RAdam's; medians, quartiles",
            color=MUTED,
            fontsize=10,
        )
    return figure


def _draw(axes: Axes, outcome: Outcome, entries: list[Entry], limits: tuple[float, float]) -> None:
    axes.set_title(outcome.title.replace(", ", "\n"), fontsize=10, linespacing=1.3)
    axes.set_xscale("log")
    axes.set_xlim(limits)
    axes.set_ylim(len(entries) - 0.5, -0.5)
    ticks = [tick for tick in (0.1, 0.3, 1, 3, 10, 30, 100) if limits[0] < tick < limits[1]]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.tick_params(length=0)
    axes.axvline(1, color=COLORS[0], linewidth=1)
    for row, entry in enumerate(entries):
        ratio = outcome.ratio(entry.name)
        if ratio is None:
            continue
        color, marker = _LOOKS[entry.kind]
        axes.plot(
            [ratio.low, ratio.high],
            [row, row],
            color=color,
            linewidth=2,
            alpha=0.45,
            solid_capstyle="butt",
            label=f"{entry.name}: quartiles",
        )
        axes.plot([ratio.median], [row], marker, color=color, markersize=5, label=entry.name)
