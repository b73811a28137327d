"""The report's figures: numbers in, inline SVG out.

Each is drawn for a width in pixels, so that its text keeps its size. No legends in here: the page has them, as text,
with :func:`key` for each method's line and marker.
"""

import math
from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import pairwise

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from ...figures.style import INK, MUTED, PAPER, RULE, SHADE, Style, canvas, look, svg
from .numbers import Curve, Group, OmegaLine, beyond, number

_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 14, 30, 42  # margins
_ROW = 17  # of a strip


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


def robustness(
    groups: Sequence[Group], styles: dict[str, Style], metric: str, ylim: tuple[float, float], width: int, name: str
) -> Markup:
    """The metric at the end against lr: mean, band from lowest to highest, each run; a strip for what diverged."""
    with look():
        rows = [method for method in styles if any(g.counts["diverged"] for g in groups if g.method == method)]
        figure, axes, strip = _panel(width, 300, metric, rows, styles)
        lrs = sorted({group.lr for group in groups})
        decades = math.log10(lrs[-1] / lrs[0]) or 1.0
        pixels = (width - _LEFT - _RIGHT - 70) / decades
        shift = _spread(lrs, len(styles), pixels)
        edge = 35 / pixels
        for panel in filter(None, (axes, strip)):
            panel.set_xscale("log")
            middle = 0 if len(lrs) > 1 else 0.5  # a single lr stands in the middle
            panel.set_xlim(lrs[0] * 10 ** -(edge + middle), lrs[-1] * 10 ** (edge + middle))
            panel.xaxis.set_major_locator(FixedLocator(lrs))
            panel.xaxis.set_minor_locator(NullLocator())
        _scale(axes, [[value] for group in groups for value in group.values], ylim)
        for i, (method, style) in enumerate(styles.items()):
            here = sorted((group for group in groups if group.method == method), key=lambda group: group.lr)
            xs = [group.lr * 10 ** shift[i] for group in here]
            means = [group.mean for group in here]
            axes.plot(xs, means, color=style.colour, linestyle=style.dash, zorder=style.level)
            band = [group.low for group in here], [group.high for group in here]
            axes.fill_between(xs, *band, color=style.colour, alpha=0.14, linewidth=0)
            for x, group in zip(xs, here, strict=True):
                axes.plot([x, x], [group.low, group.high], color=style.colour, linewidth=1, alpha=0.6)
                axes.plot(
                    [x] * len(group.values),
                    group.values,
                    style.marker,
                    color=style.colour,
                    markersize=3.8,
                    alpha=0.7,
                    markeredgewidth=0,
                )
                filled = style.colour if group.whole else PAPER
                axes.plot([x], [group.mean], style.marker, color=style.colour, markerfacecolor=filled, zorder=5)
                if strip is not None and (count := group.counts["diverged"]):
                    _note(strip, rows.index(method), group.lr, style, f"{count}/{group.runs}")
        _log_ticks(strip or axes, lrs, pixels)
        (strip or axes).set_xlabel("learning rate")
        label = f"Final {metric} against learning rate. " + " ".join(
            f"{method}: {', '.join(_said(group) for group in groups if group.method == method)}." for method in styles
        )
        return svg(figure, name, label)


def learning(
    curves: Sequence[Curve], styles: dict[str, Style], what: str, ylim: tuple[float, float], epochs: int, name: str
) -> Markup:
    """One quantity by epoch at one lr: mean and band from lowest to highest; a strip for the runs that diverged."""
    width = 430
    with look():
        rows = [curve.method for curve in curves if curve.stops]
        figure, axes, strip = _panel(width, 220, what, rows, styles)
        for curve in curves:
            style = styles[curve.method]
            every = max(1, math.ceil(len(curve.epochs) / 10))
            axes.fill_between(curve.epochs, curve.low, curve.high, color=style.colour, alpha=0.14, linewidth=0)
            axes.plot(
                curve.epochs,
                curve.mean,
                color=style.colour,
                linestyle=style.dash,
                zorder=style.level,
                marker=style.marker,
                markevery=(style.index % every, every),
                markersize=4.5,
            )
            for epoch, count in Counter(curve.stops).items():
                assert strip is not None
                _note(strip, rows.index(curve.method), epoch, style, f"×{count}" if count > 1 else "")
        for panel in filter(None, (axes, strip)):
            panel.set_xlim(max(1 - 0.04 * epochs, 0.01), epochs + 0.04 * epochs)  # there is no epoch 0
            panel.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        _scale(axes, [run for curve in curves for run in curve.runs], ylim)
        (strip or axes).set_xlabel("epoch")
        said = "; ".join(
            f"{curve.method} from {number(curve.mean[0])} to {number(curve.mean[-1])}" for curve in curves if curve.mean
        )
        return svg(figure, name, f"{what} by epoch, mean over seeds: {said or 'no run came through an epoch'}.")


def omegas(lines: Sequence[OmegaLine], styles: dict[str, Style], length: int, width: int, name: str) -> Markup:
    """omega by step on a logarithmic axis; what lies beyond a run of that length is shaded."""
    with look():
        figure, axes, _ = _panel(width, 260, "omega", [], styles)
        last = max(line.steps[-1] for line in lines)
        axes.set_xscale("log")
        axes.set_xlim(1, max(last, 2) * 1.04)
        axes.set_ylim(-0.03, 1.14)
        axes.yaxis.set_major_locator(FixedLocator([0, 0.2, 0.4, 0.6, 0.8, 1]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
        axes.axvspan(length, max(last, 2) * 1.04, color=SHADE, linewidth=0, zorder=0)
        axes.axvline(length, color=MUTED, linewidth=1)
        right = math.log(length) < 0.6 * math.log(max(last, 2))
        axes.annotate(
            f"a run ends: step {length:,}",
            (length, 1.09),
            xytext=(5 if right else -5, 0),
            textcoords="offset points",
            ha="left" if right else "right",
            va="center",
            color=MUTED,
        )
        for line in lines:
            style = styles[line.methods[0]]
            axes.plot(
                line.steps,
                line.values,
                color=style.colour,
                linestyle=style.dash,
                zorder=style.level,
                marker=style.marker,
                markevery=((0.04 + 0.02 * style.index) % 0.2, 0.2),
                markersize=4.5,
            )
        axes.set_xlabel("step (logarithmic)")
        said = "; ".join(f"{', '.join(line.methods)}: {line.at_end:.2f} at the run's last step" for line in lines)
        return svg(figure, name, f"omega by step. {said}.")


def _panel(
    width: int, height: int, title: str, rows: Sequence[str], styles: dict[str, Style]
) -> tuple[Figure, Axes, Axes | None]:
    """Axes of that height and, where rows has methods, a strip with a row for each below."""
    below = len(rows) * _ROW + 8 if rows else 0
    total = _TOP + height + below + _BOTTOM
    figure = canvas(width, total)
    inner = (width - _LEFT - _RIGHT) / width
    axes = figure.add_axes((_LEFT / width, (_BOTTOM + below) / total, inner, height / total))
    axes.set_title(title, y=1.0)  # given a place, it is not searched for, which takes a third of the time
    axes.tick_params(length=0, pad=6)
    axes.spines["left"].set_visible(False)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}".replace("-", "−")))
    if not rows:
        return figure, axes, None
    axes.tick_params(labelbottom=False)
    strip = figure.add_axes((_LEFT / width, _BOTTOM / total, inner, (below - 6) / total), facecolor=SHADE)
    strip.set_ylim(len(rows) - 0.5, -0.5)
    strip.set_yticks([(len(rows) - 1) / 2], ["diverged"])
    strip.tick_params(length=0, pad=6)
    strip.tick_params(axis="y", labelsize=10, pad=4)
    strip.grid(axis="y", visible=False)
    for side in ("left", "bottom"):
        strip.spines[side].set_visible(False)
    return figure, axes, strip


def _note(strip: Axes, row: int, x: float, style: Style, text: str) -> None:
    """A method's marker in its row of the strip, with words beside it."""
    strip.plot([x], [row], style.marker, color=style.colour, markersize=5)
    strip.annotate(text, (x, row), xytext=(6, -0.5), textcoords="offset points", va="center", fontsize=10, color=INK)


def _scale(axes: Axes, runs: Sequence[Sequence[float]], ylim: tuple[float, float]) -> None:
    """Set the y axis, and say what lies outside."""
    axes.set_ylim(ylim)
    if not runs:
        axes.yaxis.set_major_locator(NullLocator())
    if values := beyond(runs, *ylim):
        reach = "1 run reaches" if len(values) == 1 else f"{len(values)} runs reach"
        axes.set_title(
            f"{reach} beyond, to {number(max(values, key=abs), 1)}", loc="right", y=1.0, color=MUTED, fontsize=10
        )


def _spread(lrs: Sequence[float], methods: int, pixels: float) -> list[float]:
    """A small shift of each method, in decades, so that their points at one lr stand side by side."""
    gap = min((math.log10(b / a) * pixels for a, b in pairwise(lrs)), default=120.0)
    step = min(5.0 if len(lrs) > 1 else 14.0, 0.6 * gap / methods)
    return [(i - (methods - 1) / 2) * step / pixels for i in range(methods)]


def _log_ticks(axes: Axes, lrs: Sequence[float], pixels: float) -> None:
    """Name as many of the lrs as have room."""
    named, end = [], -math.inf
    for lr in lrs:
        half = 3.4 * len(f"{lr:g}") + 3
        x = math.log10(lr) * pixels
        named.append(f"{lr:g}" if x - half >= end else "")
        end = x + half if named[-1] else end
    axes.set_xticks(lrs, named)
    axes.tick_params(axis="x", colors=RULE, labelcolor=MUTED)


def _said(group: Group) -> str:
    left_out = f" with {', '.join(group.gaps)}" if group.gaps else ""
    return f"{number(group.mean) if group.values else 'nothing'} at {group.lr:g}{left_out}"
