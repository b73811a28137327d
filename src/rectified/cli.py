"""The command line: thin; what it calls is in the rooms."""

import os
import shlex
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import torch
import tyro
from rich.console import Console
from tyro.conf import Positional, arg, subcommand

from .bench.run import BenchSettings, choose, run_bench
from .figures import Settings, write_theory
from .files import FULL, write
from .study import Limits, Store, run_study
from .study.data import DataNotFoundError
from .study.engines import LocalEngine, RayEngine
from .study.estimate import print_plan
from .study.export import Format, export
from .study.file import read as read_file
from .study.grid import Grid
from .study.plan import slug
from .study.ranks import check_ranks
from .study.report import last_baseline, write_figures, write_report
from .study.run import tell_answers
from .study.status import print_status


def _option(metavar: str) -> Any:
    return arg(metavar=metavar, help_behavior_hint="(default: the task's)")


_BASELINE = "(default: the one the study was called with, or its first method)"


@dataclass(frozen=True)
class Study:
    """Compare methods over learning rates and seeds on a task: runs what is missing, then writes the report."""

    tasks: Annotated[Positional[str], arg(metavar="TASK|FILE.toml")]
    """fashion-mnist, or fashion-mnist-mini for a first look without any network; with options in parentheses if need
    be: "fashion-mnist(loss_scale=1000)". Several with commas. Or a file that says it all: tasks, and every flag below
    by its name. Flags go before the file."""
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
    batch_sizes: Annotated[str | None, _option("LIST")] = None
    """Comma-separated batch sizes."""
    vary: Annotated[tuple[str, ...], arg(metavar="NAME=LIST", help_behavior_hint="(default: nothing)")] = ()
    """Options to give every method, in all combinations: beta2=0.9,0.999 eps=1e-8,1e-4."""
    out: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: runs/TASK or runs/FILE)")] = None
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
    baseline: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: the first method)")] = None
    """The method that the report compares the others with."""
    checkpoint_every: Annotated[
        float | None, arg(metavar="SECONDS", help_behavior_hint="(default: 30, or more where they are slow to write)")
    ] = None
    """What a killed run may lose. By default checkpoints take at most a hundredth of the time."""
    cell_minutes: Annotated[float | None, arg(metavar="M", help_behavior_hint="(default: any)")] = None
    """Minutes that one run may take. One that is stopped is failed, and goes on where a later call gives it more."""
    plan: bool = False
    """Tell the runs, the time and the disk that they would take, and run nothing."""

    def __call__(self, command: str, console: Console) -> int:
        if not self.tasks.endswith(".toml"):
            return self._run(command, console)
        path = Path(self.tasks)
        file = read_file(path, _kinds()).without(self._given())
        if "tasks" not in file.flags:
            raise ValueError(f'{path}: it names no tasks; write such as tasks = ["fashion-mnist"]')
        try:
            study = replace(self, **file.flags)
            study = replace(study, out=study.out or Path("runs") / slug(path.stem))
            return study._run(study._command(), console)
        except ValueError as error:
            raise ValueError(file.placed(str(error))) from error

    def _given(self) -> list[str]:
        """The flags that do not have their default."""
        return [
            field.name for field in fields(self) if field.name != "tasks" and getattr(self, field.name) != field.default
        ]

    def _command(self) -> str:
        """The call without a file, which says the same also when the file is changed or gone."""
        words = ["rectified", "study", self.tasks]
        for name in self._given():
            value = getattr(self, name)
            words += [f"--{name.replace('_', '-')}", *(value if isinstance(value, tuple) else [str(value)])]
        return shlex.join(words)

    def _run(self, command: str, console: Console) -> int:
        grid = Grid(self.tasks, self.methods, self.lrs, self.seeds, self.epochs, self.batch_sizes, self.vary)
        plans = grid.plans()
        names = list(dict.fromkeys(method.name for plan in plans for method in plan.methods))
        if self.baseline is not None and self.baseline not in names:
            raise ValueError(f"--baseline is {self.baseline!r}; the methods are {', '.join(names)}")
        limits = Limits(self.checkpoint_every, self.cell_minutes)
        engine = self._engine()
        check_ranks(self.ranks, (plan.batch_size for plan in plans))
        out = self.out or Path("runs") / slug(self.tasks)
        if self.plan:
            return print_plan(plans, out, self.data, engine.workers or len(os.sched_getaffinity(0)), console)
        return run_study(plans, out, self.data, engine, command, console, limits)

    def _engine(self) -> LocalEngine | RayEngine:
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
        slots = len(os.sched_getaffinity(0))
        if self.device == "cuda":
            slots = torch.cuda.device_count()
            devices = tuple(f"cuda:{i}" for i in range(slots))
            if not slots:
                raise ValueError("--device is 'cuda', and torch finds no GPU here")
        return LocalEngine(
            max(1, slots // max(1, self.ranks)) if self.workers is None else self.workers, devices, ranks=self.ranks
        )


def _kinds() -> dict[str, type]:
    """What a study's file may hold: the flags of a study that say what it is."""
    kinds = {}
    for name, hint in get_type_hints(Study).items():
        if name != "plan":
            kinds[name] = dict if get_origin(hint) is tuple else (get_args(hint) or (hint,))[0]
    return kinds


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
        store.write_tables()
        tell_answers(store, console, self.baseline)
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


if __name__ == "__main__":
    sys.exit(main())
