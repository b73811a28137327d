"""A study's folder: one folder a run, the tables over all of them, and nothing else.

OUT/study.json                 which cells, which commands: what makes OUT a study
OUT/cells/ID/config.json       the cell and what it ran on
OUT/cells/ID/rows.jsonl        one row an epoch
OUT/cells/ID/.lock             empty; locked by the worker that writes the folder
OUT/cells/ID/events.*          TensorBoard
OUT/cells/ID/gradients.csv     histograms of the first steps' gradients, where they were asked for
OUT/cells/ID/checkpoint.pt     while the run is not done: what it goes on from
OUT/cells/ID/done.json         written last: status, error, time taken
OUT/results.csv                one row a cell: what a repetition would reproduce
OUT/timings.csv                one row a cell: what it would not
OUT/.lock                      empty; locked by the study that runs
OUT/.TASK.PID                  the data that the workers share, while a study runs
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...files import sweep, write
from ..config.runs import Cell
from ..execution import checkpoint
from ..execution.gradients import read_histograms
from .locks import LOCK, is_locked, locked
from .records import Record, results, timings

ROWS = "rows.jsonl"

_MARK = "rectified study"
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
        if out.exists() and not out.is_dir():
            raise NotAStudyError(f"{out} is a file; --out names a folder")
        if (out / "study.json").exists():
            _study(out)
        elif out.exists() and not all(path.name.startswith(_FIRST) for path in out.iterdir()):
            raise NotAStudyError(f"{out} holds something that is not a study; name an empty or new folder with --out")

    @classmethod
    def open(cls, out: Path) -> "Store":
        """The store of a study that is there."""
        if not (out / "study.json").exists():
            raise NotAStudyError(f"{out} holds no study: there is no study.json in it")
        return cls(out)

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

    def add(self, cells: Iterable[Cell], command: str) -> None:
        """Make the cells part of the study, before those of earlier calls that are not among them."""
        there = (self.out / "study.json").exists()
        cells = list(cells)
        cells += [cell for cell in (self.cells() if there else []) if cell not in cells]
        commands = list(dict.fromkeys([*(self.commands if there else []), command]))
        study = {"kind": _MARK, "commands": commands, "cells": [asdict(cell) for cell in cells]}
        write_json(self.out / "study.json", study)

    def cells(self) -> list[Cell]:
        """Every cell of the study, in the plan's order."""
        return [Cell(**cell) for cell in _study(self.out)["cells"]]

    @property
    def commands(self) -> list[str]:
        """The commands that the study was called with, each once: together they repeat it."""
        return [str(command) for command in _study(self.out)["commands"]]

    def folder(self, cell: Cell) -> Path:
        return self.out / "cells" / cell.id

    def prune(self, cell: Cell) -> None:
        """Remove what a run needs no more once it is done, where it was killed before it could itself."""
        (self.folder(cell) / checkpoint.NAME).unlink(missing_ok=True)

    def running(self, cell: Cell) -> bool:
        """Whether a worker is at it at this moment: it holds the folder's lock, and the system ends that with it."""
        return is_locked(self.folder(cell))

    def record(self, cell: Cell) -> Record:
        """What is known of the cell.

        A run is missing, and will run again, if it has no done.json or if that, or its rows, is not what was written.
        """
        folder = self.folder(cell)
        try:
            done = json.loads((folder / "done.json").read_text())
            rows = [json.loads(line) for line in (folder / ROWS).read_text().splitlines()]
            if done.pop("rows", len(rows)) != len(rows):
                return Record(cell)
            return Record(cell, rows=rows, gradients=read_histograms(folder), **done)
        except (OSError, ValueError, TypeError):
            return Record(cell)

    def records(self) -> list[Record]:
        """What is known of every cell, in the plan's order."""
        return [self.record(cell) for cell in self.cells()]

    def write_tables(self) -> None:
        """results.csv and timings.csv over every cell."""
        records = self.records()
        write(self.out / "results.csv", results(records))
        write(self.out / "timings.csv", timings(records))


def write_json(path: Path, value: Any) -> None:
    """Write the value as JSON, all of it or nothing."""
    write(path, json.dumps(value, indent=1))


def _study(out: Path) -> dict[str, Any]:
    try:
        study = json.loads((out / "study.json").read_text())
        if study["kind"] != _MARK:
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise NotAStudyError(f"{out / 'study.json'} is not a study's; name another folder with --out") from None
    return study  # type: ignore[no-any-return]
