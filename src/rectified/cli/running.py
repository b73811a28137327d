"""The flags for where and how runs are executed, shared by all commands that run something."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console
from tyro.conf import arg

from ..files import expanded
from ..study.config.study import Study
from ..study.console.estimate import print_plan
from ..study.execution.limits import Limits
from ..study.executors import LocalExecutor, RayExecutor
from ..study.runner import cores, make_executor
from ..workloads.tasks import TASKS


def one_line(text: str) -> str:
    """Join a help text's lines, since tyro keeps the line breaks of a text that is not an indented docstring."""
    return " ".join(text.split())


def option(metavar: str, name: str, help: str | None = None) -> Any:
    """A flag whose default is the task's own value.

    Args:
        name: the task attribute that holds the default, for an example in the help.
        help: the flag's help; its docstring if None.
    """
    value = getattr(TASKS["fashion-mnist"], name)
    example = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return arg(metavar=metavar, help=help, help_behavior_hint=f"(default: the task's; fashion-mnist: {example})")


@dataclass(frozen=True)
class Running:
    """Where and how runs are executed; results do not depend on these flags."""

    out: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: in runs/, by its name)")] = None
    """Folder of the study. Finished runs in it are kept."""
    workers: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: one per core, or per GPU)")] = None
    """Worker processes, each with one thread."""
    device: Annotated[str, arg(metavar="cpu|cuda")] = "cpu"
    """Where the runs train. On cuda, workers are assigned to GPUs in turn."""
    ranks: Annotated[int, arg(metavar="N")] = 1
    """Processes that train each run together under torchrun, each on its own GPU or core."""
    executor: Annotated[str, arg(metavar="local|ray")] = "local"
    """What executes the runs: worker processes on this machine, or a Ray cluster whose nodes have this package."""
    address: Annotated[str | None, arg(metavar="ADDRESS", help_behavior_hint="(default: start one here)")] = None
    """Address of the Ray cluster, such as auto or head:6379; this machine must be one of its nodes."""
    data: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: found, or fetched)")] = None
    """Folder that holds the data."""
    checkpoint_every: Annotated[
        float | None, arg(metavar="SECONDS", help_behavior_hint="(default: 30, or more if they are slow to write)")
    ] = None
    """Seconds between checkpoints: how much a killed run can lose. By default they take at most 1 % of the time."""
    run_minutes: Annotated[float | None, arg(metavar="M", help_behavior_hint="(default: no limit)")] = None
    """Time limit of one run in minutes. A run that exceeds it fails; a later call with a larger limit continues it."""
    gradients: Annotated[int, arg(metavar="N")] = 0
    """Record histograms of the gradients in the first N steps of every run that starts from scratch."""
    plan: bool = False
    """Print the runs and the time and disk space they would take, without running them."""

    def make_executor(self) -> LocalExecutor | RayExecutor:
        """The executor that the flags ask for; a local one starts its server process in the background."""
        return make_executor(self.executor, self.workers, self.device, self.ranks, self.address)

    @property
    def limits(self) -> Limits:
        """The limits that the flags set for every run."""
        return Limits(self.checkpoint_every, self.run_minutes, self.gradients)

    @property
    def folder(self) -> Path | None:
        """The study's folder with ``~`` expanded, since a shell does not expand it in ``--out=~/x``."""
        return self.out and expanded(self.out)

    def print_plan(self, study: Study, out: Path, executor: LocalExecutor | RayExecutor, console: Console) -> int:
        """Print the plan; see :func:`print_plan`."""
        return print_plan(study, out, executor.workers or cores(), console, executor.ranks)
