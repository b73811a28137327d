"""The flags that say where and how runs take place, which all commands that run something share."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from rich.console import Console
from tyro.conf import arg

from ..study import Limits
from ..study.config.runs import Plan
from ..study.console.estimate import print_plan
from ..study.executors import LocalEngine, RayEngine
from ..study.executors.local import check_system, get_ready


def cores() -> int:
    """Those that this process may use, where the system tells; all of the machine's elsewhere."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def option(metavar: str) -> Any:
    return arg(metavar=metavar, help_behavior_hint="(default: the task's)")


@dataclass(frozen=True)
class Running:
    """Where and how runs take place; no result depends on it."""

    out: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: in runs/, by its name)")] = None
    """Folder of the study. Finished runs that are in it already are kept."""
    workers: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: one a core, or a GPU)")] = None
    """Worker processes, of one thread each."""
    device: Annotated[str, arg(metavar="cpu|cuda")] = "cpu"
    """Where the runs train. On cuda the workers take the GPUs in turn."""
    ranks: Annotated[int, arg(metavar="N")] = 1
    """Processes that train a run together, each on a GPU or a core of its own, under torchrun."""
    engine: Annotated[str, arg(metavar="local|ray")] = "local"
    """Who runs: worker processes here, or a Ray cluster, whose nodes need this package and share no disk."""
    address: Annotated[str | None, arg(metavar="ADDRESS", help_behavior_hint="(default: one is started here)")] = None
    """Of the Ray cluster, such as auto or head:6379; this machine is one of its nodes."""
    data: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: found, or fetched)")] = None
    """Folder that holds the data."""
    checkpoint_every: Annotated[
        float | None, arg(metavar="SECONDS", help_behavior_hint="(default: 30, or more where they are slow to write)")
    ] = None
    """What a killed run may lose. By default checkpoints take at most a hundredth of the time."""
    cell_minutes: Annotated[float | None, arg(metavar="M", help_behavior_hint="(default: any)")] = None
    """Minutes that one run may take. One that is stopped is failed, and goes on where a later call gives it more."""
    gradients: Annotated[int, arg(metavar="N")] = 0
    """Record histograms of the gradients in the first N steps of every run that begins now."""
    plan: bool = False
    """Tell the runs, the time and the disk that they would take, and run nothing."""

    def make_engine(self) -> LocalEngine | RayEngine:
        """What the flags ask for; a local one gets ready meanwhile."""
        check_system()
        if self.device not in ("cpu", "cuda"):
            raise ValueError(f"--device is {self.device!r}; it must be cpu or cuda")
        if self.engine == "ray":
            if self.ranks != 1:
                raise ValueError(f"--ranks is {self.ranks}; several go with --engine local")
            return RayEngine(self.address, self.workers, gpus=float(self.device == "cuda"))
        if self.engine != "local":
            raise ValueError(f"--engine is {self.engine!r}; it must be local or ray")
        if self.address is not None:
            raise ValueError(f"--address is {self.address!r}; it goes with --engine ray")
        devices: tuple[str, ...] = ("cpu",)
        slots = cores()
        if self.device == "cuda":
            slots = torch.cuda.device_count()
            devices = tuple(f"cuda:{i}" for i in range(slots))
            if not slots:
                raise ValueError("--device is 'cuda', and torch finds no GPU here")
        workers = max(1, slots // max(1, self.ranks)) if self.workers is None else self.workers
        engine = LocalEngine(workers, devices, ranks=self.ranks)
        get_ready()
        return engine

    @property
    def limits(self) -> Limits:
        return Limits(self.checkpoint_every, self.cell_minutes, self.gradients)

    def tell_plan(self, plans: Sequence[Plan], out: Path, engine: LocalEngine | RayEngine, console: Console) -> int:
        return print_plan(plans, out, self.data, engine.workers or cores(), console)
