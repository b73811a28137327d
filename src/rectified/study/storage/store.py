"""A study's folder: one folder per run, and the tables over all runs.

OUT/study.json       the study, its tasks and runs, the commands it was called with: what makes OUT a study
OUT/runs/ID/         one run, see run_folder.py
OUT/runs.jsonl.gz    packed runs, see archive.py; a run that also has a folder is read from the folder
OUT/results.csv      one row per run: what a repetition would reproduce
OUT/timings.csv      one row per run: what a repetition would not reproduce
OUT/.lock            empty; locked by the running study

A study begun by an earlier version has cells/ instead of runs/; it can be read and continued without conversion.

A folder may come from a stranger: reading it imports nothing that it names, follows no link in it, and uses no value
from it that was not checked. Damage is reported, and a damaged run runs again with the next call.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from ...files import is_temporary, read, sweep, write
from ...workloads.tasks.task_info import TaskInfo
from ..config.runs import RunKey
from ..execution import checkpoint
from . import archive, first_format, validation
from .archive import Archive, read_archive
from .locks import LOCK, is_locked, locked
from .records import Record, results_csv, timings_csv
from .run_files import RunFiles, read_record
from .run_folder import CONFIG, RunFolder, refuse_link

T = TypeVar("T")

_KIND = "rectified study"
_FORMAT = 2
_RUNS = ("runs", "cells")
_OTHERS = (archive.NAME, "results.csv", "timings.csv", "report.html", "figures")


class NotAStudyError(ValueError):
    """The folder holds something that is not a study, which must not be touched."""


class Store:
    """A study's folder on disk.

    Args:
        out: the folder; created when a study begins in it.

    Raises:
        NotAStudyError: the folder holds something that is not a study.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.lost: dict[RunKey, Record] = {}  # how runs failed whose folders could not be written
        self._runs: Path | None = None
        self._added: dict[str, Any] | None = None
        if out.exists() and not out.is_dir():
            raise NotAStudyError(f"{out} is a file; --out must name a folder")
        if self.exists:
            self._read()
        elif out.exists() and not self._is_new():
            raise NotAStudyError(f"{out} holds something that is not a study; name an empty or new folder with --out")

    @classmethod
    def open(cls, out: Path) -> "Store":
        """Open the folder of an existing study."""
        store = cls(out) if out.is_dir() else None
        if store is None or not store.exists:
            more = "; repeating the command that began it recovers its runs" if store and any(store.on_disk()) else ""
            raise NotAStudyError(f"{out} is not a study: it has no study.json{more}")
        return store

    @property
    def exists(self) -> bool:
        """Whether a study has begun in the folder."""
        return (self.out / "study.json").exists()

    def _is_new(self) -> bool:
        """Whether a folder without study.json is empty, or is left over from a study that was killed or lost it."""
        names = {path.name for path in self.out.iterdir() if not is_temporary(path.name)} - {LOCK}
        return not names or (any(self.on_disk()) and names <= {*_RUNS, *_OTHERS})

    def on_disk(self) -> Iterator[RunKey]:
        """The runs in the archive or in folders, according to their own files, whatever study.json lists."""
        yield from self.archive.runs
        for name in _RUNS:
            runs = self.out / name
            for folder in runs.iterdir() if runs.is_dir() else ():
                with suppress(OSError, ValueError):
                    config = validation.mapping(validation.parsed(RunFolder(folder).read(CONFIG)))
                    key = validation.run_key(config["run"] if "run" in config else config.get("cell"))
                    if folder.name == (key.id if name == "runs" else key.old_id):
                        yield key

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder, so that no second study can run in it at the same time."""
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
        """Add runs to the study, ahead of the other runs of earlier calls.

        Args:
            study: the study as JSON; it replaces that of an earlier call, whose baseline stays if this one names none.
            tasks: the descriptions of the runs' tasks, which are needed to read their results.
        """
        old = self._read() if self.exists else {}
        keys = list(dict.fromkeys([*runs, *(self.runs() if old else []), *sorted(self.on_disk(), key=str)]))
        # A description that was guessed for runs without one yields to that of a call, and is not written.
        infos = (self._described() if "study" in old else self.tasks()) if old else {}
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
        value["sha256"] = validation.digest(value)
        self._added = json.loads(json.dumps(value))  # the value that a reader would get
        write_json(self.out / "study.json", value)

    def restore(self) -> bool:
        """Rewrite study.json if it was removed or changed while the study ran; return whether it was."""
        if self._added is None:
            return False
        with suppress(NotAStudyError):
            if self.exists and self._read() == self._added:
                return False
        self.out.mkdir(parents=True, exist_ok=True)
        write_json(self.out / "study.json", self._added)
        return True

    def runs(self) -> list[RunKey]:
        """Every run of the study, in order and without duplicates and damaged entries."""
        return list(dict.fromkeys(self._entries(*_RUNS, check=validation.run_key)[0]))

    def problems(self) -> list[str]:
        """Lines that describe damage to study.json and to the archive."""
        entries = self._entries(*_RUNS, check=validation.run_key)[1]
        entries += self._entries("tasks", check=validation.task_info)[1]
        study = self._read()
        if not entries and study.get("sha256", digest := validation.digest(study)) != digest:
            entries.append(f"{self.out / 'study.json'} is damaged or was changed by hand")
        return [*entries, *self.archive.problems]

    def _entries(self, *names: str, check: Callable[[Any], T]) -> tuple[list[T], list[str]]:
        """The valid entries of the first of these lists that study.json has, and messages about the invalid ones."""
        study = self._read()
        name = next((name for name in names if name in study), names[0])
        entries, found, problems = study.get(name, []), [], []
        if not isinstance(entries, list):
            return [], [f"{self.out / 'study.json'}: {name} is not a list"]
        for i, entry in enumerate(entries, 1):
            try:
                found.append(check(entry))
            except ValueError as error:
                problems.append(f"{self.out / 'study.json'}: entry {i} of {name} is ignored: {error}")
        return found, problems

    def tasks(self) -> dict[tuple[str, str], TaskInfo]:
        """The descriptions of the tasks, by name and version; guessed for runs whose task has none here."""
        infos = self._described()
        return infos | first_format.tasks(run for run in self.runs() if (run.task, run.version) not in infos)

    def _described(self) -> dict[tuple[str, str], TaskInfo]:
        """The descriptions of the tasks that calls have added."""

        def info(entry: Any) -> TaskInfo:
            found = validation.task_info(entry)
            return found if "chance" in entry else first_format.with_chance(found)

        found, _ = self._entries("tasks", check=info)
        return {(info.name, info.version): info for info in found}

    @property
    def baseline(self) -> str | None:
        """The name of the baseline method; None for the first method."""
        study = self._read()
        if "study" not in study:
            return first_format.baseline(self.commands)
        asked = study["study"]
        found = asked.get("baseline") if isinstance(asked, dict) else None
        return found if isinstance(found, str) else None

    @property
    def commands(self) -> list[str]:
        """The commands that the study was run with, without duplicates; together they repeat it."""
        found = self._read().get("commands")
        texts = [each for each in found if isinstance(each, str)] if isinstance(found, list) else []
        return [validation.lines(each, "a command") for each in texts]

    @property
    def folder_of_runs(self) -> Path:
        """The folder that holds the folders of the runs."""
        if self._runs is None:
            known = self._read() if self.exists else [name for name in _RUNS if (self.out / name).is_dir()]
            self._runs = self.out / ("cells" if "cells" in known and "runs" not in known else "runs")
        return self._runs

    def folder(self, run: RunKey) -> Path:
        """The folder of a run."""
        runs = self.folder_of_runs
        return runs / (run.old_id if runs.name == "cells" else run.id)

    @cached_property
    def archive(self) -> Archive:
        """The runs that were packed; read once, since no study writes there."""
        return read_archive(self.out / archive.NAME)

    def files(self, run: RunKey) -> RunFiles:
        """The run's files: those of its folder as soon as anything of the run is in there, else the archive's."""
        folder = RunFolder(self.folder(run))
        return folder if folder.begun else self.archive.runs.get(run, folder)

    def prune(self, run: RunKey) -> None:
        """Remove files that a finished run no longer needs, in case it was killed before it removed them."""
        with suppress(OSError):  # it is of no use, and in nobody's way
            refuse_link(self.folder(run))
            (self.folder(run) / checkpoint.NAME).unlink()

    def running(self, run: RunKey) -> bool:
        """Whether a worker is executing the run now: it holds a lock that ends with its process."""
        return is_locked(self.folder(run))

    def record(self, run: RunKey) -> Record:
        """The record of a run, see :func:`~.run_files.read_record`."""
        found = read_record(run, self.files(run))
        return found if found.finished else self.lost.get(run, found)

    def records(self) -> list[Record]:
        """The records of all runs, in the study's order."""
        return [self.record(run) for run in self.runs()]

    def write_tables(self, reduced: Mapping[RunKey, Record] | None = None) -> None:
        """Write results.csv and timings.csv over every run.

        Args:
            reduced: the records of a study's results, in which a run without its metric counts as failed.
        """
        records = self.records() if reduced is None else [reduced[run] for run in self.runs()]
        write(self.out / "results.csv", results_csv(records))
        write(self.out / "timings.csv", timings_csv(records, [self.folder(record.run).name for record in records]))

    def _read(self) -> dict[str, Any]:
        path = self.out / "study.json"
        try:
            study = validation.mapping(validation.parsed(read(path)))
            if study.get("kind") != _KIND:
                raise ValueError("it belongs to something else")
            version = study.get("format", 1)
            if isinstance(version, bool) or not isinstance(version, int):
                raise ValueError("its format is not a number")
        except (OSError, ValueError) as error:
            way = "move it away and repeat the study's command, which recovers its runs" if any(self.on_disk()) else ""
            raise NotAStudyError(
                f"{path} is not a study's ({error}); {way or 'name another folder with --out'}"
            ) from None
        if version > _FORMAT:
            raise NotAStudyError(f"{path} was written by a newer version of rectified; update this one to read it")
        return study


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, atomically."""
    write(path, json.dumps(value, indent=1))
