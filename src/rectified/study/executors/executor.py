"""The interface of executors, and what they share: events, attempts and failures."""

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch

from ...files import FULL, open_to_append
from ...messages import text_of
from ..config.runs import Run, RunKey
from ..execution import checkpoint
from ..execution.limits import Limits, TimeLimitError
from ..execution.provenance import provenance
from ..storage.records import Cause, Record, Row
from ..storage.run_folder import DONE, ROWS, refuse_link
from ..storage.store import Store, write_json

ATTEMPTS = 3  # for a run to reach its next checkpoint

ENDS = ("done", "diverged", "failed")  # of a run

Kind = Literal["started", "resumed", "note", "row", "done", "diverged", "failed", "retry"]


# How a worker reports a failed run, and the cause: "raised" means that the run's own code raised.
FAILURES: Mapping[str, Cause] = {"raised": "run", "failed": "machine"}

# What torch's RuntimeErrors say when memory runs out; only the error for GPUs has its own class.
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "status_alloc_failed")


def cause_of(error: BaseException) -> Cause:
    """Whether an error is due to the run's own code or to the machine: time, memory, disk or Ctrl-C.

    >>> cause_of(SystemExit(3)), cause_of(RuntimeError("CUDA out of memory")), cause_of(ConnectionResetError())
    ('run', 'machine', 'machine')
    """
    machine = (OSError, MemoryError, torch.cuda.OutOfMemoryError, TimeLimitError, KeyboardInterrupt)
    if isinstance(error, machine):
        return "machine"
    text = text_of(error).lower() if isinstance(error, RuntimeError) else ""
    return "machine" if any(words in text for words in _NO_MEMORY) else "run"


def failure(error: BaseException) -> str:
    """The name in FAILURES under which a worker reports an error."""
    return "raised" if cause_of(error) == "run" else "failed"


@dataclass(frozen=True)
class Event:
    """Something that happened to a run."""

    kind: Kind
    run: RunKey
    row: Row | None = None
    text: str = ""


class Executor(Protocol):
    """Executes runs somewhere.

    Attributes:
        ranks: processes that train a run together.
    """

    @property
    def ranks(self) -> int: ...

    def run(
        self, runs: Sequence[Run], store: Store, data: Mapping[str, Path], limits: Limits
    ) -> Generator[Event, None, None]:
        """Execute every run, from its checkpoint if it has one, and yield events as they happen.

        A run whose worker dies is retried, up to three times without a new checkpoint in between. After that, or if
        Python raised an error, or if its time is up, it is ``failed``, with the error and its cause in done.json.
        Closing the iterator (Ctrl-C) stops the workers.

        Args:
            data: for each task's name, the folder that its ``find`` returned.

        Raises:
            OSError: a disk is full. No run is marked as failed for this; the runs continue with the next call.
        """
        ...


class Attempts:
    """Counts of each run's attempts and of worker deaths without a new checkpoint, which decide about retries."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.begun: Counter[RunKey] = Counter()
        self.in_vain: Counter[RunKey] = Counter()
        self.found: dict[RunKey, int] = {}

    def begin(self, run: RunKey) -> int:
        """Count an attempt and return the number of attempts."""
        self.begun[run] += 1
        self.found[run] = self._checkpoint(run)
        return self.begun[run]

    def lost(self, run: RunKey, text: str, again: bool) -> Event:
        """The event for a run whose worker died: done, diverged, failed, or ``retry`` if it may run ``again``."""
        record = self.store.record(run)
        if record.finished:  # it ended before it could report that
            return Event("done" if record.status == "done" else "diverged", run, next(reversed(record.rows), None))
        if not again:
            return self.fail(run, text, "machine")
        self.in_vain[run] = self.in_vain[run] + 1 if self._checkpoint(run) == self.found[run] else 0
        if self.in_vain[run] < ATTEMPTS:
            return Event("retry", run, text=text)
        return self.fail(run, f"{text}, {ATTEMPTS} times without a new checkpoint in between", "machine")

    def fail(self, run: RunKey, text: str, cause: Cause) -> Event:
        """Mark a run as failed; if its folder cannot be written, only for this call."""
        try:
            write_failure(self.store.folder(run), text, self.begun[run], cause)
        except OSError as error:
            if error.errno in FULL:
                raise
            text = f"{text.rstrip()}\nand this could not be recorded: {error}"
            self.store.lost[run] = Record(run, "failed", error=text, cause=cause, attempts=self.begun[run])
        return Event("failed", run, text=text)

    def _checkpoint(self, run: RunKey) -> int:
        try:
            return (self.store.folder(run) / checkpoint.NAME).stat().st_mtime_ns
        except OSError:  # there is none, or it cannot be accessed
            return 0


def write_failure(folder: Path, error: str, attempts: int, cause: Cause = "machine") -> None:
    """Mark the run in a folder as failed.

    Args:
        cause: see :class:`~..storage.records.Record`.
    """
    error = error.encode(
        errors="backslashreplace"
    ).decode()  # a user's text may hold characters that UTF-8 cannot encode
    folder.mkdir(parents=True, exist_ok=True)
    refuse_link(folder)
    open_to_append(folder / ROWS).close()
    done = {"status": "failed", "error": error, "cause": cause, "attempts": attempts, **provenance()}
    write_json(folder / DONE, done)
