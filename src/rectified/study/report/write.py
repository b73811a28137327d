"""The report's file: reads the study's folder, writes one page into it."""

from pathlib import Path

from ...files import write
from ..store import Store
from ..tasks import parse_task


def write_report(store: Store) -> Path:
    """Write report.html over everything that the study's folder holds; at any time, while the study runs too."""
    from .page import page  # brings matplotlib and jinja2, which no worker process needs

    path = store.out / "report.html"
    text = page(store.records(), parse_task(store.head["task"]), store.head, store.commands)
    write(path, text)
    return path
