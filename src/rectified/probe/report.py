"""What a probe saw, for readers: text, JSON, TensorBoard, and one HTML page that loads nothing from elsewhere."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from ..figures.drawing import key_css
from ..figures.html_page import environment
from ..figures.plot import Line, Mark, Plot
from ..figures.style import Style
from ..figures.table import Table
from ..files import write
from .probe_verdict import FIRST_STEPS, MINIMUM, Verdict, reaches
from .signals import Observation, Signals
from .trial_result import TrialResult
from .watch import Probe

_FAR = 1000.0  # a signal whose largest value is so many times its smallest is drawn on a logarithmic axis


class _Figure(NamedTuple):
    """A figure of signals.

    Attributes:
        columns: the signals, with their names in the legend.
        note: what the figure says.
        logs: its logarithmic axes, if the values are positive.
        ylim: beyond which values are cut off.
    """

    title: str
    columns: dict[str, str]
    note: str
    logs: str = "x"
    ylim: tuple[float, float] = (-math.inf, math.inf)


_FIGURES: dict[str, _Figure] = {
    "loss": _Figure("loss of a batch", {"loss": ""}, "A jump above the first loss is a catapult."),
    "gain_left": _Figure(
        "gain left after a step",
        {"gain_left": ""},
        "1: the step was far too short; 0: it ended at the minimum along its line; below 0: it went beyond. Noise in "
        "small batches makes it smaller.",
        ylim=(-2.0, 2.0),
    ),
    "size": _Figure(
        "step relative to the weights",
        {"size": "size", "angle": "angle, radians"},
        "How far one step moves the weights, and how far it turns them.",
        "xy",
    ),
    "update_rms": _Figure(
        "root mean square of a step over lr",
        {"update_rms": ""},
        "1: every element moves by lr, as signs do. It falls as v averages more gradients than agree.",
    ),
    "snr": _Figure(
        "signal to noise, |m̂|² / |v̂|₁", {"snr": ""}, "1 in the first step, whatever the gradients are.", "xy"
    ),
    "spread": _Figure(
        "spread of log 1/√v̂ over elements",
        {"spread": ""},
        "v rests on few samples at first, so that it is spread by chance alone: by 1.11 for one Gaussian sample.",
    ),
    "surprise": _Figure(
        "largest g² / v̂",
        {"surprise": ""},
        "How much larger a gradient is than v expects. 5,000 is the threshold of SPAM (arXiv:2501.06842).",
        "xy",
    ),
}
_REACH = (
    "How far a step at the full lr goes of the way along its line to where the loss is as high as before: 0.5 is the "
    "minimum. A verdict asks whether one of the first steps goes beyond it."
)


def as_table(history: Sequence[Observation]) -> Table:
    """The model's signals, one row per observed step."""
    return Table.of(asdict(o.model) for o in history)


def plots(probe: Probe) -> list[Plot]:
    """The figures of the signals that have values, and of the reach if it was measured."""
    table = as_table(probe.history)
    steps = table["step"]
    xlim = (steps[0] / 1.15, steps[-1] * 1.15)
    known = reaches(probe.history, probe.full_lr)
    found = [_reach_plot(known, xlim)] if known else []
    return found + [
        _signal_plot(name, figure, table, xlim)
        for name, figure in _FIGURES.items()
        if any(math.isfinite(x) for column in figure.columns for x in table[column])
    ]


def _reach_plot(known: Sequence[tuple[int, float]], xlim: tuple[float, float]) -> Plot:
    rows = Table.of({"step": step, "reach": reach} for step, reach in known)
    largest = max((reach for step, reach in known if step <= FIRST_STEPS), default=math.nan)
    said = f"{largest:.3g}" if math.isfinite(largest) else "without limit" if largest > 0 else "unknown"
    alt = f"Reach by step; the largest of the first {FIRST_STEPS} steps is {said}."
    low, high = min(rows["reach"]), max(rows["reach"])
    return Plot(
        "reach",
        "reach of a step at full lr",
        "step",
        [Line("", Style(0), rows["step"], rows["reach"])],
        rows,
        alt,
        logs="x",
        xlim=xlim,
        ylim=(max(-1.0, min(0.0, low)), min(2.0, max(1.1, high))),
        marks=(Mark("minimum along the line", y=MINIMUM, place=0.98), Mark("edge", y=1.0, place=0.98)),
    )


def _signal_plot(name: str, figure: _Figure, table: Table, xlim: tuple[float, float]) -> Plot:
    values = [x for column in figure.columns for x in table[column] if math.isfinite(x)]
    low, high = min(values), max(values)
    cut = low < figure.ylim[0] or high > figure.ylim[1]
    wide = low > 0 and high > _FAR * low and not cut
    logs = "x" if high <= 0 else "xy" if wide else figure.logs
    first = [x for x in table[next(iter(figure.columns))] if math.isfinite(x)]
    return Plot(
        name,
        figure.title,
        "step",
        [Line(label, Style(i), table["step"], table[c]) for i, (c, label) in enumerate(figure.columns.items())],
        table.columns("step", *figure.columns),
        f"{figure.title} by step" + (f", from {first[0]:.3g} to {first[-1]:.3g}." if first else "."),
        logs=logs,
        xlim=xlim,
        ylim=(max(min(low, 0.0), figure.ylim[0]), min(max(high, 0.0), figure.ylim[1])) if cut else None,
    )


def page(probe: Probe, verdict: Verdict, result: TrialResult | None = None, title: str = "", command: str = "") -> str:
    """The page as HTML.

    Raises:
        ValueError: the probe has observed no complete step.
    """
    if not probe.history:
        raise ValueError(
            "the probe has observed no complete step, so there is no page: a run must take two steps or more, with "
            "finite losses"
        )
    drawn = plots(probe)
    return _template().render(
        title=title,
        command=command,
        verdict=verdict,
        result=result,
        plots=drawn,
        notes={name: figure.note for name, figure in _FIGURES.items()} | {"reach": _REACH},
        key_css=key_css(key for plot in drawn for key in plot.drawing.legend.values()),
        tensors=_tensors(probe.history),
        steps=[o.step for o in probe.history],
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
    """Write the model's signals as TensorBoard scalars; those of an earlier call in the folder are removed."""
    from torch.utils.tensorboard.writer import SummaryWriter

    for earlier in folder.glob(f"events.out.tfevents.*{_SUFFIX}"):
        earlier.unlink()
    with SummaryWriter(str(folder), filename_suffix=_SUFFIX) as board:
        for o in history:
            for name, value in asdict(o.model).items():
                if name != "step" and math.isfinite(value):
                    board.add_scalar(f"probe/{name}", value, o.step)


_SUFFIX = ".probe"


def write_files(
    folder: Path, probe: Probe, verdict: Verdict, result: TrialResult | None = None, title: str = "", command: str = ""
) -> Path:
    """Write probe.html, probe.json, signals.csv and a TensorBoard file into a folder; return the page's path.

    Raises:
        ValueError: the probe has observed no complete step; then nothing is written.
    """
    html = page(probe, verdict, result, title, command)
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "signals.csv", as_table(probe.history).csv())
    write(folder / "probe.json", as_json(probe, verdict, result) + "\n")
    write_tensorboard(folder / "tensorboard", probe.history)
    write(folder / "probe.html", html)
    return folder / "probe.html"


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
            "measure": result.measure,
        }
    )
    return found


def _plain(x: Any) -> Any:
    if isinstance(x, dict):
        return {name: _plain(value) for name, value in x.items()}
    if isinstance(x, list | tuple):
        return [_plain(value) for value in x]
    return None if isinstance(x, float) and not math.isfinite(x) else x


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
