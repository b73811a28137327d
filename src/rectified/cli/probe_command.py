"""The command `rectified probe`."""

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch.optim.lr_scheduler import LambdaLR
from tyro.conf import Positional, arg

from ..files import expanded
from ..messages import shown
from ..probe import TrialProgress, TrialResult, TrialRun, Verdict, trial, watch
from ..probe.adam_state import inner_optimizer, watched
from ..probe.report import as_json, write_files
from ..study.config.errors import InvalidOption
from ..study.config.runs import Run
from ..study.config.study import Study
from ..study.console.live import say
from ..workloads.batches import moved
from ..workloads.tasks import find_data, load_data
from ..workloads.tasks.lr_decay import NO_DECAY
from ..workloads.user_code import users_code
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
    """Steps of each arm of the trial, which is the run in small: its lr schedule ends with it."""
    seeds: Annotated[str, arg(metavar="LIST")] = "0,1,2,3,4"
    """Comma-separated seeds: each has its own weights and batches. With one, there are no intervals and no advice."""
    lengths: Annotated[str | None, arg(metavar="LIST", help_behavior_hint="(default: 5, 20 and 80 %)")] = None
    """Comma-separated lengths of linear warmups to try, in steps of the trial."""
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
        lengths = numbers("lengths", self.lengths, int) or []
        if self.steps < 8:
            raise InvalidOption("steps", self.steps, "it must be 8 or more")
        for length in lengths:
            if not 1 <= length <= self.steps:
                raise InvalidOption("lengths", self.lengths, f"each must be between 1 and the {self.steps} steps")
        if self.device not in ("cpu", "cuda"):
            raise InvalidOption("device", self.device, "it must be cpu or cuda")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise InvalidOption("device", self.device, "torch finds no GPU here")
        study = self._study()
        run = _default(study.runs())
        _check_moments(run)
        task = run.task
        if self.out is not None:
            expanded(self.out).mkdir(parents=True, exist_ok=True)  # before the training, since it may be impossible
        data = load_data(task, find_data(task, study.data, lambda line: print(line, file=sys.stderr)))
        data = task.on_device(data, torch.device(self.device))
        make, seeds = RunMaker(run, data, self.device, self.steps), study.seeds or (0,)
        result: TrialResult | None = None
        with users_code(f"task {shown(task.name)} does not run"):
            if self.trial:
                with _progress(None if self.json else console) as on_progress:
                    result = trial(make, steps=self.steps, seeds=seeds, lengths=lengths, on_progress=on_progress)
                result = replace(result, measure=make.measure)
                probe, found = result.probe, result.verdict
            else:
                probe = watch(make(seeds[0]), self.steps)
                found = probe.verdict()
        if self.json:
            print(as_json(probe, found, result))
        else:
            say(console, "\n".join([in_words(found), *([] if result is None else [str(result)])]))
        if self.out is not None:
            title = f"{task.title}, {run.method.name} at lr {run.lr:g}"
            path = write_files(expanded(self.out), probe, found, result, title, command)
            if not self.json:
                say(console, f"page: {path}")
        return 0

    def _study(self) -> Study:
        """The study of the same task, which checks the values."""
        methods = None if self.method is None else [self.method]
        try:
            return Study([self.task], methods, self.lr, numbers("seeds", self.seeds, int), data=self.data)
        except InvalidOption as refused:
            name = {"methods": "method", "lrs": "lr"}.get(refused.name, refused.name)
            raise InvalidOption(name, refused.value, refused.why) from refused


def _default(runs: Sequence[Run]) -> Run:
    """The run with the first method at the middle one of its learning rates."""
    own = [run for run in runs if run.method is runs[0].method and run.seed == runs[0].seed]
    return own[len(own) // 2]


def _check_moments(run: Run) -> None:
    """Raise for a method whose optimizer a probe cannot read."""
    optimizer = run.method.dummy(run.lr)
    try:
        inner = inner_optimizer(optimizer)
    except TypeError as error:
        raise InvalidOption("method", run.method.name, str(error)) from None
    for p in inner.param_groups[0]["params"]:
        p.grad = torch.ones_like(p)
    if callable(switch := getattr(inner, "train", None)):  # a schedule-free optimizer
        switch()
    optimizer.step()
    if not any(watched(inner)):
        why = f"a probe reads Adam's moments, exp_avg and exp_avg_sq, and {type(inner).__name__} keeps others"
        raise InvalidOption("method", run.method.name, why)


@dataclass
class RunMaker:
    """Makes a new run of a task for each seed, as a study would train it in that number of steps.

    Attributes:
        measure: what the runs are judged by, once one was evaluated; smaller is better.
    """

    run: Run
    data: Any
    device: str
    steps: int
    measure: str = "loss"

    def __call__(self, seed: int) -> TrialRun:
        run, task = self.run, self.run.task
        torch.manual_seed(seed)
        model = task.model(self.data).to(self.device)
        optimizer = run.method.build(model.parameters(), run.lr, task.weight_decay)
        inner = inner_optimizer(optimizer)
        names = {p: name for name, p in model.named_parameters()}
        for group in inner.param_groups:
            group.setdefault("param_names", [names[p] for p in group["params"]])
        scheduler = None
        if task.schedule is not NO_DECAY:
            scheduler = LambdaLR(inner, lambda step: task.schedule(min(step, self.steps - 1), self.steps))
        return TrialRun(
            model=model,
            optimizer=optimizer,
            batches=self._batches(torch.Generator().manual_seed(seed)),
            loss=self._loss,
            evaluate=self._evaluate,
            scheduler=scheduler,
            clip=task.clip,
            steps=run.steps,
        )

    def _batches(self, generator: torch.Generator) -> Iterator[Any]:
        while True:
            yield from self.run.task.batches(self.data, self.run.batch_size, generator)

    def _loss(self, model: torch.nn.Module, batch: Any) -> torch.Tensor:
        return self.run.task.loss(model, moved(batch, torch.device(self.device))) * self.run.task.loss_scale

    def _evaluate(self, model: torch.nn.Module) -> float:
        """A loss if the task measures one, else its metric, negative if larger is better."""
        task = self.run.task
        measured = task.evaluate(model, self.data)
        name = next((name for name in measured if name.endswith("loss")), task.metric)
        negative = name == task.metric and task.larger_is_better
        self.measure = f"−{name}" if negative else name
        return -measured[name] if negative else measured[name]


def in_words(found: Verdict) -> str:
    """A verdict as text.

    >>> print(in_words(Verdict("needed", "step 1 at lr 0.1 reaches 2 of the way to the edge", share=0.8, length=800)))
    warmup needed: step 1 at lr 0.1 reaches 2 of the way to the edge
      such an answer was right in 18 of 24 held-out runs
      advised: a linear warmup over 80 % of the run, 800 steps
    """
    lines = [f"warmup {found.answer}: {found.why}"]
    if found.hits:
        lines.append("  such an answer was right in {} of {} held-out runs".format(*found.hits))
    if found.mechanism:
        lines.append(f"  {found.mechanism}")
    if found.share:
        steps = f", {found.length:,} steps" if found.length else ""
        lines.append(f"  advised: a linear warmup over {100 * found.share:.0f} % of the run{steps}")
    if found.share and math.isfinite(found.safe_lr):
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
