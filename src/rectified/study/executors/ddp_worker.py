"""The processes that ddp_launcher.py starts: torch's launcher, and each rank of a run.

python -m rectified.study.executors.ddp_worker launch|train JOB
"""

import base64
import json
import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ...files import FULL
from ...messages import text_of
from ...workloads.batches import examples, moved, part
from ...workloads.sharding import needed, share
from ...workloads.tasks import BaseTask
from ..execution.execute import execute, follow
from ..execution.limits import Limits, TimeLimitError
from ..execution.ranks import Ranks, T, device_of
from .ddp_launcher import PROGRAM
from .executor import cause_of
from .parcels import Parcel, read_shared, unpack

_DAY = timedelta(days=1)  # that the other ranks wait for an evaluation; the launcher notices a dead rank at once
_LINE = 500  # characters: at six bytes each, as in JSON, this is below what a pipe writes atomically


class Together(Ranks):
    """Several ranks in torch's default process group, under DistributedDataParallel.

    Each rank's mean loss is weighted by its share of the batch, so that the loss and its gradient are means over the
    full batch even if the batch size is not a multiple of the number of ranks. A task defines what its loss is a mean
    over. Computations over a batch, such as batch norm, use only the rank's share.
    """

    def __init__(self) -> None:
        self.rank, self.count = dist.get_rank(), dist.get_world_size()
        self.first = self.rank == 0
        self.asks: list[Callable[[], bool]] = []
        self.answers: list[bool] = []
        self.parallel: DistributedDataParallel | None = None

    def part_ways(self) -> None:
        # Draw seeds from torch's generator instead of adding: the CPU's generator uses only 32 bits of a seed.
        torch.manual_seed(int(torch.randint(2**31, (self.count,))[self.rank]))

    def loss(self, task: BaseTask, model: nn.Module, batch: Any) -> tuple[Tensor, float]:
        if self.parallel is None:
            self.parallel = DistributedDataParallel(_Loss(task, model))
        size = examples(batch)
        own = share(size, self.rank, self.count)
        mine = part(batch, needed(own))
        weight = task.weight(mine) / task.weight(batch) if own.stop > own.start else 0.0
        loss = self.parallel(moved(mine, device_of(model)))
        shared = torch.tensor([0.0, *self._asked()], dtype=torch.float64, device=loss.device)
        shared[0] = weight * loss.detach()
        dist.all_reduce(shared)
        whole, *answers = shared.tolist()
        self.answers = [bool(answer) for answer in answers]
        return loss * (weight * self.count), whole  # the gradients are averaged over the ranks

    def from_first(self, compute: Callable[[], T]) -> T:
        box: list[Any] = [compute(), self._asked()] if self.first else [None, None]
        dist.broadcast_object_list(box, src=0)
        found, self.answers = box
        return found  # type: ignore[no-any-return]

    def agreed(self, ask: Callable[[], bool]) -> Callable[[], bool]:
        which = len(self.asks)
        self.asks.append(ask)
        self.from_first(lambda: None)
        return lambda: self.answers[which]

    def _asked(self) -> list[bool]:
        """The first rank's answers, which are sent along with every shared loss."""
        return [self.first and ask() for ask in self.asks]

    def gather(self, mine: Tensor) -> Tensor:
        found: list[Any] | None = [None] * self.count if self.first else None
        dist.gather_object(mine, found)
        return mine if found is None else torch.stack(found)

    def own(self, gathered: Tensor) -> Tensor:
        return gathered[self.rank].clone()  # clone for alignment: a generator's state is read as a struct


class _Loss(nn.Module):
    """A task's loss as a module, since it may call any part of its model and DDP must see every call."""

    def __init__(self, task: BaseTask, model: nn.Module) -> None:
        super().__init__()
        self.task, self.model = task, model

    def forward(self, batch: Any) -> Tensor:
        return self.task.loss(self.model, batch)


@dataclass(frozen=True)
class Job:
    """The arguments of :func:`.ddp_launcher.execute_on`.

    Attributes:
        shared: the file with the task and its data.
    """

    devices: Sequence[str]
    shared: Path
    parcel: Parcel
    limits: Limits

    @classmethod
    def read(cls, text: str) -> "Job":
        """Decode a job from the command-line argument that the worker made."""
        job = json.loads(text)
        parcel = unpack(base64.b64decode(job["parcel"]))
        return cls(job["devices"], Path(job["shared"]), parcel, Limits(**job["limits"]))


def launch(text: str, program: Sequence[str] = PROGRAM) -> None:
    """Run torch's launcher, and report how failed ranks ended."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    # Ranks end by themselves when the worker ends; this is for ranks that are stopped or hang.
    _when_the_worker_ends(lambda: os.kill(os.getpid(), signal.SIGTERM))
    logging.disable()  # the worker reports which rank died
    count = len(json.loads(text)["devices"])
    here = ["--standalone", "--local-addr=localhost", f"--log-dir={os.devnull}", "--shutdown-timeout=5"]
    try:
        torchrun([*here, f"--nproc-per-node={count}", "--no-python", sys.executable, *program, "train", text])
    except ChildFailedError as error:
        for rank, failure in error.failures.items():
            _write(1, "exit", rank, str(failure.exitcode))
    except SignalException:
        sys.exit(1)


def train(text: str) -> None:
    """Run one rank."""
    _when_the_worker_ends(lambda: os._exit(1))
    answers = os.dup(1)
    os.dup2(2, 1)  # output printed by other code must not mix with the reports
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="the first momentum step")  # here it is the thing measured
    rank = int(os.environ["RANK"])
    kind, said = _trained(Job.read(text), rank, lambda *report: _write(answers, *report))
    if kind in ("raised", "os error", "no memory", "cut"):
        for line in said.splitlines():
            _write(answers, kind, rank, line[:_LINE] + "\n")
    elif rank == 0 or kind == "full":
        _write(answers, kind, None, said)
    failed = kind in ("raised", "os error", "no memory", "cut", "full")
    try:
        if not failed:
            dist.barrier()
    finally:
        # Skip torch's destructors: DDP's joins a gloo thread that waits for the GIL while holding the GIL.
        os._exit(failed)


def _trained(job: Job, rank: int, tell: Callable[..., None]) -> tuple[str, str]:
    """Train as one rank; return how the run ended and details."""
    device = torch.device(job.devices[rank])
    try:
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_DAY)
        task, data = read_shared(job.shared)
        run, folder, device_name = job.parcel.run(task), job.parcel.folder, job.devices[rank]
        if rank:
            return follow(run, data, folder, job.limits, device_name, Together()), ""
        status = "done"
        for progress in execute(run, data, folder, job.parcel.attempt, job.limits, device_name, Together()):
            if progress.kind in ("done", "diverged"):
                status = progress.kind
            else:
                tell(*progress)
        return status, ""
    except TimeLimitError as error:
        return "late", str(error)
    except OSError as error:
        if error.errno in FULL:
            return "full", str(error.strerror)
        return "os error", traceback.format_exc()
    except BaseException as error:  # a task may raise SystemExit
        gone = isinstance(error, dist.DistError) or "gloo" in text_of(error)
        kind = "cut" if gone else "raised" if cause_of(error) == "run" else "no memory"
        return kind, traceback.format_exc()


def _write(file: int, *report: Any) -> None:
    """Send a report to the worker in a single write, so that other ranks' reports do not interleave."""
    os.write(file, (json.dumps(report) + "\n").encode())


def _when_the_worker_ends(do: Callable[[], None]) -> None:
    def watch() -> None:
        os.read(0, 1)
        do()

    threading.Thread(target=watch, daemon=True).start()


def main(arguments: Sequence[str]) -> None:
    what, text = arguments
    {"launch": launch, "train": train}[what](text)


if __name__ == "__main__":
    main(sys.argv[1:])
