"""The command `rectified probe`."""

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from tyro.conf import Positional, arg

from ..files import expanded
from ..probe import TrialProgress, TrialResult, TrialRun, Verdict, trial, verdict, watch
from ..probe.adam_state import inner_optimizer
from ..probe.report import as_json, write_files
from ..study.config.errors import InvalidOption
from ..study.config.methods import parse
from ..study.console.live import say
from ..workloads.numbers import learning_rate
from ..workloads.tasks import parse_task
from ..workloads.tasks.task import BaseTask
from .running import one_line
from .study_command import numbers

_TASK = one_line("""
A task, as for `rectified study`: my_task.py, my_task.py:NAME, package.module:NAME, or a built-in one.
""")
_METHOD = one_line("""
The optimizer that the run uses, by its name in a study: adam, adamw, radam, adam+linear-500, torch.optim.NAdam, ...
""")


@dataclass(frozen=True)
class ProbeCommand:
    """Watch the first steps of a run; then try warmups, a smaller lr and clipping on the same weights and batches."""

    task: Annotated[Positional[str], arg(metavar="TASK|FILE.py", help=_TASK)]
    method: Annotated[
        str | None, arg(metavar="NAME", help=_METHOD, help_behavior_hint="(default: the task's first)")
    ] = None
    lr: Annotated[float | None, arg(metavar="LR", help_behavior_hint="(default: the middle of the task's)")] = None
    """The learning rate that the run uses."""
    steps: Annotated[int, arg(metavar="N")] = 200
    """Steps of each arm of the trial."""
    seeds: Annotated[str, arg(metavar="LIST")] = "0,1,2"
    """Comma-separated seeds: each has its own weights and batches. With one, there are no intervals and no advice."""
    lengths: Annotated[str | None, arg(metavar="LIST", help_behavior_hint="(default: around the advised one)")] = None
    """Comma-separated lengths of linear warmups to try."""
    trial: bool = True
    """Whether to try anything; otherwise only one run is watched."""
    data: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: found, or fetched)")] = None
    """Folder that holds the data."""
    device: Annotated[str, arg(metavar="cpu|cuda")] = "cpu"
    """Where the run trains."""
    json: bool = False
    """Print verdict, signals and trial as JSON."""
    out: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: print only)")] = None
    """Folder for probe.html, probe.json, signals.csv and a TensorBoard file."""

    def __call__(self, command: str, console: Console) -> int:
        task = parse_task(self.task)
        seeds, lengths = numbers("seeds", self.seeds, int), numbers("lengths", self.lengths, int)
        if self.steps < 8:
            raise InvalidOption("steps", self.steps, "it must be 8 or more")
        for length in lengths or ():
            if not 1 <= length <= self.steps:
                raise InvalidOption("lengths", self.lengths, f"each must be between 1 and the {self.steps} steps")
        make = RunMaker(task, self._method(task), self._lr(task), self._load(task), self.device)
        make.check()
        result: TrialResult | None = None
        if self.trial:
            with _progress(None if self.json else console) as on_progress:
                result = trial(
                    make, steps=self.steps, seeds=seeds or [], lengths=lengths or (), on_progress=on_progress
                )
            probe, found = result.probe, result.verdict
        else:
            probe = watch(make(seeds[0] if seeds else 0), self.steps)
            found = verdict(probe)
        if self.json:
            print(as_json(probe, found, result))
        else:
            say(console, "\n".join([in_words(found), *([] if result is None else [str(result)])]))
        if self.out is not None:
            title = f"{task.title}, {make.method} at lr {make.lr:g}"
            path = write_files(expanded(self.out), probe, found, result, title, command)
            if not self.json:
                say(console, f"page: {path}")
        return 0

    def _method(self, task: BaseTask) -> str:
        return self.method or task.methods[0]

    def _lr(self, task: BaseTask) -> float:
        if self.lr is None:
            return task.lrs[len(task.lrs) // 2]
        try:
            return learning_rate(self.lr)
        except ValueError as error:
            raise InvalidOption("lr", self.lr, str(error)) from None

    def _load(self, task: BaseTask) -> Any:
        def print_line(text: str) -> None:
            print(text, file=sys.stderr)

        return task.load(task.find(self.data and expanded(self.data), print_line))


@dataclass
class RunMaker:
    """Makes a new run of a task for each seed."""

    task: BaseTask
    method: str
    lr: float
    data: Any
    device: str

    def __call__(self, seed: int) -> TrialRun:
        task = self.task
        torch.manual_seed(seed)
        per_epoch = task.steps_per_epoch(task.batch_size)
        model = task.model(self.data).to(self.device)
        method = parse(self.method).over(task.epochs * per_epoch)
        optimizer = method.build(model.parameters(), self.lr, task.weight_decay)
        return TrialRun(
            model=model,
            optimizer=optimizer,
            batches=self._batches(torch.Generator().manual_seed(seed)),
            loss=task.loss,
            evaluate=self._evaluate,
            clip=task.clip,
        )

    def check(self) -> None:
        """Raise for a method whose optimizer a probe cannot read."""
        try:
            inner_optimizer(parse(self.method).over(1000).dummy(self.lr))
        except TypeError as error:
            raise InvalidOption("method", self.method, str(error)) from None

    def _batches(self, generator: torch.Generator) -> Iterator[Any]:
        while True:
            yield from self.task.batches(self.data, self.task.batch_size, generator)

    def _evaluate(self, model: torch.nn.Module) -> float:
        """A loss if the task measures one, else its metric; smaller is better."""
        measured = self.task.evaluate(model, self.data)
        name = next((name for name in measured if name.endswith("loss")), self.task.metric)
        sign = -1.0 if name == self.task.metric and self.task.larger_is_better else 1.0
        return sign * measured[name]


def in_words(found: Verdict) -> str:
    """A verdict as text.

    >>> print(in_words(Verdict("needed", "step 1 at lr 0.1 reaches 2 of the way to the edge", length=128)))
    warmup needed: step 1 at lr 0.1 reaches 2 of the way to the edge
      advised: a linear warmup of 128 steps
    """
    lines = [f"warmup {found.answer}: {found.why}"]
    if found.mechanism:
        lines.append(f"  {found.mechanism}")
    if found.length:
        lines.append(f"  advised: a linear warmup of {found.length} steps")
    if found.answer == "needed" and math.isfinite(found.safe_lr):
        lines.append(f"  or no warmup and lr {found.safe_lr:.2g}")
    return "\n".join(lines)


@contextmanager
def _progress(console: Console | None) -> Iterator[Any]:
    """A progress bar with the time left, on a terminal."""
    if console is None or not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        shown = bar.add_task("trial", total=None)

        def update(progress: TrialProgress) -> None:
            bar.update(shown, description=progress.arm, completed=progress.done, total=progress.total)

        yield update
