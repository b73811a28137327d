"""From records to the page: one text that fetches nothing, to be shown to others."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from ...figures.style import SHEETS, Style, css_variables, styles
from ..methods import Method, parse
from ..store import Record
from ..tasks import Task
from . import figures
from .numbers import (
    STATUSES,
    Group,
    best,
    beyond,
    curve,
    groups,
    leading,
    limits,
    listing,
    number,
    omega_lines,
    thin,
)

_GLYPHS = {"done": "●", "diverged": "✕", "failed": "!", "missing": "·"}


def page(records: Sequence[Record], task: Task, head: dict[str, Any], commands: Sequence[str]) -> str:
    """The report of those records.

    Args:
        head: the study's epochs and batch_size.
        commands: those it was called with.
    """
    return _template().render(**_context(records, task, head), commands=commands, dates=_days(records))


@cache
def _template() -> jinja2.Template:
    here = jinja2.Environment(
        loader=jinja2.FileSystemLoader([Path(__file__).parent, SHEETS]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    here.filters.update(number=number, listing=listing, lr=lambda lr: f"{lr:g}")
    here.globals.update(css_variables=css_variables, glyphs=_GLYPHS, statuses=STATUSES)
    return here.get_template("page.html.j2")


def _context(records: Sequence[Record], task: Task, head: dict[str, Any]) -> dict[str, Any]:
    methods = list(dict.fromkeys(record.cell.method for record in records))
    lrs = sorted({record.cell.lr for record in records})
    looks = styles(methods)
    steps = head["epochs"] * task.steps_per_epoch(head["batch_size"])
    found = groups(records, task.metric)
    lines = omega_lines(_parsed(methods), steps) if _parsed(methods) else []
    return {
        "task": task,
        "head": head,
        "steps": steps,
        "methods": methods,
        "lrs": lrs,
        "seeds": sorted({record.cell.seed for record in records}),
        "styles": looks,
        "keys": {method: figures.key(style) for method, style in looks.items()},
        "records": records,
        "counts": Counter(record.status for record in records),
        "versions": _versions(records),
        "table": {method: {group.lr: group for group in found if group.method == method} for method in methods},
        "best": {(group.method, group.lr) for lr in lrs for group in best(_at(found, lr), task.larger_is_better)},
        "sentences": [_sentence(_at(found, lr), lr, task) for lr in lrs],
        "unfinished": [line for line in lines if line.unfinished(steps)],
        "robustness": _robustness(found, looks, task),
        "curves": [_curves(records, lr, looks, task, head["epochs"]) for lr in lrs],
        "thinned": len(thin(head["epochs"])) < head["epochs"],
        "lines": lines,
        "omegas": [figures.omegas(lines, looks, steps, width, f"omega-{width}") for width in (820, 400) if lines],
        "unknown": [method for method in methods if method not in {name for line in lines for name in line.methods}],
    }


def _at(found: Sequence[Group], lr: float) -> list[Group]:
    return [group for group in found if group.lr == lr]


def _sentence(here: Sequence[Group], lr: float, task: Task) -> str:
    """What the mark at an lr says, and what it does not."""
    if len(here) == 1:
        return f"lr {lr:g}: {here[0].method} is alone here; there is nothing to compare it with."
    first, means = leading(here, task.larger_is_better), [group for group in here if group.values]
    if not means:
        return f"lr {lr:g}: no run is done."
    if len(means) == 1:
        return f"lr {lr:g}: only {means[0].method} has a run that is done; there is nothing to compare it with."
    if len(first) == len(means):
        return f"lr {lr:g}: all means are equal; no mark."
    one, word = len(first) == 1, "highest" if task.larger_is_better else "lowest"
    text = f"lr {lr:g}: {listing([group.method for group in first])} {'has' if one else 'have'} the {word} mean"
    if not best(here, task.larger_is_better):
        gaps = [f"{gap} of {group.method}" for group in first for gap in group.gaps]
        return f"{text}, which leaves out {listing(gaps)}; no mark."
    if max(group.runs for group in here) == 1:
        return f"{text}, from one seed."
    others = [group.method for group in means if group not in first and any(group.overlaps(top) for top in first)]
    whose = "its range overlaps" if one else "their ranges overlap"
    if not others:
        return f"{text}; {whose} no other."
    return f"{text}; {whose} {'that' if len(others) == 1 else 'those'} of {listing(others)}."


def _robustness(found: Sequence[Group], looks: dict[str, Style], task: Task) -> dict[str, Any] | None:
    if not any(group.values or group.counts["diverged"] for group in found):
        return None
    values = [[value] for group in found for value in group.values]
    ylim = limits(values, task.larger_is_better)
    return {
        "figures": [
            figures.robustness(found, looks, task.metric_label, ylim, width, f"robustness-{width}")
            for width in (820, 400)
        ],
        "partial": any(group.values and not group.whole for group in found),
        "diverged": any(group.counts["diverged"] for group in found),
        "undrawn": [f"{count} {status}" for status in ("failed", "missing") if (count := _total(found, status))],
        "outside": beyond(values, *ylim),
    }


def _total(found: Sequence[Group], status: Any) -> int:
    return sum(group.counts[status] for group in found)


def _curves(records: Sequence[Record], lr: float, looks: dict[str, Style], task: Task, epochs: int) -> dict[str, Any]:
    here = [record for record in records if record.cell.lr == lr]
    methods = [method for method in looks if any(record.cell.method == method for record in here)]
    of = {method: [record for record in here if record.cell.method == method] for method in methods}
    panels = []
    for key, label, larger in (
        ("train_loss", "train loss", False),
        (task.metric, task.metric_label, task.larger_is_better),
    ):
        curves = [curve(method, of[method], key) for method in methods]
        ylim = limits([run for c in curves for run in c.runs], larger)
        drawn = any(c.epochs or c.stops for c in curves)
        name = f"curve-{lr:g}-{key}".replace("+", "")
        panels.append(
            {
                "label": label,
                "svg": figures.learning(curves, looks, label, ylim, epochs, name) if drawn else None,
                "outside": [
                    f"{c.method} (to {number(max(far, key=abs), 1)})" for c in curves if (far := beyond(c.runs, *ylim))
                ],
            }
        )
    stops = [
        f"{record.cell.method}, seed {record.cell.seed}, in epoch {len(record.rows) + 1}"
        for record in here
        if record.status == "diverged"
    ]
    return {"lr": lr, "methods": methods, "panels": panels, "stops": stops}


def _parsed(names: Sequence[str]) -> list[Method]:
    """Those that this version knows: a folder may come from another one."""
    known = []
    for name in names:
        with suppress(ValueError):
            known.append(parse(name))
    return known


def _versions(records: Sequence[Record]) -> list[tuple[str, list[str]]]:
    """Each package with every version of it that a run has seen: more than one is a mixture."""
    names = dict.fromkeys(name for record in records for name in record.versions)
    return [(name, sorted({r.versions[name] for r in records if name in r.versions})) for name in names]


def _days(records: Sequence[Record]) -> str:
    """The day on which the runs ended, or the first and the last."""
    dates = sorted(datetime.fromisoformat(record.ended) for record in records if record.ended)
    days = [f"{date.day} {date:%B %Y}" for date in dates]
    return " to ".join(dict.fromkeys([days[0], days[-1]])) if days else ""
