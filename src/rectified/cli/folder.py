"""The commands that read a study's folder: `rectified status`, `report`, `export` and `pack`."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import Positional, arg

from ..files import expanded, write_output
from ..study.analysis.formatting import count
from ..study.analysis.results import StudyResults
from ..study.console.live import say
from ..study.console.status import print_status
from ..study.report import write_figures, write_report
from ..study.report.export import Format, export
from ..study.storage.packing import pack
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
        for problem in store.problems():
            say(console, problem)
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
        store = Store.open(expanded(self.out))
        text = export(StudyResults.read(store, self.baseline), self.format)
        for problem in store.problems():
            print(problem, file=sys.stderr)
        if self.file is None:
            sys.stdout.write(text)
        else:
            write_output(expanded(self.file), text)
        return 0


@dataclass(frozen=True)
class Pack:
    """Write a study's finished runs into one compressed file, runs.jsonl.gz, which every command reads."""

    out: Annotated[Positional[Path], arg(metavar="DIR")]
    """Folder of the study; no study may be running in it."""
    remove_folders: bool = False
    """Remove the folders of the packed runs, with their TensorBoard files. Your own files in them stay."""

    def __call__(self, command: str, console: Console) -> int:
        done = pack(Store.open(expanded(self.out)), self.remove_folders)
        say(console, f"packed {count(done.runs, 'run')} into {done.path}, {done.size / 1e3:,.0f} kB")
        for line in done.left_out:
            say(console, line)
        if done.unfinished:
            say(console, f"not packed: {count(len(done.unfinished), 'run')} not finished")
        if done.folders and self.remove_folders:
            first = ", ".join(map(str, done.folders[:3])) + ", ..." * (len(done.folders) > 3)
            say(console, f"{count(len(done.folders), 'folder')} of packed runs hold other files and stayed: {first}")
        elif done.folders:
            say(console, f"{count(len(done.folders), 'folder')} of packed runs can be removed: --remove-folders")
        return int(bool(done.left_out))
