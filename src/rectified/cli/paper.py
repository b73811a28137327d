"""The command `rectified paper`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import Positional, arg

from ..study.config.errors import InvalidOption
from ..study.config.study import Study
from ..study.console.live import say
from ..study.paper import Scale, experiment
from ..study.runner import run_study
from ..study.storage.store import Store
from ..workloads.data.find import check_named
from ..workloads.specs import split
from .running import Running
from .study_command import numbers


@dataclass(frozen=True)
class _Published:
    """Which of the paper's results to repeat, and which of its settings to change."""

    name: Annotated[Positional[str], arg(metavar="NAME")]
    """table1, table2, table3, figure1, figure2, figure5, figure6 or ablation."""
    scale: Annotated[Scale, arg(metavar="cpu|paper")] = "cpu"
    """cpu: a first look on two cores in about half an hour. paper: the paper's own models, data and run lengths."""
    methods: Annotated[str | None, arg(metavar="LIST", help_behavior_hint="(default: the experiment's)")] = None
    """Comma-separated methods."""
    lrs: Annotated[str | None, arg(metavar="LIST", help_behavior_hint="(default: the experiment's)")] = None
    """Comma-separated learning rates."""
    seeds: Annotated[str | None, arg(metavar="LIST", help_behavior_hint="(default: the experiment's)")] = None
    """Comma-separated seeds. More seeds give intervals; only missing runs are executed."""
    epochs: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: the experiment's)")] = None
    """Epochs of each run; for translation, an epoch is a block of updates."""


@dataclass(frozen=True)
class Paper(Running, _Published):
    """Reproduce a table or figure of the RAdam paper, with the published numbers next to ours."""

    def __call__(self, command: str, console: Console) -> int:
        from ..study.paper.result_files import write_result  # imports matplotlib, which other commands do not need

        found = experiment(self.name)
        planned = found.runs[self.scale]
        changes = {
            "methods": None if self.methods is None else split(self.methods),
            "lrs": numbers("lrs", self.lrs, float),
            "seeds": numbers("seeds", self.seeds, int),
            "epochs": self.epochs,
            "data": self.data,
        }
        study = Study(**{**planned.grid, **{name: value for name, value in changes.items() if value is not None}})
        check_named(study.data)
        out = self.folder or Path("runs") / f"paper-{self.name}-{self.scale}"
        say(console, f"{found.title}. Differs from the paper: {planned.differs}.")
        if planned.needs:
            say(console, f"It needs {planned.needs}.")
        running = self if self.gradients else replace(self, gradients=planned.gradients)
        executor = running.make_executor()
        if self.plan:
            return running.print_plan(study, out, executor, console)
        if self.scale == "paper" and self.device == "cpu":
            raise InvalidOption(
                "device",
                "cpu",
                "the paper's scale takes weeks on a CPU; use --device cuda on a machine with a GPU, or --scale cpu for "
                "a first look here",
            )
        running.print_plan(study, out, executor, console)
        status = run_study(study, out, executor, command, console, running.limits)
        if status == 130:
            return status
        sheet, files = write_result(found, self.scale, Store.open(out), study)
        say(console, f"\n{sheet.title}\n\n{sheet.markdown()}")
        say(console, f"{self.name}: {', '.join(map(str, files))}")
        return status
