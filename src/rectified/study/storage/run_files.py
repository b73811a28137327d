"""Reading a run's files, whether they lie in its folder or in the study's archive."""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

from ..config.runs import RunKey
from ..execution import first_steps, gradients
from . import validation
from .records import Record
from .run_folder import DONE, RESULTS, ROWS


class RunFiles(Protocol):
    """Access to a run's files: a :class:`~.run_folder.RunFolder` or an :class:`~.archive.ArchivedRun`."""

    def read(self, name: str) -> bytes:
        """The file's bytes.

        Raises:
            FileNotFoundError: there is no such file.
            OSError: it cannot be read.
        """
        ...


def digests(files: RunFiles) -> dict[str, str]:
    """The SHA-256 of each existing result file, by name."""
    found = {}
    for name in RESULTS:
        with suppress(FileNotFoundError):
            found[name] = hashlib.sha256(files.read(name)).hexdigest()
    return found


def read_record(run: RunKey, files: RunFiles) -> Record:
    """Read the record of a run.

    A run without done.json is missing, and will run again. So is a run whose done.json or results are damaged; its
    error then holds the reason.
    """
    try:
        content = files.read(DONE)
    except FileNotFoundError:
        return Record(run)
    except OSError as error:
        return Record(run, error=f"{DONE} cannot be read: {error}")
    what = DONE
    try:
        end = validation.ending(validation.parsed(content))
        counted, expected = end.pop("rows"), end.pop("sha256")
        what = ROWS
        rows = validation.rows(files.read(ROWS))
        if counted not in (None, len(rows)):
            raise ValueError(f"it has {len(rows)} of {counted} rows")
        what = "results"
        _check_digests(files, expected)
        steps = first_steps.parse_steps(_or_empty(files, first_steps.NAME))
        histograms = gradients.parse_histograms(_or_empty(files, gradients.NAME))
        return Record(run, rows=rows, steps=steps, gradients=histograms, **end)
    except (OSError, ValueError) as error:
        return Record(run, error=f"its {what}: {error}")


def _check_digests(files: RunFiles, expected: Mapping[str, str]) -> None:
    """Check a run's results against their digests; a file that an earlier version wrote without one is not checked.

    Raises:
        ValueError: a file is missing or was changed.
    """
    found = digests(files)
    for name, digest in expected.items():
        if found.get(name) != digest:
            raise ValueError(f"{name} was changed after it was written" if name in found else f"{name} is missing")


def _or_empty(files: RunFiles, name: str) -> bytes:
    try:
        return files.read(name)
    except FileNotFoundError:
        return b""
