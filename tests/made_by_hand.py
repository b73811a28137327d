"""Results made by hand: of records as the store would hand them on."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from rectified.study.analysis.results import StudyResults, Tasks
from rectified.study.config.runs import RunKey
from rectified.study.storage import first_format
from rectified.study.storage.archive import NAME
from rectified.study.storage.records import Record
from rectified.study.storage.store import Store


def tasks_of(runs: Iterable[RunKey]) -> Tasks:
    """What this version knows of the runs' tasks."""
    return first_format.tasks(runs)


def results_of(records: Sequence[Record], baseline: str | None = None, commands: Sequence[str] = ()) -> StudyResults:
    """The reduction of the records."""
    return StudyResults.of(records, tasks_of(record.run for record in records), baseline, commands)


def add(store: Store, runs: Sequence[RunKey], command: str = "rectified study", baseline: str | None = None) -> None:
    """Make the runs part of the store's study."""
    store.add({"baseline": baseline}, tasks_of(runs).values(), runs, command)


def unpack(out: Path) -> None:
    """Make the folders again of which a study's archive was packed, and remove it."""
    store = Store.open(out)
    for run, files in store.archive.runs.items():
        store.folder(run).mkdir(parents=True, exist_ok=True)
        for name, content in files.files.items():
            (store.folder(run) / name).write_bytes(content)
    (out / NAME).unlink()
