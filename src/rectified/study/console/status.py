"""How a study stands, read from its folder: at any time, whether it runs or not."""

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

_UNSAID = {"device": "a CPU", "ranks": "1"}  # what a run's versions say nothing of
_STATES = ("done", "diverged", "failed", "running", "waiting")


@dataclass(frozen=True)
class Standing:
    """How one run stands.

    Attributes:
        state: done, diverged, failed, running or waiting.
        rows: of the epochs that are over and would not be repeated.
        age: seconds since something was last written of a run; None if nothing was.
    """

    record: Record
    state: str
    rows: Sequence[Row] = ()
    age: float | None = None

    @property
    def epochs_left(self) -> int:
        return 0 if self.record.finished else self.record.run.epochs - len(self.rows)


def standing(store: Store, results: StudyResults, run: RunKey, running: bool) -> Standing:
    """How the run stands.

    Args:
        running: whether a worker was at it before the results were read: what ends after that has its done.json.
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
    """The rows so far, without one that is just being written."""
    rows: list[Row] = []
    with suppress(OSError, ValueError):
        for line in read(store.folder(run) / ROWS).splitlines(keepends=True):
            rows.extend(validation.rows(line, len(rows) + 1))
    return rows


def print_status(store: Store, console: Console) -> int:
    """Say how the study stands; the exit status: 1 if a run failed, else 0."""
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
            word = "running" if here.state == "running" else "waiting, begun"
            say(console, f"{word}: {here.record.run}: {where}, last sign {duration(here.age)} ago")
    for note in [*store.problems(), *mixtures(records)]:
        say(console, note)
    say(console, _time(all_of, counts["running"]))
    if not counts["running"] and any(here.epochs_left for here in all_of):
        command = store.commands[-1] if store.commands else f"rectified study ... --out {store.out}"
        say(console, f"nothing runs; go on with: {command}")
    return int(counts["failed"] > 0)


def damaged(record: Record) -> str:
    """That a run's results are not as they were written, for a terminal."""
    return f"damaged: {record.run}: {record.reason}; it runs again"


def _time(all_of: Sequence[Standing], running: int) -> str:
    """What the runs that ended took, and at their speed, by as many workers as run, what is left."""
    ended = [here.record for here in all_of if here.record.finished and here.rows]
    if not ended:
        return "no run is done yet, so that nobody knows how long they take"
    speed = Speed()
    for record in ended:
        speed.add(record.run, len(record.rows), record.seconds)
    text = f"the runs that ended took {duration(sum(record.seconds for record in ended))} in all"
    seconds = speed.seconds({here.record.run: here.epochs_left for here in all_of})
    if not seconds:
        return text
    return f"{text}; about {duration(seconds / (running or 1))} left" + ("" if running else ", of one worker's time")


def mixtures(records: Sequence[Record]) -> list[str]:
    """A note for each package, or commit, that differs between the runs."""
    notes = []
    for name in dict.fromkeys(name for record in records for name in record.versions):
        absent = _UNSAID.get(name, "unknown")
        seen = Counter(record.versions.get(name, absent) for record in records if record.versions)
        if len(seen) > 1 or any(" then " in version for version in seen):
            listed = ", ".join(f"{version} ({count} run{'s' if count > 1 else ''})" for version, count in seen.items())
            notes.append(f"note: the runs are a mixture: {name} {listed}; timings.csv has it run by run")
    return notes
