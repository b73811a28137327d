"""Launching the processes (ranks) that train one run together, one per device. ddp_worker.py has what they do.

    worker --- launcher --- rank 0, rank 1, ...

The worker cannot have multiprocessing children, so it starts torch's launcher as a program, which starts the ranks. All
of them read a pipe that never carries data: it closes when the worker ends, and they end with it. On another pipe they
report progress, one line of JSON at a time.
"""

import base64
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..config.errors import InvalidOption
from ..config.runs import Run
from ..execution.execute import Progress, start_over_after_a_bug
from ..execution.limits import Limits, TimeLimitError
from .parcels import Parcel

# Python's arguments for the launcher and for a rank.
PROGRAM: Sequence[str] = ("-P", "-m", "rectified.study.executors.ddp_worker")

_IN_TURN = (signal.SIGTERM, signal.SIGABRT)


class RankError(RuntimeError):
    """The run's code raised an error; the message holds the traceback of the rank that raised it."""


class RankOSError(OSError, RankError):
    """The run's code raised an OSError, after which the run can resume from its checkpoint."""


class RankMemoryError(MemoryError, RankError):
    """The run's code ran out of memory."""


class RankDiedError(ChildProcessError):
    """A process of the run died; the run can resume from its checkpoint."""


def check_ranks(ranks: int, batch_sizes: Iterable[int]) -> None:
    """Reject more ranks than a batch has examples.

    Raises:
        InvalidOption: there are more ranks than examples in a batch.
    """
    for size in batch_sizes:
        if size < ranks:
            raise InvalidOption("ranks", ranks, f"a batch of {size} has fewer examples than that")


def seconds_to_start() -> float:
    """Estimate the seconds before a run's first step: the launcher imports torch, and then each rank does."""
    began = time.monotonic()
    imports = "import torch.distributed.run, rectified.study.executors.ddp_worker"
    subprocess.run([sys.executable, "-P", "-c", imports], env=_environment(), check=True)
    return 2 * (time.monotonic() - began)


def execute_on(
    devices: Sequence[str], run: Run, shared: Path, folder: Path, attempt: int, limits: Limits
) -> Iterator[Progress]:
    """Execute a run with one rank per device, like :func:`.execute.execute` with one process.

    Results agree up to rounding, except for random numbers that each rank draws itself.

    Args:
        shared: the file with the task and its data.

    Raises:
        RankDiedError: a rank died; the message says which and how.
        RankError: the run's code raised an error; the message has the first rank that raised, and its traceback.
        TimeLimitError, OSError: as in :func:`.execute.execute`.
    """
    check_ranks(len(devices), [run.batch_size])
    parcel = base64.b64encode(Parcel.of(run, folder, attempt).packed()).decode()
    job = json.dumps({"devices": devices, "shared": str(shared), "parcel": parcel, "limits": asdict(limits)})
    with start_over_after_a_bug(folder):
        heard = _Heard()
        yield from _listen([sys.executable, *PROGRAM, "launch", job], heard)
        yield Progress(heard.status())


@dataclass
class _Heard:
    """The outcome of a launch, collected from the ranks' reports.

    Attributes:
        end: how the run ended according to its first rank, with details.
        raised: the traceback of each rank that raised, in order of time.
        os_errors, no_memory: the ranks that raised an OSError, and that ran out of memory.
        cut: the ranks that raised because another rank was gone.
        codes: the exit code of each rank that failed.
        launcher: the exit code of the launcher.
    """

    end: tuple[str, str] | None = None
    raised: dict[int, str] = field(default_factory=dict)
    os_errors: set[int] = field(default_factory=set)
    no_memory: set[int] = field(default_factory=set)
    cut: set[int] = field(default_factory=set)
    codes: dict[int, int] = field(default_factory=dict)
    launcher: int = 0

    def status(self) -> Literal["done", "diverged"]:
        """Return the run's status, or raise what :func:`execute_on` raises."""
        if self.end is not None:
            kind, text = self.end
            if kind == "late":
                raise TimeLimitError(text)
            if kind == "full":
                raise OSError(errno.ENOSPC, text)
            return "done" if kind == "done" else "diverged"
        # When one rank ends, the launcher ends the others with SIGTERM, or NCCL does with SIGABRT.
        killed = {rank: code for rank, code in self.codes.items() if code < 0 and -code not in _IN_TURN}
        if self.raised and not killed and not self.launcher:
            rank, traceback = next(iter(self.raised.items()))
            kind_of: type[RankError] = RankError
            if rank in self.os_errors:
                kind_of = RankOSError
            elif rank in self.no_memory:
                kind_of = RankMemoryError
            raise kind_of(f"in rank {rank}:\n{traceback}")
        left = {rank: code for rank, code in self.codes.items() if rank not in self.cut}
        raise RankDiedError(
            _deaths(killed or left or self.codes) or f"its ranks' launcher died ({ended(self.launcher)})"
        )


def _deaths(codes: Mapping[int, int]) -> str:
    return ", ".join(f"rank {rank} died ({ended(code)})" for rank, code in codes.items())


def ended(code: int | None) -> str:
    """Describe how a process ended, given its exit code."""
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"


def _environment() -> dict[str, str]:
    path = os.pathsep.join(str(Path(place).absolute()) for place in sys.path)  # as in multiprocessing's children
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}


def _listen(command: Sequence[str], heard: _Heard) -> Iterator[Progress]:
    """Yield the progress that the ranks report until all of them have ended, and collect in ``heard`` how they end."""
    launcher = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=_environment(),
        start_new_session=True,  # Ctrl-C is the parent's to handle
    )
    assert launcher.stdin is not None
    assert launcher.stdout is not None
    with launcher, closing(launcher.stdin) as life:
        threading.Thread(target=_end_with, args=(launcher, life), daemon=True).start()
        for line in launcher.stdout:  # it closes when the last process that could write to it ends
            kind, what, text = json.loads(line)
            if kind in ("row", "resumed", "note"):
                yield Progress(kind, what, text)
            elif kind in ("raised", "os error", "no memory"):
                heard.raised[what] = heard.raised.get(what, "") + text
                if kind == "os error":
                    heard.os_errors.add(what)
                elif kind == "no memory":
                    heard.no_memory.add(what)
            elif kind == "cut":
                heard.cut.add(what)
            elif kind == "exit":
                heard.codes[what] = int(text)
            else:
                heard.end = kind, text
    heard.launcher = launcher.returncode


def _end_with(launcher: "subprocess.Popen[str]", life: Any) -> None:
    """End the ranks if the launcher is killed, since they would outlive it."""
    launcher.wait()
    life.close()
