"""The report's files: reads the study's folder, writes one page and its figures into it."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from ...files import write
from ..storage.store import Store


def write_report(store: Store, baseline: str | None = None) -> Path:
    """Write report.html over everything that the study's folder holds; at any time, while the study runs too.

    Args:
        baseline: the method that the others are compared with. If None the one that the study was last called with,
            or the first.

    Raises:
        ValueError: no method is called like the baseline.
    """
    from .page import page  # brings matplotlib and jinja2, which no worker process needs

    path = store.out / "report.html"
    write(path, page(store.records(), store.commands, baseline or last_baseline(store.commands)))
    return path


def write_figures(store: Store, baseline: str | None = None) -> Path:
    """Write the report's figures into figures/, each as SVG and PDF; other SVGs and PDFs in there are removed.

    Args:
        baseline: as :func:`write_report` takes it.

    Raises:
        ValueError: no method is called like the baseline.
    """
    from .page import sections

    folder = store.out / "figures"
    found: dict[str, bytes] = {}
    for section in sections(store.records(), baseline or last_baseline(store.commands)):
        for drawing in section.files():
            found |= drawing.files()
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        if old.suffix in (".svg", ".pdf") and old.name not in found:
            old.unlink()
    for name, content in found.items():
        write(folder / name, content)
    return folder


def last_baseline(commands: Sequence[str]) -> str | None:
    """The baseline that the last of the commands names, if one does.

    >>> last_baseline(["rectified study x --baseline adam", "rectified study x --seeds 1"])
    'adam'
    """
    for command in reversed(commands):
        words = shlex.split(command)
        for word, following in zip(words, [*words[1:], ""], strict=True):
            if word.startswith("--baseline="):
                return word.removeprefix("--baseline=")
            if word == "--baseline":
                return following
    return None
