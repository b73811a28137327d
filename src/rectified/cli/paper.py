"""rectified paper."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import Positional, arg

from ..study import Store, run_study
from ..study.executors.ddp_launcher import check_ranks
from ..study.paper import Scale, experiment
from .running import Running, option


@dataclass(frozen=True)
class _Published:
    """Which of the paper's results, and what of it to change."""

    name: Annotated[Positional[str], arg(metavar="NAME")]
    """table1, table2, table3, figure1, figure2, figure5, figure6 or ablation."""
    scale: Annotated[Scale, arg(metavar="cpu|paper")] = "cpu"
    """cpu: a first look on two cores, of the order of half an hour. paper: the paper's own models, data and lengths."""
    methods: Annotated[str | None, option("LIST")] = None
    """Comma-separated methods."""
    lrs: Annotated[str | None, option("LIST")] = None
    """Comma-separated learning rates."""
    seeds: Annotated[str | None, option("LIST")] = None
    """Comma-separated seeds; more of them give intervals, and only what is missing runs."""
    epochs: Annotated[int | None, option("N")] = None
    """Epochs of each run; of translation an epoch is a block of updates."""


@dataclass(frozen=True)
class Paper(Running, _Published):
    """Repeat a table or figure of the RAdam paper: run what is missing, and put the published numbers beside ours."""

    def __call__(self, command: str, console: Console) -> int:
        from ..study.paper.result_files import write_result  # brings matplotlib, which no other command should wait for

        found = experiment(self.name)
        run = found.runs[self.scale]
        changes = {name: value for name in ("methods", "lrs", "seeds", "epochs") if (value := getattr(self, name))}
        plans = replace(run.grid, **changes).plans()
        out = self.out or Path("runs") / f"paper-{self.name}-{self.scale}"
        console.print(f"{found.title}. Differs from the paper: {run.differs}.", markup=False)
        if run.needs:
            console.print(f"It needs {run.needs}.", markup=False)
        running = self if self.gradients else replace(self, gradients=run.gradients)
        engine = running.make_engine()
        if self.plan:
            return running.tell_plan(plans, out, engine, console)
        if self.scale == "paper" and self.device == "cpu":
            raise ValueError(
                "--device is 'cpu', and the paper's scale takes weeks on one; give --device cuda on a machine that has "
                "a GPU, or --scale cpu for a first look here"
            )
        check_ranks(self.ranks, (plan.batch_size for plan in plans))
        running.tell_plan(plans, out, engine, console)
        status = run_study(plans, out, self.data, engine, command, console, running.limits)
        if status == 130:
            return status
        sheet, files = write_result(found, self.scale, Store.open(out), plans)
        console.print(f"\n{sheet.title}\n\n{sheet.markdown()}", markup=False, soft_wrap=True)
        console.print(f"{self.name}: {', '.join(map(str, files))}", markup=False, soft_wrap=True)
        return status
