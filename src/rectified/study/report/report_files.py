"""The report's files: one page and its figures, written into the study's folder."""

import errno
import re
from pathlib import Path

from ...files import read, write
from ..analysis.results import StudyResults

_MANIFEST = ".written"  # in figures/: the names of those that are this program's
_FIGURE = re.compile(r"[\w+-][\w.+-]*\.(svg|pdf)")


def write_report(results: StudyResults, folder: Path) -> Path:
    """Write report.html over everything that the study's folder holds; at any time, while the study runs too."""
    from .page import page  # brings matplotlib and jinja2, which no worker process needs

    path = folder / "report.html"
    write(path, page(results))
    return path


def write_figures(results: StudyResults, folder: Path) -> Path:
    """Write the report's figures into figures/, each as SVG and PDF.

    A figure that an earlier report has written there, and this one no longer has, is removed; nothing else is.

    Raises:
        OSError: the folder cannot be written, or figures/ is a link.
        ValueError: a measure's name makes no file name.
    """
    from .page import sections

    figures = folder / "figures"
    if figures.is_symlink():
        raise OSError(errno.ELOOP, "a link, and no figures are written through one; move it away", str(figures))
    found: dict[str, bytes] = {}
    for section in sections(results):
        for drawing in section.files():
            found |= drawing.files()
    for name in found:
        if not _FIGURE.fullmatch(name):  # a measure's name is part of it, and may be a stranger's
            raise ValueError(f"a figure cannot be called {name!r}")
    figures.mkdir(exist_ok=True)
    for old in _written(figures):
        if old not in found:
            (figures / old).unlink(missing_ok=True)
    write(figures / _MANIFEST, "".join(f"{name}\n" for name in found))
    for name, content in found.items():
        write(figures / name, content)
    return figures


def _written(figures: Path) -> list[str]:
    """The names of the figures that an earlier report has written."""
    try:
        names = read(figures / _MANIFEST).decode().splitlines()
    except (OSError, ValueError):
        return []
    return [name for name in names if _FIGURE.fullmatch(name)]
