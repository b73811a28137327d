"""The map of probe.md: where a warmup helps, over task, learning rate and beta2, and where the verdict says so."""

import math
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import mean, median

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from rectified.figures.drawing import saved
from rectified.figures.style import COLORS, INK, MUTED, PAPER, canvas, look
from rectified.figures.table import markdown
from rectified.probe.probe_verdict import EDGE, MINIMUM

sys.path.append(str(Path(__file__).parents[1] / "benchmarks" / "truth_set"))

from score import SWEPT, Cell, Record, answered, calls, cells, read, scores
from score_trials import advice

__all__ = ["answers", "by_reach", "called", "cells", "picture", "read", "regrets", "tried"]

CELL_WIDTH, CELL_HEIGHT = 62, 26  # pixels
LEFT, TOP, BOTTOM, GAP = 110, 54, 30, 24
RANKS = ("best / 3", "best", "3 x best", "10 x best")
FULL = 0.25  # of what training gains: the darkest shade


def share(cell: Cell) -> float:
    """What the best warmup gains over no warmup, as a share of what training gains."""
    return max(0.0, cell.over_none / max(cell.first - cell.best[1], 1e-9))


def picture(found: Sequence[Cell]) -> bytes:
    """One row per task, one column per learning rate, one panel per beta2.

    The darker, the more a warmup gains. A ring is a cell where it helps by more than noise; a dot where the verdict of
    most seeds says "needed".
    """
    tasks = sorted({(c.held_out, c.task) for c in found})
    betas = sorted({c.beta2 for c in found})
    panel = CELL_WIDTH * len(RANKS)
    width = LEFT + len(betas) * panel + (len(betas) - 1) * GAP + 10
    height = TOP + CELL_HEIGHT * len(tasks) + BOTTOM
    with look():
        figure = canvas(width, height)
        for i, beta2 in enumerate(betas):
            left = LEFT + i * (panel + GAP)
            size = panel / width, CELL_HEIGHT * len(tasks) / height
            axes = figure.add_axes((left / width, BOTTOM / height, *size))
            _draw(axes, [c for c in found if c.beta2 == beta2], tasks)
            axes.set_title(f"beta2 = {beta2:g}", y=1 + 22 / (CELL_HEIGHT * len(tasks)), loc="left")
            if i:
                axes.set_yticklabels([])
    said = "; ".join(
        f"{c.task} at lr {c.lr:g}, beta2 {c.beta2:g}: {'helps' if c.helps else 'does not help'}, gains {share(c):.0%}"
        for c in found
    )
    return saved(figure, "svg", "white", f"Where a warmup helps. {said}.")


def answers(found: Sequence[Cell]) -> str:
    """How many answers are right, on held-out and on rule-making tasks."""
    rows = []
    for name, some in _parts(found):
        a = answered(some)
        low, high = a.interval
        right = f"{a.right} of {a.known}, {a.right / a.known:.0%} ({low:.0%} to {high:.0%})"
        rows.append([name, f"{a.helped} of {a.cells}", right, f"{a.unsure} of {a.known + a.unsure}"])
    return markdown(["tasks", "cells where a warmup helps", "answers that are right", '"cannot tell"'], rows)


def called(found: Sequence[Cell]) -> str:
    """How many failing and sound runs are called by a reach beyond the minimum, and beyond the edge."""
    rows = []
    for name, some in _parts(found):
        for place, beyond in (("1/2, the minimum", MINIMUM), ("1, the edge", EDGE)):
            c = calls(some, beyond)
            rows.append([name, place, f"{c.called} of {c.failing}", f"{c.silent}", f"{c.alarms} of {c.sound}"])
    heads = [
        "tasks",
        "reach beyond",
        "failing runs called in time",
        "never shown by their loss",
        "sound runs called",
    ]
    return markdown(heads, rows)


def tried(found: Sequence[Cell], trials: Sequence[Record]) -> str:
    """What trials advise, by how many seeds they have, as a table."""
    heads = ["seeds", "steps", "advised a change", "better", "worse", "clipping", "advised none", "missed"]
    rows = []
    for seeds in (3, 5):
        a = advice(found, trials, seeds)
        nothing = a.trials - a.advised - a.unknown
        known = f"{a.advised} of {a.trials}"
        rows.append(
            [
                f"{seeds}",
                f"{a.steps:,}",
                known,
                f"{a.better}",
                f"{a.worse}",
                f"{a.unknown}",
                f"{nothing}",
                f"{a.missed}",
            ]
        )
    return markdown(heads, rows)


def _parts(found: Sequence[Cell]) -> list[tuple[str, list[Cell]]]:
    parts = {"held out": True, "rule-making": False}
    return [(name, [c for c in found if c.held_out == held]) for name, held in parts.items()]


def by_reach(found: Sequence[Cell]) -> str:
    """The mean regret of each warmup in percent, by beta2 and by the reach of the first steps without a warmup."""
    rows = []
    for beta2 in sorted({c.beta2 for c in found}):
        for low, high in pairwise((0.0, 0.3, 0.5, 0.8, 1.05, math.inf)):
            some = [c for c in found if c.beta2 == beta2 and low <= _reach(c) < high]
            if some:
                name = f"{low:g} to {high:g}" if high < math.inf else f"above {low:g}"
                means = [100 * mean(c.regret(w) for c in some) for w in ("none", *SWEPT)]
                least = min(means)
                cells = [f"**{x:.1f}**" if x == least else f"{x:.1f}" for x in means]
                rows.append([f"{beta2:g}", name, str(len(some)), *cells])
    return markdown(["beta2", "reach", "cells", "none", *(w.replace("linear-", "") for w in SWEPT)], rows)


def _reach(cell: Cell) -> float:
    """The median over seeds of the verdicts' reach."""
    return median(v.reach for v in cell.verdicts)


def regrets(found: Sequence[Cell]) -> str:
    """Each way to choose a warmup with its mean regret, its interval over tasks, and its worst cell."""
    parts = {name: {s.name: s for s in scores(some)} for name, some in _parts(found)}
    rows = []
    for choice in parts["held out"]:
        row = [choice]
        for by_choice in parts.values():
            s = by_choice[choice]
            row += [f"{s.regret:.1%} ({s.low:.1%} to {s.high:.1%})", f"{s.worst:.0%}"]
        rows.append(row)
    return markdown(["choice", "held out: mean regret", "worst", "rule-making: mean regret", "worst"], rows)


def _draw(axes: Axes, found: Sequence[Cell], tasks: Sequence[tuple[bool, str]]) -> None:
    blue, paper = to_rgb(COLORS[0]), to_rgb(PAPER)
    rows = {task: i for i, (_, task) in enumerate(tasks)}
    for cell in found:
        x, y, part = cell.rank, rows[cell.task], min(1.0, share(cell) / FULL)
        color = tuple(b * part + p * (1 - part) for b, p in zip(blue, paper, strict=True))
        axes.fill([x, x + 1, x + 1, x], [y, y, y + 1, y + 1], color=color, edgecolor=PAPER, linewidth=2)
        ink = PAPER if part > 0.5 else INK
        if cell.helps:
            axes.plot(x + 0.5, y + 0.5, "o", markersize=11, markerfacecolor="none", markeredgecolor=ink)
        if 2 * sum(v.answer == "needed" for v in cell.verdicts) > len(cell.verdicts):
            axes.plot(x + 0.5, y + 0.5, "o", markersize=4, color=ink)
    axes.set_xlim(0, len(RANKS))
    axes.set_ylim(len(tasks), 0)
    axes.xaxis.tick_top()
    axes.set_xticks([i + 0.5 for i in range(len(RANKS))], RANKS)
    axes.set_yticks([i + 0.5 for i in range(len(tasks))], [f"{task}{' *' if held else ''}" for held, task in tasks])
    axes.tick_params(length=0, labelcolor=MUTED, labelsize=10)
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
