"""A study's folder: one folder a run, the tables over all of them, and nothing else.

OUT/study.json       the study, its tasks and runs, the commands it was called with: what makes OUT a study
OUT/runs/ID/         one run, see run_folder.py
OUT/results.csv      one row a run: what a repetition would reproduce
OUT/timings.csv      one row a run: what it would not
OUT/.lock            empty; locked by the study that runs

A study that was begun by an earlier version has cells/ for runs/; it can be read and continued without conversion.

A folder may come from a stranger: reading it imports nothing that it names, follows no link in it, and takes no value
from it that was not checked. What is damaged is named, and a damaged run runs again with the next call.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from ...files import is_temporary, read, sweep, write
from ...workloads.tasks.task_info import TaskInfo
from ..config.runs import RunKey
from ..execution import checkpoint
from ..execution.first_steps import read_steps
from ..execution.gradients import read_histograms
from . import first_format, validation
from .locks import LOCK, is_locked, locked
from .records import Record, results_csv, timings_csv
from .run_folder import CONFIG, DONE, ROWS, check_digests, refuse_link

T = TypeVar("T")

_KIND = "rectified study"
_FORMAT = 2
_RUNS = ("runs", "cells")
_OTHERS = ("results.csv", "timings.csv", "report.html", "figures")


class NotAStudyError(ValueError):
    """The folder holds something that this study must not touch."""


class Store:
    """The folder of a study.

    Args:
        out: the folder; made once a study begins in it.

    Raises:
        NotAStudyError: the folder holds something else.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.lost: dict[RunKey, Record] = {}  # how runs failed whose folders could not be written
        self._runs: Path | None = None
        self._added: dict[str, Any] | None = None
        if out.exists() and not out.is_dir():
            raise NotAStudyError(f"{out} is a file; --out names a folder")
        if self.exists:
            self._read()
        elif out.exists() and not self._is_new():
            raise NotAStudyError(f"{out} holds something that is not a study; name an empty or new folder with --out")

    @classmethod
    def open(cls, out: Path) -> "Store":
        """The store of a study that is there."""
        store = cls(out) if out.is_dir() else None
        if store is None or not store.exists:
            more = "; the call that began it takes its runs up again" if store and any(store._on_disk()) else ""
            raise NotAStudyError(f"{out} holds no study: there is no study.json in it{more}")
        return store

    @property
    def exists(self) -> bool:
        """Whether a study has begun in the folder."""
        return (self.out / "study.json").exists()

    def _is_new(self) -> bool:
        """Whether the folder without a study.json is empty, or holds what a study leaves that was killed or lost it."""
        names = {path.name for path in self.out.iterdir() if not is_temporary(path.name)} - {LOCK}
        return not names or (any(self._on_disk()) and names <= {*_RUNS, *_OTHERS})

    def _on_disk(self) -> Iterator[RunKey]:
        """The runs whose folders are there, by their own word."""
        for name in _RUNS:
            runs = self.out / name
            for folder in runs.iterdir() if runs.is_dir() else ():
                with suppress(OSError, ValueError):
                    config = validation.mapping(validation.parsed(read(folder / CONFIG)))
                    key = validation.run_key(config["run"] if "run" in config else config.get("cell"))
                    if folder.name == (key.id if name == "runs" else key.old_id):
                        yield key

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder: a second study on it is refused while this one runs."""
        self.out.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self.out, wait=False))
            except BlockingIOError:
                raise NotAStudyError(
                    f"{self.out} is in use by another study; wait for it or name another --out"
                ) from None
            sweep(self.out)
            yield

    def add(self, study: dict[str, Any], tasks: Iterable[TaskInfo], runs: Iterable[RunKey], command: str) -> None:
        """Make the runs part of the study, before those of earlier calls that are not among them.

        Args:
            study: as JSON holds it; it takes the place of what an earlier call asked for, whose baseline stays where
                this one names none.
            tasks: what is to be known of the runs' tasks to read their results.
        """
        old = self._read() if self.exists else {}
        keys = list(dict.fromkeys([*runs, *(self.runs() if old else []), *sorted(self._on_disk(), key=str)]))
        infos = {(info.name, info.version): info for info in (self.tasks() if old else {}).values()}
        for info in tasks:
            known = infos.get((info.name, info.version))
            steps = dict(known.steps_per_epoch if known else ()) | dict(info.steps_per_epoch)
            told = {**info.as_dict(), "steps_per_epoch": steps.items()}
            if known is not None:  # runs that are done may have measured nothing else
                told |= {"compared": known.compared, "chosen_by": known.chosen_by}
            infos[info.name, info.version] = TaskInfo.from_dict(told)
        first = self.folder_of_runs.name == "cells"  # whose folders keep their names
        baseline = study.get("baseline") or (self.baseline if old else None)
        value = {
            "kind": _KIND,
            "format": _FORMAT,
            "commands": list(dict.fromkeys([*(self.commands if old else []), command])),
            "study": {**study, "baseline": baseline},
            "tasks": [info.as_dict() for info in infos.values()],
            "cells" if first else "runs": [key.as_dict() for key in keys],
        }
        value["sha256"] = _digest(value)
        self._added = json.loads(json.dumps(value))  # as it is read
        write_json(self.out / "study.json", value)

    def restore(self) -> bool:
        """Write study.json again where it was removed or changed while the study ran; whether it was."""
        if self._added is None:
            return False
        with suppress(NotAStudyError):
            if self.exists and self._read() == self._added:
                return False
        self.out.mkdir(parents=True, exist_ok=True)
        write_json(self.out / "study.json", self._added)
        return True

    def runs(self) -> list[RunKey]:
        """Every run of the study, in its order; each once, and none whose entry is damaged."""
        return list(dict.fromkeys(self._entries(*_RUNS, check=validation.run_key)[0]))

    def problems(self) -> list[str]:
        """What of study.json is damaged, a line each."""
        entries = self._entries(*_RUNS, check=validation.run_key)[1]
        entries += self._entries("tasks", check=validation.task_info)[1]
        study = self._read()
        if not entries and study.get("sha256", digest := _digest(study)) != digest:
            entries.append(f"{self.out / 'study.json'} is not as it was written: damaged, or changed by hand")
        return entries

    def _entries(self, *names: str, check: Callable[[Any], T]) -> tuple[list[T], list[str]]:
        """The values of the first of these lists in study.json that is there, and what is wrong with the others."""
        study = self._read()
        name = next((name for name in names if name in study), names[0])
        entries, found, problems = study.get(name, []), [], []
        if not isinstance(entries, list):
            return [], [f"{self.out / 'study.json'}: {name} is no list"]
        for i, entry in enumerate(entries, 1):
            try:
                found.append(check(entry))
            except ValueError as error:
                problems.append(f"{self.out / 'study.json'}: entry {i} of {name} is left out: {error}")
        return found, problems

    def tasks(self) -> dict[tuple[str, str], TaskInfo]:
        """What is known of the tasks, by name and version."""

        def info(entry: Any) -> TaskInfo:
            found = validation.task_info(entry)
            return found if "chance" in entry else first_format.with_chance(found)

        found, _ = self._entries("tasks", check=info)
        infos = {(info.name, info.version): info for info in found}
        return infos | first_format.tasks(run for run in self.runs() if (run.task, run.version) not in infos)

    @property
    def baseline(self) -> str | None:
        """The method that the study compares the others with; None for the first."""
        study = self._read()
        if "study" not in study:
            return first_format.baseline(self.commands)
        asked = study["study"]
        found = asked.get("baseline") if isinstance(asked, dict) else None
        return found if isinstance(found, str) else None

    @property
    def commands(self) -> list[str]:
        """The commands that the study was called with, each once: together they repeat it."""
        found = self._read().get("commands")
        texts = [each for each in found if isinstance(each, str)] if isinstance(found, list) else []
        return [validation.lines(each, "a command") for each in texts]

    @property
    def folder_of_runs(self) -> Path:
        """The folder that holds one folder for each run."""
        if self._runs is None:
            known = self._read() if self.exists else [name for name in _RUNS if (self.out / name).is_dir()]
            self._runs = self.out / ("cells" if "cells" in known and "runs" not in known else "runs")
        return self._runs

    def folder(self, run: RunKey) -> Path:
        """The run's own."""
        runs = self.folder_of_runs
        return runs / (run.old_id if runs.name == "cells" else run.id)

    def prune(self, run: RunKey) -> None:
        """Remove what a run needs no more once it is done, where it was killed before it could itself."""
        with suppress(OSError):  # it is of no use, and in nobody's way
            refuse_link(self.folder(run))
            (self.folder(run) / checkpoint.NAME).unlink()

    def running(self, run: RunKey) -> bool:
        """Whether a worker is at it at this moment: it holds the folder's lock, and the system ends that with it."""
        return is_locked(self.folder(run))

    def record(self, run: RunKey) -> Record:
        """What is known of the run.

        A run is missing, and will run again, if it has no done.json. It is too, with the reason as its error, if that
        or its results are not as they were written.
        """
        folder = self.folder(run)
        try:
            refuse_link(folder)
            content = read(folder / DONE)
        except FileNotFoundError:
            return self.lost.get(run, Record(run))
        except OSError as error:
            return self.lost.get(run, Record(run, error=f"{DONE} cannot be read: {error}"))
        what = DONE
        try:
            end = validation.ending(validation.parsed(content))
            counted, expected = end.pop("rows"), end.pop("sha256")
            what = ROWS
            rows = validation.rows(read(folder / ROWS))
            if counted not in (None, len(rows)):
                raise ValueError(f"{len(rows)} of {counted} rows are there")
            what = "results"
            check_digests(folder, expected)
            return Record(run, rows=rows, steps=read_steps(folder), gradients=read_histograms(folder), **end)
        except (OSError, ValueError) as error:
            return Record(run, error=f"its {what}: {error}")

    def records(self) -> list[Record]:
        """What is known of every run, in the study's order."""
        return [self.record(run) for run in self.runs()]

    def write_tables(self, reduced: Mapping[RunKey, Record] | None = None) -> None:
        """Write results.csv and timings.csv over every run.

        Args:
            reduced: the records as a study's results have them, in which a run that lacks its metric has failed.
        """
        records = self.records() if reduced is None else [reduced[run] for run in self.runs()]
        write(self.out / "results.csv", results_csv(records))
        write(self.out / "timings.csv", timings_csv(records, [self.folder(record.run).name for record in records]))

    def _read(self) -> dict[str, Any]:
        path = self.out / "study.json"
        try:
            study = validation.mapping(validation.parsed(read(path)))
            if study.get("kind") != _KIND:
                raise ValueError("it is of something else")
            version = study.get("format", 1)
            if isinstance(version, bool) or not isinstance(version, int):
                raise ValueError("its format is no number")
        except (OSError, ValueError) as error:
            way = "move it away and call the study again, which takes its runs up" if any(self._on_disk()) else ""
            raise NotAStudyError(
                f"{path} is not a study's ({error}); {way or 'name another folder with --out'}"
            ) from None
        if version > _FORMAT:
            raise NotAStudyError(f"{path} was written by a newer version of rectified; update this one to read it")
        return study  # type: ignore[return-value]


def _digest(study: Mapping[str, Any]) -> str:
    """The SHA-256 of what a study.json holds, but for its own."""
    text = json.dumps({name: value for name, value in study.items() if name != "sha256"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write the value as JSON, all of it or nothing."""
    write(path, json.dumps(value, indent=1))
