"""Writing the report's page and figures into the study's folder."""

import errno
import re
from pathlib import Path

from ...files import read, write
from ..analysis.results import StudyResults

_MANIFEST = ".written"  # in figures/: the names of the figures that this program wrote
_FIGURE = re.compile(r"[\w+-][\w.+-]*\.(svg|pdf)")


def write_report(results: StudyResults, folder: Path) -> Path:
    """Write report.html over everything that the study's folder holds; the study may still be running."""
    from .page import page  # imports matplotlib and jinja2, which no worker process needs

    path = folder / "report.html"
    write(path, page(results))
    return path


def write_figures(results: StudyResults, folder: Path) -> Path:
    """Write the report's figures into figures/, each as SVG and PDF.

    Figures of an earlier report that this one no longer has are removed; nothing else is.

    Raises:
        OSError: the folder cannot be written, or figures/ is a link.
        ValueError: a measure's name makes no file name.
    """
    from .page import sections

    figures = folder / "figures"
    if figures.is_symlink():
        raise OSError(errno.ELOOP, "a link; figures are not written through links, so move it away", str(figures))
    found: dict[str, bytes] = {}
    for section in sections(results):
        for drawing in section.files():
            found |= drawing.files()
    for name in found:
        if not _FIGURE.fullmatch(name):  # it contains a metric's name, which may come from a stranger
            raise ValueError(f"{name!r} is not a valid figure name")
    figures.mkdir(exist_ok=True)
    for old in _written(figures):
        if old not in found:
            (figures / old).unlink(missing_ok=True)
    write(figures / _MANIFEST, "".join(f"{name}\n" for name in found))
    for name, content in found.items():
        write(figures / name, content)
    return figures


def _written(figures: Path) -> list[str]:
    """The names of the figures that an earlier report wrote."""
    try:
        names = read(figures / _MANIFEST).decode().splitlines()
    except (OSError, ValueError):
        return []
    return [name for name in names if _FIGURE.fullmatch(name)]
