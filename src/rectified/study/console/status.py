"""A study's progress, read from its folder at any time, whether the study is running or not."""

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from rich.console import Console

from ...files import read
from ..analysis.formatting import count
from ..analysis.results import StudyResults
from ..config.runs import RunKey
from ..execution import checkpoint
from ..storage import validation
from ..storage.records import Record, Row
from ..storage.run_folder import ROWS
from ..storage.store import Store
from .live import Speed, duration, grid, say, show

_UNSAID = {"device": "a CPU", "ranks": "1"}  # defaults that a run's versions leave out
_STATES = ("done", "diverged", "failed", "running", "waiting")


@dataclass(frozen=True)
class Standing:
    """The progress of one run.

    Attributes:
        state: done, diverged, failed, running or waiting.
        rows: the rows of finished epochs that would not be repeated.
        age: seconds since the run last wrote a file; None if it has written none.
    """

    record: Record
    state: str
    rows: Sequence[Row] = ()
    age: float | None = None

    @property
    def epochs_left(self) -> int:
        return 0 if self.record.finished else self.record.run.epochs - len(self.rows)


def standing(store: Store, results: StudyResults, run: RunKey, running: bool) -> Standing:
    """The progress of a run.

    Args:
        running: whether a worker held the run before the results were read, so that a run which ended since has its
            done.json.
    """
    record, folder = results.by_key[run], store.folder(run)
    begun = running or (folder / checkpoint.NAME).exists()
    if record.status != "missing":
        return Standing(record, record.status, record.rows if record.finished or begun else ())
    if not begun:
        return Standing(record, "waiting")
    found = []
    for name in (ROWS, checkpoint.NAME):
        with suppress(OSError):
            found.append((folder / name).lstat().st_mtime)
    age = max(0.0, time.time() - max(found, default=time.time()))
    return Standing(record, "running" if running else "waiting", _whole_rows(store, run), age)


def _whole_rows(store: Store, run: RunKey) -> list[Row]:
    """The rows so far, without one that is still being written."""
    rows: list[Row] = []
    with suppress(OSError, ValueError):
        for line in read(store.folder(run) / ROWS).splitlines(keepends=True):
            rows.extend(validation.rows(line, len(rows) + 1))
    return rows


def print_status(store: Store, console: Console) -> int:
    """Print a study's progress; return the exit status, 1 if a run failed and 0 otherwise."""
    running = {run: store.running(run) for run in store.runs()}
    results, tasks = StudyResults.read(store), store.tasks()
    all_of = [standing(store, results, run, is_running) for run, is_running in running.items()]
    records = [here.record for here in all_of]
    states = {here.record.run: here.state for here in all_of}
    done = {here.record.run: here.record.rows[-1] for here in all_of if here.state == "done"}
    show(console, grid(list(states), states, done, tasks))
    counts = Counter(states.values())
    listed = ", ".join(f"{counts[state]} {state}" for state in _STATES if counts[state])
    console.print(f"{count(len(all_of), 'run')}: {listed}")
    for here in all_of:
        if here.state == "failed":
            say(console, f"failed: {here.record.run}: {here.record.reason}")
        elif here.record.error:
            say(console, damaged(here.record))
        elif here.age is not None:
            where = f"epoch {min(len(here.rows) + 1, here.record.run.epochs)} of {here.record.run.epochs}"
            word = "running" if here.state == "running" else "interrupted"
            say(console, f"{word}: {here.record.run}: {where}, last written {duration(here.age)} ago")
    for note in [*store.problems(), *mixtures(records)]:
        say(console, note)
    say(console, _time(all_of, counts["running"]))
    if not counts["running"] and any(here.epochs_left for here in all_of):
        command = store.commands[-1] if store.commands else f"rectified study ... --out {store.out}"
        say(console, f"nothing is running; continue with: {command}")
    return int(counts["failed"] > 0)


def damaged(record: Record) -> str:
    """A line that reports a run with damaged results."""
    return f"damaged: {record.run}: {record.reason}; it will run again"


def _time(all_of: Sequence[Standing], running: int) -> str:
    """A line with the time of the finished runs and an estimate of the time left."""
    ended = [here.record for here in all_of if here.record.finished and here.rows]
    if not ended:
        return "no run is done yet, so the time left is unknown"
    speed = Speed()
    for record in ended:
        speed.add(record.run, len(record.rows), record.seconds)
    text = f"finished runs took {duration(sum(record.seconds for record in ended))} in total"
    seconds = speed.seconds({here.record.run: here.epochs_left for here in all_of})
    if not seconds:
        return text
    return f"{text}; about {duration(seconds / (running or 1))} left" + ("" if running else " with one worker")


def mixtures(records: Sequence[Record]) -> list[str]:
    """Notes about each package version, device or commit that differs between runs."""
    notes = []
    for name in dict.fromkeys(name for record in records for name in record.versions):
        absent = _UNSAID.get(name, "unknown")
        seen = Counter(record.versions.get(name, absent) for record in records if record.versions)
        if len(seen) > 1 or any(" then " in version for version in seen):
            listed = ", ".join(f"{version} ({count} run{'s' if count > 1 else ''})" for version, count in seen.items())
            notes.append(f"note: runs used different versions: {name} {listed}; see timings.csv for each run")
    return notes
