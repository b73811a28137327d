"""The flags that say where and how runs take place, which all commands that run something share."""

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
    """A text without its line breaks, at which tyro would break a help, as it does in an indented docstring."""
    return " ".join(text.split())


def option(metavar: str, name: str, help: str | None = None) -> Any:
    """A flag that has the task's own value where it is not given.

    Args:
        name: of the task's attribute, for an example in the help.
        help: the flag's; its docstring if None.
    """
    value = getattr(TASKS["fashion-mnist"], name)
    example = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return arg(metavar=metavar, help=help, help_behavior_hint=f"(default: the task's; fashion-mnist has {example})")


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
    executor: Annotated[str, arg(metavar="local|ray")] = "local"
    """Who executes the runs: worker processes here, or a Ray cluster, whose nodes need this package."""
    address: Annotated[str | None, arg(metavar="ADDRESS", help_behavior_hint="(default: one is started here)")] = None
    """Of the Ray cluster, such as auto or head:6379; this machine is one of its nodes."""
    data: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: found, or fetched)")] = None
    """Folder that holds the data."""
    checkpoint_every: Annotated[
        float | None, arg(metavar="SECONDS", help_behavior_hint="(default: 30, or more where they are slow to write)")
    ] = None
    """What a killed run may lose. By default checkpoints take at most a hundredth of the time."""
    run_minutes: Annotated[float | None, arg(metavar="M", help_behavior_hint="(default: any)")] = None
    """Minutes that one run may take. One that is stopped is failed, and goes on where a later call gives it more."""
    gradients: Annotated[int, arg(metavar="N")] = 0
    """Record histograms of the gradients in the first N steps of every run that begins now."""
    plan: bool = False
    """Print the runs, the time and the disk that they would take, and run nothing."""

    def make_executor(self) -> LocalExecutor | RayExecutor:
        """What the flags ask for; a local one gets ready meanwhile."""
        return make_executor(self.executor, self.workers, self.device, self.ranks, self.address)

    @property
    def limits(self) -> Limits:
        """What the flags ask of every run."""
        return Limits(self.checkpoint_every, self.run_minutes, self.gradients)

    @property
    def folder(self) -> Path | None:
        """The study's, with ``~`` for the home folder, which a shell does not expand in ``--out=~/x``."""
        return self.out and expanded(self.out)

    def print_plan(self, study: Study, out: Path, executor: LocalExecutor | RayExecutor, console: Console) -> int:
        """See :func:`print_plan`."""
        return print_plan(study, out, executor.workers or cores(), console, executor.ranks)
