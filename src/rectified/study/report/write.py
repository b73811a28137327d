"""The report's file: reads the study's folder, writes one page into it."""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from ..store import Store, _whole
from ..tasks import TASKS


def write_report(store: Store) -> Path:
    """Write report.html over everything that the study's folder holds; at any time, while the study runs too."""
    from .page import page  # brings matplotlib and jinja2, which no worker process needs

    path = store.out / "report.html"
    text = page(store.records(), TASKS[store.head["task"]], store.head, store.command, _dates(store))
    with _whole(path) as file:
        file.write(text)
    return path


def _dates(store: Store) -> list[datetime]:
    """When each run ended, by its done.json's own time."""
    found = []
    for cell in store.cells():
        with suppress(OSError):
            found.append(datetime.fromtimestamp((store.folder(cell) / "done.json").stat().st_mtime, UTC))
    return found
