"""The report's files: one page and its figures, written into the study's folder."""

from pathlib import Path

from ...files import write
from ..analysis.results import StudyResults


def write_report(results: StudyResults, folder: Path) -> Path:
    """Write report.html over everything that the study's folder holds; at any time, while the study runs too."""
    from .page import page  # brings matplotlib and jinja2, which no worker process needs

    path = folder / "report.html"
    write(path, page(results))
    return path


def write_figures(results: StudyResults, folder: Path) -> Path:
    """Write the report's figures into figures/, each as SVG and PDF; other SVGs and PDFs in there are removed."""
    from .page import sections

    figures = folder / "figures"
    found: dict[str, bytes] = {}
    for section in sections(results):
        for drawing in section.files():
            found |= drawing.files()
    figures.mkdir(exist_ok=True)
    for old in figures.iterdir():
        if old.suffix in (".svg", ".pdf") and old.name not in found:
            old.unlink()
    for name, content in found.items():
        write(figures / name, content)
    return figures
