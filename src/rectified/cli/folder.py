"""The commands that read a study's folder: `rectified status`, `report` and `export`."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import Positional, arg

from ..files import expanded, write_output
from ..study.analysis.results import StudyResults
from ..study.console.live import say
from ..study.console.status import print_status
from ..study.report import write_figures, write_report
from ..study.report.export import Format, export
from ..study.storage.store import Store

_BASELINE = "(default: the study's own, or its first method)"


@dataclass(frozen=True)
class Status:
    """Show a study's progress: which runs are done, diverged, failed, running or waiting, and the time left."""

    out: Annotated[Positional[Path], arg(metavar="DIR")]
    """Folder of the study, which may be running."""

    def __call__(self, command: str, console: Console) -> int:
        return print_status(Store.open(expanded(self.out)), console)


@dataclass(frozen=True)
class Report:
    """Rewrite the report, its figures and the tables of a finished or running study."""

    out: Annotated[Positional[Path], arg(metavar="DIR")]
    """Folder of the study."""
    baseline: Annotated[str | None, arg(metavar="NAME", help_behavior_hint=_BASELINE)] = None
    """The method that the others are compared with."""

    def __call__(self, command: str, console: Console) -> int:
        store = Store.open(expanded(self.out))
        results = StudyResults.read(store, self.baseline)
        page = write_report(results, store.out)
        store.write_tables(results.by_key)
        say(console, results.verdict)
        say(console, f"report: {page}")
        say(console, f"figures: {write_figures(results, store.out)}")
        return 0


@dataclass(frozen=True)
class Export:
    """Export a study's means and differences as tables for a paper, or every run as CSV; the study may be running."""

    out: Annotated[Positional[Path], arg(metavar="DIR")]
    """Folder of the study."""
    format: Annotated[Format, arg(metavar="csv|markdown|latex")] = "markdown"
    """csv: one row per run. markdown, latex: mean and interval by method and lr, and differences from the baseline."""
    file: Annotated[Path | None, arg(name="out", metavar="FILE", help_behavior_hint="(default: print)")] = None
    """File to write."""
    baseline: Annotated[str | None, arg(metavar="NAME", help_behavior_hint=_BASELINE)] = None
    """The method that the others are compared with."""

    def __call__(self, command: str, console: Console) -> int:
        results = StudyResults.read(Store.open(expanded(self.out)), self.baseline)
        text = export(results, self.format)
        if self.file is None:
            sys.stdout.write(text)
        else:
            write_output(expanded(self.file), text)
        return 0
