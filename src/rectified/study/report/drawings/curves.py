"""Figures over the course of a run: learning curves with omega below the loss, and omega alone."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from ....figures.drawing import Drawing
from ....figures.style import MUTED, SHADE, Style
from ...analysis.formatting import number
from ..plot_data import Curve, OmegaLine
from .layout import keys, note, panel, scale

_WIDTH, _HEIGHT, _OMEGA = 430, 220, 74  # pixels; the last is the height of omega's axes
_ALONE = 460, 260  # of the figure of omega alone


def learning(
    curves: Sequence[Curve],
    styles: Mapping[str, Style],
    what: str,
    ylim: tuple[float, float],
    steps: int,
    name: str,
    lines: Sequence[OmegaLine] = (),
) -> Drawing:
    """One quantity by step at one lr: means with 95 % t intervals, each run, a strip for the runs that diverged.

    Args:
        what: the quantity, for the title.
        ylim: limits of the y axis; values beyond them are mentioned above it.
        steps: the length of a run.
        lines: omega during a run, drawn below; none if empty.
    """
    said = "; ".join(
        f"{curve.method} from {number(curve.mean[0])} to {number(curve.mean[-1])}" for curve in curves if curve.mean
    )
    label = f"{what} by step, mean over seeds: {said or 'no run finished an epoch'}."
    if lines:
        label += f" Below, omega on the same steps: {_ends(lines)}."
    here = {curve.method: styles[curve.method] for curve in curves}
    return Drawing(name, label, partial(_learning, curves, styles, what, ylim, steps, lines), keys(here))


def _learning(
    curves: Sequence[Curve],
    styles: Mapping[str, Style],
    what: str,
    ylim: tuple[float, float],
    steps: int,
    lines: Sequence[OmegaLine],
) -> Figure:
    rows = [curve.method for curve in curves if curve.stops]
    figure, axes, strip, under = panel(_WIDTH, _HEIGHT, what, rows, _OMEGA if lines else 0)
    for curve in curves:
        style = styles[curve.method]
        for i, run in enumerate(curve.runs if len(curve.runs) > 1 else ()):
            name = f"{curve.method}: run {i}"
            axes.plot(*curve.drawn(run), color=style.color, linewidth=0.7, alpha=0.35, label=name)
        band = curve.low, curve.high
        axes.fill_between(curve.steps, *band, color=style.color, alpha=0.12, linewidth=0, label=curve.method)
        every = max(1, math.ceil(len(curve.steps) / 10))
        _line(axes, curve.method, style, curve.steps, curve.mean, (style.index % every, every))
        for step, times in Counter(curve.stops).items():
            assert strip is not None
            note(strip, rows.index(curve.method), step, style, f"×{times}" if times > 1 else "")
    for part in filter(None, (axes, strip, under)):
        part.set_xlim(0, 1.04 * steps)
        part.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        part.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    scale(axes, [run for curve in curves for run in curve.runs], ylim)
    if under is not None:
        under.set_ylim(-0.05, 1.12)
        under.yaxis.set_major_locator(FixedLocator([0, 0.5, 1]))
        for line in lines:
            style = styles[line.methods[0]]
            _line(
                under, ", ".join(line.methods), style, line.steps, line.values, ((0.04 + 0.02 * style.index) % 0.2, 0.2)
            )
    (under or strip or axes).set_xlabel("step")
    return figure


def omegas(lines: Sequence[OmegaLine], styles: Mapping[str, Style], length: int, name: str) -> Drawing:
    """omega by step on a logarithmic axis; the steps beyond a run of that length are shaded."""
    here = {", ".join(line.methods): styles[line.methods[0]] for line in lines}
    return Drawing(name, f"omega by step. {_ends(lines)}.", partial(_omegas, lines, styles, length), keys(here))


def _omegas(lines: Sequence[OmegaLine], styles: Mapping[str, Style], length: int) -> Figure:
    figure, axes, _, _ = panel(*_ALONE, "omega")
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
        _line(axes, ", ".join(line.methods), style, line.steps, line.values, ((0.04 + 0.02 * style.index) % 0.2, 0.2))
    axes.set_xlabel("step (logarithmic)")
    return figure


def _line(
    axes: Axes, name: str, style: Style, x: Sequence[float], y: Sequence[float], every: tuple[float, float]
) -> None:
    axes.plot(
        x,
        y,
        color=style.color,
        linestyle=style.dash,
        zorder=style.level,
        marker=style.marker,
        markevery=every,
        markersize=4.5,
        label=name,
    )


def _ends(lines: Sequence[OmegaLine]) -> str:
    return "; ".join(f"{', '.join(line.methods)}: {line.at_end:.2f} at the run's last step" for line in lines)
