"""Figures of the final metric: the metric by lr, and the heat map of means."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, NullLocator

from ....figures.drawing import Drawing, text_width
from ....figures.style import COLORS, INK, MUTED, PAPER, RULE, Style, canvas
from ...analysis.formatting import number
from ...analysis.groups import Group
from ..plot_data import SHADES, shade
from .layout import LEFT, RIGHT, keys, note, panel, scale

WIDTH, HEIGHT = 460, 260  # pixels
STRENGTHS = (0.0, 0.1, 0.2, 0.31, 0.43)  # the opacity of the heat map's shades; text on the strongest is readable


def robustness(
    groups: Sequence[Group], styles: Mapping[str, Style], metric: str, ylim: tuple[float, float], name: str
) -> Drawing:
    """The final metric by lr: means, t intervals and runs, with a strip that counts the runs that count as chance."""
    label = f"Final {metric} against learning rate. " + " ".join(
        f"{method}: {', '.join(_spoken(group) for group in groups if group.method == method)}." for method in styles
    )
    return Drawing(name, label, partial(_robustness, groups, styles, metric, ylim), keys(styles))


def _robustness(groups: Sequence[Group], styles: Mapping[str, Style], metric: str, ylim: tuple[float, float]) -> Figure:
    rows = [method for method in styles if any(g.lost for g in groups if g.method == method)]
    figure, axes, strip, _ = panel(WIDTH, HEIGHT, metric, rows)
    lrs = sorted({group.lr for group in groups})
    decades = math.log10(lrs[-1] / lrs[0]) or 1.0
    pixels = (WIDTH - LEFT - RIGHT - 70) / decades
    shift = _spread(lrs, len(styles), pixels)
    edge = 35 / pixels
    for part in filter(None, (axes, strip)):
        part.set_xscale("log")
        middle = 0 if len(lrs) > 1 else 0.5  # a single lr stands in the middle
        part.set_xlim(lrs[0] * 10 ** -(edge + middle), lrs[-1] * 10 ** (edge + middle))
        part.xaxis.set_major_locator(FixedLocator(lrs))
        part.xaxis.set_minor_locator(NullLocator())
    scale(axes, [[value] for group in groups for value in group.values], ylim)
    for i, (method, style) in enumerate(styles.items()):
        here = sorted((group for group in groups if group.method == method), key=lambda group: group.lr)
        xs = [group.lr * 10 ** shift[i] for group in here]
        axes.plot(
            xs,
            [group.mean for group in here],
            color=style.color,
            linestyle=style.dash,
            zorder=style.level,
            label=method,
        )
        low, high = zip(*(group.band for group in here), strict=True)
        axes.fill_between(xs, low, high, color=style.color, alpha=0.12, linewidth=0, label=method)
        for x, group in zip(xs, here, strict=True):
            name = f"{method} at {group.lr:g}"
            axes.plot([x, x], group.band, color=style.color, linewidth=1, alpha=0.6, label=f"{name}: interval")
            axes.plot(
                [x] * len(group.values),
                group.values,
                style.marker,
                color=style.color,
                markersize=3.8,
                alpha=0.7,
                markeredgewidth=0,
                label=f"{name}: runs",
            )
            filled = style.color if group.whole else PAPER
            axes.plot([x], [group.mean], style.marker, color=style.color, mfc=filled, zorder=5, label=name)
            if strip is not None and (count := group.lost):
                note(strip, rows.index(method), group.lr, style, f"{count}/{group.runs}")
    _log_ticks(strip or axes, lrs, pixels)
    (strip or axes).set_xlabel("learning rate")
    return figure


def heat_map(groups: Sequence[Group], best: float, margin: float, metric: str, name: str) -> Drawing:
    """A heat map of means by method and lr, shaded by distance from the best mean, with counts of failed runs.

    The page has a table in the same shades instead; this figure is only written to files.

    Args:
        best: the mean with the strongest shade.
        margin: the unit of distance, in which :data:`SHADES` has its bounds.
    """
    label = f"Mean {metric} by method and learning rate. " + " ".join(
        f"{method}: {', '.join(_spoken(group) for group in groups if group.method == method)}."
        for method in dict.fromkeys(group.method for group in groups)
    )
    return Drawing(name, label, partial(_heat_map, groups, best, margin, metric))


def _heat_map(groups: Sequence[Group], best: float, margin: float, metric: str) -> Figure:
    methods = list(dict.fromkeys(group.method for group in groups))
    lrs = sorted({group.lr for group in groups})
    left, wide, high, top, bottom = text_width(methods) + 16, 82, 40, 30, 66
    width, height = round(left + wide * len(lrs) + 8), round(top + high * len(methods) + bottom)
    figure = canvas(width, height)
    axes = figure.add_axes((left / width, bottom / height, wide * len(lrs) / width, high * len(methods) / height))
    axes.set_title(metric, y=1.0)
    axes.grid(visible=False)
    axes.set_xlim(-0.5, len(lrs) - 0.5)
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.set_xticks(range(len(lrs)), [f"{lr:g}" for lr in lrs])
    axes.set_yticks(range(len(methods)), methods)
    axes.tick_params(length=0, pad=6)
    axes.tick_params(axis="y", labelcolor=INK)
    axes.set_xlabel("learning rate")
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    off = ", ".join(f"{step * margin:g}" for step in SHADES)
    figure.text(8 / width, 10 / height, f"shades: within {off} of the best mean", color=MUTED, fontsize=9)
    for group in groups:
        x, y = lrs.index(group.lr), methods.index(group.method)
        strength = STRENGTHS[shade(group.mean, best, margin)] if len(group.values) == group.runs else 0.0
        axes.add_patch(Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, facecolor=COLORS[0], alpha=strength, linewidth=0))
        gaps = "\n".join(f"{gap} of {group.runs}" for gap in group.gaps)
        mean = number(group.mean) if group.values else "–"
        axes.annotate(mean, (x, y - 0.14 * bool(gaps)), ha="center", va="center", color=INK, fontsize=11)
        axes.annotate(gaps, (x, y + 0.24), ha="center", va="center", color=MUTED, fontsize=8)
    return figure


def _spread(lrs: Sequence[float], methods: int, pixels: float) -> list[float]:
    """How far to shift each method, in decades, so that the points at one lr do not hide each other."""
    gap = min((math.log10(b / a) * pixels for a, b in pairwise(lrs)), default=120.0)
    step = min(5.0 if len(lrs) > 1 else 14.0, 0.6 * gap / methods)
    return [(i - (methods - 1) / 2) * step / pixels for i in range(methods)]


def _log_ticks(axes: Axes, lrs: Sequence[float], pixels: float) -> None:
    """Label as many learning rates as fit."""
    named, end = [], -math.inf
    for lr in lrs:
        half = 3.4 * len(f"{lr:g}") + 3
        x = math.log10(lr) * pixels
        named.append(f"{lr:g}" if x - half >= end else "")
        end = x + half if named[-1] else end
    axes.set_xticks(lrs, named)
    axes.tick_params(axis="x", colors=RULE, labelcolor=MUTED)


def _spoken(group: Group) -> str:
    left_out = f" with {', '.join(group.gaps)}" if group.gaps else ""
    return f"{number(group.mean) if group.values else 'nothing'} at {group.lr:g}{left_out}"
