"""The report as a single self-contained HTML page that loads nothing from elsewhere."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from pathlib import Path

import jinja2

from ...figures.drawing import Key, key_css
from ...figures.html_page import environment
from ...figures.style import styles
from ..analysis.formatting import listing, number
from ..analysis.results import StudyResults
from ..storage.records import STATUSES, Record
from .drawings.forest import where, whom
from .plot_data import SHADES
from .section import Section

_GLYPHS = {"done": "●", "diverged": "✕", "failed": "!", "missing": "·"}


def sections(results: StudyResults) -> list[Section]:
    """The sections of the page, one for each setting."""
    looks = styles(list(dict.fromkeys(record.run.method for record in results.records)))
    several = len(results.settings) > 1
    return [Section(s, looks, f"-{i}" if several else "") for i, s in enumerate(results.settings, start=1)]


def page(results: StudyResults) -> str:
    """Render the report as one HTML text."""
    settings, records = sections(results), results.records
    if not settings:
        raise ValueError("the study has no runs, so there is nothing to report")
    looks = settings[0].styles
    return _template().render(
        title=listing(list(dict.fromkeys(s.task.title for s in settings))),
        settings=settings,
        methods=list(looks),
        styles=looks,
        key_css=key_css(map(Key, looks.values())),
        records=records,
        counts=Counter(record.status for record in records),
        versions=_versions(records),
        commands=results.commands,
        folder_of_runs=results.folder_of_runs,
        dates=_days(records),
    )


@cache
def _template() -> jinja2.Template:
    here = environment(Path(__file__).parent)
    here.filters.update(number=number, listing=listing, lr=lambda lr: f"{lr:g}", key=lambda style: Key(style).name)
    here.globals.update(
        glyphs=_GLYPHS,
        statuses=STATUSES,
        where=where,
        whom=whom,
        SHADES=SHADES,
    )
    return here.get_template("page.html.j2")


def _versions(records: Sequence[Record]) -> list[tuple[str, list[str]]]:
    """Each package with the versions that runs used; more than one means that runs used different versions."""
    names = dict.fromkeys(name for record in records for name in record.versions)
    return [(name, sorted({r.versions[name] for r in records if name in r.versions})) for name in names]


def _days(records: Sequence[Record]) -> str:
    """The day on which the runs ended, or the first and last day."""
    dates = sorted(datetime.fromisoformat(record.ended) for record in records if record.ended)
    days = [f"{date:%B} {date.day}, {date.year}" for date in dates]
    return " to ".join(dict.fromkeys([days[0], days[-1]])) if days else ""
