"""A study's folder: one folder a run, the tables over all of them, and nothing else.

OUT/study.json                the study, its tasks and runs, the commands it was called with: what makes OUT a study
OUT/runs/ID/config.json       the run and what it is computed with
OUT/runs/ID/rows.jsonl        one row an epoch
OUT/runs/ID/steps.csv         loss and omega of single steps: the first 200, then ever fewer
OUT/runs/ID/.lock             empty; locked by the worker that writes the folder
OUT/runs/ID/events.*          TensorBoard
OUT/runs/ID/gradients.csv     histograms of the first steps' gradients, where they were asked for
OUT/runs/ID/checkpoint.pt     while the run is not done: what it goes on from
OUT/runs/ID/done.json         written last: status, error and its cause, time taken
OUT/results.csv               one row a run: what a repetition would reproduce
OUT/timings.csv               one row a run: what it would not
OUT/.lock                     empty; locked by the study that runs
OUT/.TASK.PID                 the task and its data, which the workers share, while a study runs

A study that was begun by an earlier version has cells/ for runs/; it can be read and continued without conversion.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ...files import sweep, write
from ...workloads.tasks.task_info import TaskInfo
from ..config.runs import RunKey
from ..execution import checkpoint
from ..execution.first_steps import read_steps
from ..execution.gradients import read_histograms
from . import first_format
from .locks import LOCK, is_locked, locked
from .records import Record, results_csv, timings_csv

ROWS = "rows.jsonl"

_KIND = "rectified study"
_FORMAT = 2
_FIRST = (LOCK, ".study.json.")  # what a study that was killed as it began may leave


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
        self._runs: Path | None = None
        if out.exists() and not out.is_dir():
            raise NotAStudyError(f"{out} is a file; --out names a folder")
        if (out / "study.json").exists():
            self._read()
        elif out.exists() and not all(path.name.startswith(_FIRST) for path in out.iterdir()):
            raise NotAStudyError(f"{out} holds something that is not a study; name an empty or new folder with --out")

    @classmethod
    def open(cls, out: Path) -> "Store":
        """The store of a study that is there."""
        if not (out / "study.json").exists():
            raise NotAStudyError(f"{out} holds no study: there is no study.json in it")
        return cls(out)

    @property
    def exists(self) -> bool:
        """Whether a study has begun in the folder."""
        return (self.out / "study.json").exists()

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
        keys = list(dict.fromkeys([*runs, *(self.runs() if old else [])]))
        infos = {(info.name, info.version): info for info in (self.tasks() if old else {}).values()}
        for info in tasks:
            known = infos.get((info.name, info.version))
            steps = dict(known.steps_per_epoch if known else ()) | dict(info.steps_per_epoch)
            told = {**info.as_dict(), "steps_per_epoch": steps.items()}
            if known is not None:  # runs that are done may have measured nothing else
                told |= {"compared": known.compared, "chosen_by": known.chosen_by}
            infos[info.name, info.version] = TaskInfo.from_dict(told)
        first = old and "cells" in old  # whose folders keep their names
        baseline = study.get("baseline") or (self.baseline if old else None)
        value = {
            "kind": _KIND,
            "format": _FORMAT,
            "commands": list(dict.fromkeys([*old.get("commands", []), command])),
            "study": {**study, "baseline": baseline},
            "tasks": [info.as_dict() for info in infos.values()],
            "cells" if first else "runs": [key.as_dict() for key in keys],
        }
        write_json(self.out / "study.json", value)

    def runs(self) -> list[RunKey]:
        """Every run of the study, in its order."""
        study = self._read()
        return [RunKey(**run) for run in study.get("runs", study.get("cells", []))]

    def tasks(self) -> dict[tuple[str, str], TaskInfo]:
        """What is known of the tasks, by name and version."""
        study = self._read()
        found = [
            TaskInfo.from_dict(task) if "chance" in task else first_format.with_chance(TaskInfo.from_dict(task))
            for task in study.get("tasks", [])
        ]
        infos = {(info.name, info.version): info for info in found}
        return infos | first_format.tasks(run for run in self.runs() if (run.task, run.version) not in infos)

    @property
    def baseline(self) -> str | None:
        """The method that the study compares the others with; None for the first."""
        study = self._read()
        if "study" in study:
            return study["study"].get("baseline")  # type: ignore[no-any-return]
        return first_format.baseline(self.commands)

    @property
    def commands(self) -> list[str]:
        """The commands that the study was called with, each once: together they repeat it."""
        return [str(command) for command in self._read()["commands"]]

    @property
    def folder_of_runs(self) -> Path:
        """The folder that holds one folder for each run."""
        if self._runs is None:
            first = self.exists and "cells" in self._read()
            self._runs = self.out / ("cells" if first else "runs")
        return self._runs

    def folder(self, run: RunKey) -> Path:
        """The run's own."""
        runs = self.folder_of_runs
        return runs / (run.old_id if runs.name == "cells" else run.id)

    def prune(self, run: RunKey) -> None:
        """Remove what a run needs no more once it is done, where it was killed before it could itself."""
        (self.folder(run) / checkpoint.NAME).unlink(missing_ok=True)

    def running(self, run: RunKey) -> bool:
        """Whether a worker is at it at this moment: it holds the folder's lock, and the system ends that with it."""
        return is_locked(self.folder(run))

    def record(self, run: RunKey) -> Record:
        """What is known of the run.

        A run is missing, and will run again, if it has no done.json or if that, or its rows, is not what was written.
        """
        folder = self.folder(run)
        try:
            done = json.loads((folder / "done.json").read_text())
            rows = [json.loads(line) for line in (folder / ROWS).read_text().splitlines()]
            if done.pop("rows", len(rows)) != len(rows):
                return Record(run)
            if done.get("cause") not in ("run", "machine"):
                done["cause"] = ""
            return Record(run, rows=rows, steps=read_steps(folder), gradients=read_histograms(folder), **done)
        except (OSError, ValueError, TypeError):
            return Record(run)

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
            study = json.loads(path.read_text())
            if study["kind"] != _KIND:
                raise ValueError
        except (ValueError, KeyError, TypeError):
            raise NotAStudyError(f"{path} is not a study's; name another folder with --out") from None
        if study.get("format", 1) > _FORMAT:
            raise NotAStudyError(f"{path} was written by a newer version of rectified; update this one to read it")
        return study  # type: ignore[no-any-return]


def write_json(path: Path, value: Any) -> None:
    """Write the value as JSON, all of it or nothing."""
    write(path, json.dumps(value, indent=1))
