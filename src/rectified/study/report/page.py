"""From records to the page: one text that fetches nothing, to be shown to others."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from pathlib import Path

import jinja2

from ...figures.style import SHEETS, css_variables, styles
from ..analysis.formatting import listing, number
from ..analysis.outcomes import by_setting
from ..storage.records import Record
from . import final_metric as figures
from .forest import where
from .plot_data import SHADES, STATUSES
from .section import Section

_GLYPHS = {"done": "●", "diverged": "✕", "failed": "!", "missing": "·"}
_FINDINGS = {"better": "better", "worse": "worse", "alike": "alike", "open": "not separable", "unknown": "none"}


def sections(records: Sequence[Record], baseline: str | None = None) -> list[Section]:
    """The study's settings, each with what is told of it.

    Args:
        baseline: the method that the others are compared with; the first one if None, and in a setting without it.

    Raises:
        ValueError: no method is called so.
    """
    methods = list(dict.fromkeys(record.cell.method for record in records))
    if baseline is not None and baseline not in methods:
        raise ValueError(f"--baseline is {baseline!r}; the study's methods are {', '.join(methods)}")
    looks, settings = styles(methods), by_setting(records)
    return [
        Section(
            setting,
            here,
            looks,
            baseline if any(record.cell.method == baseline for record in here) else None,
            f"-{i}" if len(settings) > 1 else "",
        )
        for i, (setting, here) in enumerate(settings.items(), start=1)
    ]


def page(records: Sequence[Record], commands: Sequence[str], baseline: str | None = None) -> str:
    """The report of those records.

    Args:
        commands: those that the study was called with.
        baseline: as :func:`sections` takes it.
    """
    settings = sections(records, baseline)
    looks = settings[0].styles
    return _template().render(
        title=listing(list(dict.fromkeys(s.task.title for s in settings))),
        settings=settings,
        methods=list(looks),
        styles=looks,
        keys={method: figures.key(style) for method, style in looks.items()},
        records=records,
        counts=Counter(record.status for record in records),
        versions=_versions(records),
        commands=commands,
        dates=_days(records),
    )


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
    here.globals.update(
        css_variables=css_variables,
        glyphs=_GLYPHS,
        findings=_FINDINGS,
        statuses=STATUSES,
        where=where,
        SHADES=SHADES,
    )
    return here.get_template("page.html.j2")


def _versions(records: Sequence[Record]) -> list[tuple[str, list[str]]]:
    """Each package with every version of it that a run has seen: more than one is a mixture."""
    names = dict.fromkeys(name for record in records for name in record.versions)
    return [(name, sorted({r.versions[name] for r in records if name in r.versions})) for name in names]


def _days(records: Sequence[Record]) -> str:
    """The day on which the runs ended, or the first and the last."""
    dates = sorted(datetime.fromisoformat(record.ended) for record in records if record.ended)
    days = [f"{date.day} {date:%B %Y}" for date in dates]
    return " to ".join(dict.fromkeys([days[0], days[-1]])) if days else ""
