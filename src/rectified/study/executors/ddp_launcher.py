"""A run trained by several processes, one a device: how they are started. What they do is in ddp_worker.py.

    worker --- launcher --- rank 0, rank 1, ...

The worker may have no children of multiprocessing's, so it starts torch's launcher as a program, and that the ranks.
They all read a pipe on which nothing ever comes: it ends with the worker, and they with it. On another they tell what
happens, a line of JSON at a time.
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

# Python's arguments, for the launcher and for a rank.
PROGRAM: Sequence[str] = ("-P", "-m", "rectified.study.executors.ddp_worker")

_IN_TURN = (signal.SIGTERM, signal.SIGABRT)


class RankError(RuntimeError):
    """The code of the run raised; holds the traceback of the rank in which it did."""


class RankOSError(OSError, RankError):
    """The same where it was an OSError, after which a run goes on from its checkpoint."""


class RankMemoryError(MemoryError, RankError):
    """The same where memory was at its end."""


class RankDiedError(ChildProcessError):
    """A process of the run is no more. The run can go on from its checkpoint."""


def check_ranks(ranks: int, batch_sizes: Iterable[int]) -> None:
    """Refuse ranks that would have no part in a batch.

    Raises:
        InvalidOption: there are more of them than examples.
    """
    for size in batch_sizes:
        if size < ranks:
            raise InvalidOption("ranks", ranks, f"a batch of {size} has not an example for each of them")


def seconds_to_start() -> float:
    """About what a run takes before its first step: its launcher imports torch, and then so does each of its ranks."""
    began = time.monotonic()
    imports = "import torch.distributed.run, rectified.study.executors.ddp_worker"
    subprocess.run([sys.executable, "-P", "-c", imports], env=_environment(), check=True)
    return 2 * (time.monotonic() - began)


def execute_on(
    devices: Sequence[str], run: Run, shared: Path, folder: Path, attempt: int, limits: Limits
) -> Iterator[Progress]:
    """As :func:`.execute.execute`, by as many ranks as devices: the same to round-off, but for what each draws.

    Args:
        shared: the file with the task and its data.

    Raises:
        RankDiedError: which rank died, and how.
        RankError: in which rank the code raised first, and its traceback.
        TimeLimitError, OSError: as there.
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
    """What came of a launch.

    Attributes:
        end: how the run ended by the word of its first rank, and more of that.
        raised: the traceback of each rank that raised, the first of them first.
        os_errors, no_memory: those of them that raised an OSError, and that found no memory.
        cut: ranks that raised since another was gone.
        codes: the exit code of each rank that did not end well.
        launcher: the launcher's.
    """

    end: tuple[str, str] | None = None
    raised: dict[int, str] = field(default_factory=dict)
    os_errors: set[int] = field(default_factory=set)
    no_memory: set[int] = field(default_factory=set)
    cut: set[int] = field(default_factory=set)
    codes: dict[int, int] = field(default_factory=dict)
    launcher: int = 0

    def status(self) -> Literal["done", "diverged"]:
        """The run's status, or what :func:`execute_on` raises."""
        if self.end is not None:
            kind, text = self.end
            if kind == "late":
                raise TimeLimitError(text)
            if kind == "full":
                raise OSError(errno.ENOSPC, text)
            return "done" if kind == "done" else "diverged"
        # Where one has ended, the launcher ends the others by SIGTERM, or NCCL does by SIGABRT.
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
    """How a process ended, of its exit code."""
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"


def _environment() -> dict[str, str]:
    path = os.pathsep.join(str(Path(place).absolute()) for place in sys.path)  # as multiprocessing's children have it
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}


def _listen(command: Sequence[str], heard: _Heard) -> Iterator[Progress]:
    """Pass on the progress that the ranks report, until not one of them is left; how they end goes into ``heard``."""
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
        for line in launcher.stdout:  # its end is that of the last process that could write to it
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
    """Ranks would outlive a launcher that was killed."""
    launcher.wait()
    life.close()
