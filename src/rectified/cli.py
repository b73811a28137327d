"""The command line: thin; what it calls is in the rooms."""

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro
from rich.console import Console
from tyro.conf import Positional, arg, subcommand

from .bench.run import BenchSettings, choose, run_bench
from .figures import Settings, write_theory
from .files import FULL, write
from .study import Limits, Plan, Store, run_study
from .study.data import DataNotFoundError
from .study.export import Format, export
from .study.methods import parse_list
from .study.plan import slug
from .study.report import last_baseline, write_figures, write_report
from .study.status import print_status
from .study.tasks import parse_task


def _option(metavar: str) -> Any:
    return arg(metavar=metavar, help_behavior_hint="(default: the task's)")


_BASELINE = "(default: the one the study was called with, or its first method)"


@dataclass(frozen=True)
class Study:
    """Compare methods over learning rates and seeds on a task: runs what is missing, then writes the report."""

    task: Annotated[Positional[str], arg(metavar="TASK")]
    """fashion-mnist, or fashion-mnist-mini for a first look without any network; with options in parentheses if need
    be: "fashion-mnist(loss_scale=1000)"."""
    methods: Annotated[str | None, _option("LIST")] = None
    """Comma-separated, with options in parentheses if need be: adam, adamw, sgd, radam, radam-paper, radam-exact,
    radam-ema, radam-hold, adam-2k, adam-eps, adam+untuned-linear, adam+untuned-exponential, adam+linear-500,
    adam+hold-500, adam(beta2=0.95), sgd(lr=0.1)."""
    lrs: Annotated[str | None, _option("LIST")] = None
    """Comma-separated learning rates."""
    seeds: Annotated[str | None, _option("LIST")] = None
    """Comma-separated seeds."""
    epochs: Annotated[int | None, _option("N")] = None
    """Epochs of each run."""
    out: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: runs/TASK)")] = None
    """Folder of the study. Finished runs that are in it already are kept."""
    workers: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: one a core)")] = None
    """Worker processes, of one thread each."""
    data: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: found, or fetched)")] = None
    """Folder that holds the data."""
    baseline: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: the first method)")] = None
    """The method that the report compares the others with."""
    checkpoint_every: Annotated[
        float | None, arg(metavar="SECONDS", help_behavior_hint="(default: 30, or more where they are slow to write)")
    ] = None
    """What a killed run may lose. By default checkpoints take at most a hundredth of the time."""
    cell_minutes: Annotated[float | None, arg(metavar="M", help_behavior_hint="(default: any)")] = None
    """Minutes that one run may take. One that is stopped is failed, and goes on where a later call gives it more."""

    def __call__(self, command: str, console: Console) -> int:
        task = parse_task(self.task)
        workers = len(os.sched_getaffinity(0)) if self.workers is None else self.workers
        if workers < 1:
            raise ValueError(f"--workers is {workers}; it must be at least 1")
        plan = Plan(
            task=task.name,
            methods=parse_list(task.methods if self.methods is None else self.methods),
            lrs=task.lrs if self.lrs is None else _numbers("--lrs", self.lrs, float),
            seeds=task.seeds if self.seeds is None else _numbers("--seeds", self.seeds, int),
            epochs=task.epochs if self.epochs is None else self.epochs,
            batch_size=task.batch_size,
        )
        names = [method.name for method in plan.methods]
        if self.baseline is not None and self.baseline not in names:
            raise ValueError(f"--baseline is {self.baseline!r}; --methods holds {', '.join(names)}")
        limits = Limits(self.checkpoint_every, self.cell_minutes)
        return run_study(plan, self.out or Path("runs") / slug(task.name), self.data, workers, command, console, limits)


@dataclass(frozen=True)
class Status:
    """Say how a study stands: what is done, diverged, failed, running, waiting, and how long that will take."""

    out: Annotated[Positional[Path], arg(metavar="DIR")]
    """Folder of the study; it may be running."""

    def __call__(self, command: str, console: Console) -> int:
        return print_status(Store.open(self.out), console)


@dataclass(frozen=True)
class Report:
    """Write the report, its figures and the tables of a finished or running study again."""

    out: Annotated[Positional[Path], arg(metavar="DIR")]
    """Folder of the study."""
    baseline: Annotated[str | None, arg(metavar="NAME", help_behavior_hint=_BASELINE)] = None
    """The method that the others are compared with."""

    def __call__(self, command: str, console: Console) -> int:
        store = Store.open(self.out)
        page = write_report(store, self.baseline)
        store.write_tables(parse_task(store.head["task"]).metric)
        console.print(f"report: {page}", soft_wrap=True)
        console.print(f"figures: {write_figures(store, self.baseline)}", soft_wrap=True)
        return 0


@dataclass(frozen=True)
class Export:
    """A study's means and differences as tables for a paper, or every run as CSV; of a running one what there is."""

    out: Annotated[Positional[Path], arg(metavar="DIR")]
    """Folder of the study."""
    format: Annotated[Format, arg(metavar="csv|markdown|latex")] = "markdown"
    """csv: one row a run. markdown, latex: mean and interval by method and lr, and differences from the baseline."""
    file: Annotated[Path | None, arg(name="out", metavar="FILE", help_behavior_hint="(default: the terminal)")] = None
    """File to write."""
    baseline: Annotated[str | None, arg(metavar="NAME", help_behavior_hint=_BASELINE)] = None
    """The method that the others are compared with."""

    def __call__(self, command: str, console: Console) -> int:
        store = Store.open(self.out)
        text = export(store.records(), self.format, self.baseline or last_baseline(store.commands))
        if self.file is None:
            sys.stdout.write(text)
        else:
            write(self.file, text)
        return 0


@dataclass(frozen=True)
class Theory:
    """Draw the theory: the variance of the adaptive learning rate, computed and simulated, as figures and a page."""

    out: Annotated[Path, arg(metavar="DIR")]
    """Folder for theory.html and, of each figure, SVG, PDF and CSV. What else is in it stays."""
    beta2: Annotated[float, arg(metavar="X")] = Settings.beta2
    """Adam's beta2, above 0.6 and below 1."""
    paths: Annotated[int, arg(metavar="N")] = Settings.paths
    """Paths of each simulation; the table takes 80 times as many."""
    steps: Annotated[int, arg(metavar="N")] = Settings.steps
    """Steps of each path."""
    seed: Annotated[int, arg(metavar="N")] = Settings.seed
    """Seed of the simulations."""

    def __call__(self, command: str, console: Console) -> int:
        settings = Settings(self.beta2, self.paths, self.steps, self.seed)
        console.print(f"theory: {write_theory(self.out, settings, command, console)}", soft_wrap=True)
        return 0


@dataclass(frozen=True)
class Bench:
    """Measure a step's time and memory: every method here and every peer that is installed, as ratios in one run."""

    models: Annotated[str | None, arg(metavar="LIST", help_behavior_hint="(default: all)")] = None
    """Comma-separated: cnn, resnet20, vit-s16, resnet50, gpt2, gpt2-medium, from 33 k to 355 M parameters."""
    methods: Annotated[str | None, arg(metavar="LIST", help_behavior_hint="(default: all)")] = None
    """Comma-separated parts of names, such as "torch RAdam,fused"; our RAdam is always among them."""
    rounds: Annotated[float, arg(metavar="X")] = BenchSettings.rounds
    """Factor on the number of rounds, for a first look or a better one."""
    device: Annotated[
        str | None, arg(metavar="DEVICE", help_behavior_hint="(default: cuda if there is one, or cpu)")
    ] = None
    """cpu or cuda."""
    threads: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: torch's)")] = None
    """Threads of a step on the CPU."""
    also: Annotated[tuple[str, ...], arg(metavar="PYTHON")] = ()
    """Interpreters with torch whose environments take part too: for a peer that cannot be installed beside others."""
    out: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: the terminal alone)")] = None
    """Folder for bench.json, bench.md and bench.svg."""

    def __call__(self, command: str, console: Console) -> int:
        settings = choose(self.models, self.methods, self.rounds, self.device, self.threads, self.also)
        return run_bench(settings, command, self.out, console)


Command = (
    Annotated[Study, subcommand("study")]
    | Annotated[Status, subcommand("status")]
    | Annotated[Report, subcommand("report")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Theory, subcommand("theory")]
    | Annotated[Bench, subcommand("bench")]
)


def main(args: list[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, 1 where a run failed, 2 where the call was wrong."""
    args = sys.argv[1:] if args is None else args
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)  # a file has no edge to wrap at
    try:
        call = tyro.cli(Command, prog="rectified", args=args, description="Adaptive optimizers that start cold.")
        return call(shlex.join(["rectified", *args]), console)
    except (ValueError, DataNotFoundError) as error:
        print(f"rectified: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in FULL:
            raise
        print(f"rectified: no room left on the disk: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


T = TypeVar("T", int, float)


def _numbers(flag: str, text: str, kind: type[T]) -> tuple[T, ...]:
    try:
        return tuple(kind(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise ValueError(f"{flag} is {text!r}; write numbers with commas between them") from None


if __name__ == "__main__":
    sys.exit(main())
