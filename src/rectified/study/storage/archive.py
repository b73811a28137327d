"""A study's archive: finished runs in one compressed file instead of a folder each.

runs.jsonl.gz is gzipped JSON Lines. The first line is {"kind": "rectified runs", "format": 1}; each other is a run:

run       its task, method, lr, seed, epochs and batch size, as in study.json
files     the texts of its files, unchanged: config.json, done.json, rows.jsonl, steps.csv, gradients.csv
sha256    of both

Like a folder, an archive may be damaged or come from a stranger: it is read within limits, and a damaged line costs
that run alone.
"""

import errno
import gzip
import io
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...files import LIMIT, read
from ...messages import shown, text_of
from ..config.runs import RunKey
from . import validation
from .run_files import RunFiles
from .run_folder import CONFIG, DONE, RESULTS

NAME = "runs.jsonl.gz"
FILES = (CONFIG, DONE, *RESULTS)  # that are packed; the checkpoint and TensorBoard's files are not
LONGEST = 1 << 24  # bytes per line: our runs have a thousandth of that, and parsing takes 20 times the memory

_KIND = "rectified runs"
_FORMAT = 1
_PROBLEMS = 100  # to report before the rest of the file is skipped


class NewerArchiveError(ValueError):
    """The archive was written by a newer version."""


@dataclass(frozen=True)
class ArchivedRun:
    """A run's files in an archive, see :class:`~.run_files.RunFiles`."""

    files: Mapping[str, bytes]

    def read(self, name: str) -> bytes:
        """The file's bytes.

        Raises:
            FileNotFoundError: there is no such file.
        """
        try:
            return self.files[name]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name) from None


@dataclass(frozen=True)
class Archive:
    """The readable content of an archive.

    Attributes:
        runs: the files of each packed run.
        problems: messages about what could not be read, one line each.
    """

    runs: Mapping[RunKey, ArchivedRun] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def copy_of(files: RunFiles) -> ArchivedRun:
    """Copy the files of a run that are packed.

    Raises:
        OSError: one of them cannot be read.
    """
    found = {}
    for name in FILES:
        try:
            found[name] = files.read(name)
        except FileNotFoundError:
            continue
    return ArchivedRun(found)


def packed(runs: Mapping[RunKey, bytes]) -> bytes:
    """Compress the lines of runs into an archive: the same bytes for the same runs in any order.

    Raises:
        ValueError: the runs are too large to be read again.
    """
    lines = [json.dumps({"kind": _KIND, "format": _FORMAT}).encode() + b"\n"]
    lines += [runs[run] for run in sorted(runs, key=lambda run: run.id)]
    if sum(map(len, lines)) > LIMIT:
        raise ValueError(f"the runs have more than {LIMIT / 1e6:.0f} MB, which is more than an archive may hold")
    file = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=file, mtime=0) as stream:
        stream.writelines(lines)
    return file.getvalue()


def line_of(run: RunKey, archived: ArchivedRun) -> bytes:
    """The line of an archive that holds a run.

    Raises:
        ValueError: a file is not text, or the line is too long to be read again.
    """
    value = {"run": run.as_dict(), "files": {name: text.decode() for name, text in archived.files.items()}}
    line = json.dumps({**value, "sha256": validation.digest(value)}).encode() + b"\n"
    if len(line) > LONGEST:
        raise ValueError(f"its files have more than the {LONGEST / 1e6:.0f} MB that an archive holds per run")
    return line


def read_archive(path: Path) -> Archive:
    """Read an archive; it is empty if the file does not exist.

    Raises:
        NewerArchiveError: a newer version wrote it.
    """
    runs: dict[RunKey, ArchivedRun] = {}
    problems: list[str] = []
    try:
        lines = _lines(read(path))
        _check_format(path, next(lines, b""))
        for i, line in enumerate(lines, 2):
            if len(problems) == _PROBLEMS:
                raise ValueError("so many lines are damaged that the rest was skipped")
            try:
                run, archived = _parsed(line)
                if run in runs:
                    raise ValueError(f"{run} appears a second time")
                runs[run] = archived
            except ValueError as error:
                problems.append(f"{path}: line {i} is left out: {error}")
    except NewerArchiveError:
        raise
    except FileNotFoundError:
        return Archive()
    except (OSError, EOFError, ValueError, zlib.error) as error:
        problems.append(f"{path} is damaged, or not an archive: {getattr(error, 'strerror', None) or text_of(error)}")
    return Archive(runs, tuple(problems))


def _lines(content: bytes) -> Iterator[bytes]:
    """The decompressed lines, as far as the limits allow."""
    total = 0
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
        while line := stream.readline(LONGEST + 1):
            total += len(line)
            if len(line) > LONGEST or total > LIMIT:
                raise ValueError(f"it unpacks to more than {(LONGEST if total <= LIMIT else LIMIT) / 1e6:.0f} MB")
            yield line


def _check_format(path: Path, line: bytes) -> None:
    head = validation.mapping(validation.parsed(line), "its first line")
    if head.get("kind") != _KIND:
        raise ValueError(f"its kind is {shown(head.get('kind'))}; it must be {_KIND!r}")
    if validation.count(head.get("format"), "its format") > _FORMAT:
        raise NewerArchiveError(f"{path} was written by a newer version of rectified; update this one to read it")


def _parsed(line: bytes) -> tuple[RunKey, ArchivedRun]:
    given = validation.mapping(validation.parsed(line))
    run = validation.run_key(given.get("run"))
    texts = dict(validation.mapping(given.get("files"), "files"))
    for name, text in texts.items():
        if name not in FILES or not isinstance(text, str):
            raise ValueError(f"{run} has a file {shown(name)}: {shown(text)}; it must be the text of a run's file")
    if given.get("sha256") != validation.digest({"run": run.as_dict(), "files": texts}):
        raise ValueError(f"{run} was changed after it was written")
    return run, ArchivedRun({name: text.encode() for name, text in texts.items()})
