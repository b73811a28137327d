"""What a probe saw, for readers: text, JSON, TensorBoard, and one HTML page that loads nothing from elsewhere."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from ..figures.drawing import key_css
from ..figures.html_page import environment
from ..figures.plot import Line, Mark, Plot
from ..figures.style import Style
from ..figures.table import Table
from ..files import write
from .signals import Signals
from .trial import TrialResult
from .verdict import FIRST_STEPS, MINIMUM, Verdict, reaches
from .watch import Observation, Probe

# Each figure: its title, the signals in it with their names in the legend, its logarithmic axes, and what it says.
_FIGURES: dict[str, tuple[str, dict[str, str], str, str]] = {
    "loss": ("loss of a batch", {"loss": ""}, "x", "A jump above the first loss is a catapult."),
    "gain_left": (
        "gain left after a step",
        {"gain_left": ""},
        "x",
        "1: the step was far too short; 0: it ended at the minimum along its line; below 0: it went beyond. Noise in "
        "small batches makes it smaller.",
    ),
    "size": (
        "step relative to the weights",
        {"size": "size", "angle": "angle, radians"},
        "xy",
        "How far one step moves the weights, and how far it turns them.",
    ),
    "update_rms": (
        "root mean square of a step over lr",
        {"update_rms": ""},
        "x",
        "1: every element moves by lr, as signs do. It falls as v averages more gradients than agree.",
    ),
    "snr": ("signal to noise, |m̂|² / |v̂|₁", {"snr": ""}, "xy", "1 in the first step, whatever the gradients are."),
    "spread": (
        "spread of log 1/√v̂ over elements",
        {"spread": ""},
        "x",
        "v rests on few samples at first, so that it is spread by chance alone: by 1.11 for one Gaussian sample.",
    ),
    "surprise": (
        "largest g² / v̂",
        {"surprise": ""},
        "xy",
        "How much larger a gradient is than v expects. 5,000 is the threshold of SPAM (arXiv:2501.06842).",
    ),
}


def as_table(history: Sequence[Observation]) -> Table:
    """The model's signals, one row per observed step."""
    return Table.of(asdict(o.model) for o in history)


def plots(probe: Probe) -> list[Plot]:
    """The figures of the signals, and of the reach if it was measured."""
    table, found = as_table(probe.history), []
    lr = _full_lr(probe)
    known = reaches(probe.history, lr)
    if known:
        rows = Table.of({"step": step, "reach": reach} for step, reach in known)
        worst = max(reach for step, reach in known if step <= FIRST_STEPS) if known[0][0] <= FIRST_STEPS else math.nan
        found.append(
            Plot(
                "reach",
                "reach of a step at full lr",
                "step",
                [Line("", Style(0), rows["step"], rows["reach"], marked=True)],
                rows,
                f"Reach by step; the largest of the first {FIRST_STEPS} steps is {worst:.3g}.",
                logs="x",
                ylim=(min(0.0, min(rows["reach"])), min(2.0, max(1.1, max(rows["reach"])))),
                marks=(Mark("minimum along the line", y=MINIMUM, place=0.98), Mark("edge", y=1.0, place=0.98)),
            )
        )
    for name, (title, columns, logs, _) in _FIGURES.items():
        values = [x for column in columns for x in table[column] if math.isfinite(x)]
        if not values or ("y" in logs and min(values) <= 0):
            logs = logs.replace("y", "")
        lines = [Line(label, Style(i), table["step"], table[c]) for i, (c, label) in enumerate(columns.items())]
        first, last = (table[next(iter(columns))][i] for i in (0, -1))
        alt = f"{title} by step, from {first:.3g} to {last:.3g}."
        found.append(Plot(name, title, "step", lines, table.columns("step", *columns), alt, logs=logs))
    return found


def page(probe: Probe, verdict: Verdict, result: TrialResult | None = None, title: str = "", command: str = "") -> str:
    """The page as HTML.

    Raises:
        ValueError: the probe has observed no complete step.
    """
    if not probe.history:
        raise ValueError("the probe has observed no complete step, so there is nothing to show: take two steps or more")
    drawn = plots(probe)
    return _template().render(
        title=title or "Probe",
        command=command,
        verdict=verdict,
        result=result,
        plots=drawn,
        notes={name: note for name, (_, _, _, note) in _FIGURES.items()} | {"reach": _REACH},
        key_css=key_css(key for plot in drawn for key in plot.drawing.legend.values()),
        tensors=_tensors(probe.history),
        steps=[o.step for o in probe.history],
    )


_REACH = (
    "How far a step at the full lr goes of the way along its line to where the loss is as high as before: 0.5 is the "
    "minimum. A verdict asks whether one of the first steps goes beyond it."
)


def as_json(probe: Probe, verdict: Verdict, result: TrialResult | None = None) -> str:
    """Verdict, signals and trial as JSON; a number that is not finite is null."""
    content = {
        "verdict": verdict.as_dict(),
        "signals": [_plain(asdict(o.model)) for o in probe.history],
        "trial": None if result is None else _trial(result),
    }
    return json.dumps(content, indent=2)


def write_tensorboard(folder: Path, history: Sequence[Observation]) -> None:
    """Write the model's signals as TensorBoard scalars."""
    from torch.utils.tensorboard.writer import SummaryWriter

    with SummaryWriter(str(folder)) as board:
        for o in history:
            for name, value in asdict(o.model).items():
                if name != "step" and math.isfinite(value):
                    board.add_scalar(f"probe/{name}", value, o.step)


def write_files(
    folder: Path, probe: Probe, verdict: Verdict, result: TrialResult | None = None, title: str = "", command: str = ""
) -> Path:
    """Write probe.html, probe.json, signals.csv and a TensorBoard file into a folder; return the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "signals.csv", as_table(probe.history).csv())
    write(folder / "probe.json", as_json(probe, verdict, result) + "\n")
    write_tensorboard(folder / "tensorboard", probe.history)
    path = folder / "probe.html"
    write(path, page(probe, verdict, result, title, command))
    return path


def _trial(result: TrialResult) -> dict[str, Any]:
    rows = zip(result.arms, result.losses, result.differences, strict=True)
    arms = [{**asdict(arm), "losses": losses, "difference": asdict(d)} for arm, losses, d in rows]
    found: dict[str, Any] = _plain(
        {
            "arms": arms,
            "advice": result.best.line,
            "contradicts": result.contradicts,
            "steps": result.steps,
            "seconds": result.seconds,
        }
    )
    return found


def _plain(x: Any) -> Any:
    if isinstance(x, dict):
        return {name: _plain(value) for name, value in x.items()}
    if isinstance(x, list | tuple):
        return [_plain(value) for value in x]
    return None if isinstance(x, float) and not math.isfinite(x) else x


def _full_lr(probe: Probe) -> float:
    return max(float(group["lr"]) for group in probe.optimizer.param_groups)


def _tensors(history: Sequence[Observation]) -> list[tuple[str, Signals, Signals]]:
    """The tensors that move most in the first observed step, with their first and last signals; at most ten."""
    first, last = history[0].tensors, history[-1].tensors
    order = sorted(first, key=lambda name: -first[name].size if math.isfinite(first[name].size) else 0.0)
    return [(name, first[name], last[name]) for name in order if name in last][:10]


@cache
def _template() -> jinja2.Template:
    here = environment(Path(__file__).parent)
    here.filters.update(digits=lambda x, places=3: f"{x:.{places}g}" if math.isfinite(x) else "–")
    here.globals.update(isfinite=math.isfinite)
    return here.get_template("probe_page.html.j2")
