"""The command `rectified study`."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

from rich.console import Console
from tyro.conf import Positional, arg

from ..files import expanded
from ..study.config.errors import InvalidOption
from ..study.config.study import Study
from ..study.config.toml_file import StudyFile, read
from ..study.runner import default_folder, run_study
from ..workloads.numbers import number, whole_number
from ..workloads.specs import split
from .running import Running, one_line, option

Number = TypeVar("Number", int, float)

_TASKS = one_line("""
fashion-mnist, or fashion-mnist-mini for a first look without downloads; fashion-mnist-resnet20, cifar10,
tiny-imagenet, imagenet, language-model, language-model-gpt, language-model-paper, translation, translation-iwslt,
translation-wmt. Options go in parentheses: "cifar10(subset=5000)". Your own task: my_task.py (`rectified init
my_task.py` writes one), my_task.py:NAME or package.module:NAME. Separate several tasks with commas. Or a TOML file
with the tasks and any flag below by its name; a flag on the command line overrides the file.
""")
_METHODS = one_line("""
Comma-separated methods, with options in parentheses: adam, adamw, sgd, radam, radam-paper, radam-exact,
radam-ema, radam-hold, radam-4hold, radam-4adam, radam-4momentum-4adam, adam-eps, rmsprop, nadam, adadelta, lamb,
gi-adam, random-v0-adam, stable-adamw, sgd-hd, adam-hd, cocob, yellowfin, adam(beta2=0.95), sgd(lr=0.1). With a
warmup: adam+untuned-linear, adam+untuned-exponential, adam+linear-500 (steps), adam+linear-10% (of the run),
adam+guarded-linear-10%, adam+second-moment-only-500, rmsprop+rectified, adam+my_warmups.Cosine(100). Without the
warmup, at its average learning rate: matched-lr(radam). Any other optimizer by its import path:
"torch.optim.NAdam(betas=(0.9,0.99))", torch.optim.NAdam+linear-500, pytorch_optimizer.AdaBound,
schedulefree.RAdamScheduleFree.
""")
_CONTROL = one_line("""
Also run each method that has a warmup without its warmup, at the learning rate times the warmup's mean omega over
the run: does the warmup do more than a smaller learning rate?
""")


@dataclass(frozen=True)
class _Compared:
    """The flags for what a study compares."""

    tasks: Annotated[Positional[str], arg(metavar="TASK|FILE.py|FILE.toml", help=_TASKS)]
    methods: Annotated[str | None, option("LIST", "methods", _METHODS)] = None
    lrs: Annotated[str | None, option("LIST", "lrs")] = None
    """Comma-separated learning rates."""
    seeds: Annotated[str | None, option("LIST", "seeds")] = None
    """Comma-separated seeds."""
    epochs: Annotated[int | None, option("N", "epochs")] = None
    """Epochs of each run; for some tasks an epoch is a block of updates."""
    batch_sizes: Annotated[str | None, option("LIST", "batch_size")] = None
    """Comma-separated batch sizes."""
    vary: Annotated[tuple[str, ...], arg(metavar="NAME=LIST", help_behavior_hint="(default: nothing)")] = ()
    """Options for every method, in all combinations: beta2=0.9,0.999 eps=1e-8,1e-4."""
    baseline: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: the first method)")] = None
    """The method that the report compares the others with."""
    control: Annotated[str | None, arg(metavar="matched-lr", help=_CONTROL, help_behavior_hint="(default: none)")] = (
        None
    )


@dataclass(frozen=True)
class StudyCommand(Running, _Compared):
    """Compare methods over learning rates and seeds on a task: execute the missing runs, then write the report."""

    def __call__(self, command: str, console: Console) -> int:
        if not self.tasks.endswith(".toml"):
            return self._run(self._value(), command, console)
        path = expanded(self.tasks)
        file = read(path, _KINDS)
        if "tasks" not in file.values:
            raise ValueError(f'{path}: no tasks; add a line such as tasks = ["fashion-mnist"]')
        try:
            return self._run_file(file, console)
        except InvalidOption as refused:
            raise ValueError(self._without_flags(file).text(refused)) from refused

    def _run_file(self, file: StudyFile, console: Console) -> int:
        """Run the study of a TOML file, whose values the flags override."""
        asked = self._without_flags(file).values
        values = {name: value for name, value in asked.items() if name in _COMPARED}
        running = {name: value for name, value in asked.items() if name not in _COMPARED}
        flags = self._keywords()
        del flags["tasks"]
        study = Study(**{**values, **flags})
        call = replace(self, out=self.out or default_folder(file.path.stem), **running)
        return call._run(study, call._command(study), console)

    def _without_flags(self, file: StudyFile) -> StudyFile:
        """The file without the values that flags override."""
        given = {field.name for field in fields(self) if getattr(self, field.name) != field.default} - {"tasks"}
        values = {name: value for name, value in file.values.items() if name not in given}
        return replace(file, values=values, lines={name: file.lines[name] for name in values})

    def _value(self) -> Study:
        return Study(**self._keywords())

    def _keywords(self) -> dict[str, Any]:
        """The flags that were given, as keyword arguments of a Study."""
        found: dict[str, Any] = {
            "tasks": split(self.tasks),
            "methods": None if self.methods is None else split(self.methods),
            "lrs": numbers("lrs", self.lrs, float),
            "seeds": numbers("seeds", self.seeds, int),
            "epochs": self.epochs,
            "batch_sizes": numbers("batch_sizes", self.batch_sizes, int),
            "vary": _axes(self.vary),
            "baseline": self.baseline,
            "control": self.control,
            "data": self.data,
        }
        return {name: value for name, value in found.items() if value not in (None, {})}

    def _command(self, study: Study) -> str:
        """The equivalent command without the file, so that it stays valid when the file changes or disappears."""
        words = shlex.split(study.command)
        for field in fields(Running):
            value = getattr(self, field.name)
            if value != field.default and field.name not in ("plan", "data"):
                words += [f"--{field.name.replace('_', '-')}", str(value)]
        return shlex.join(words)

    def _run(self, study: Study, command: str, console: Console) -> int:
        executor = self.make_executor()
        out = self.folder or default_folder(",".join(task.name for task in study.tasks))
        if self.plan:
            return self.print_plan(study, out, executor, console)
        return run_study(study, out, executor, command, console, self.limits)


# What a study's file may hold: the options of a study, and every option for running it except --plan.
_COMPARED: dict[str, type] = {
    "tasks": list,
    "methods": list,
    "lrs": list,
    "seeds": list,
    "epochs": int,
    "batch_sizes": list,
    "vary": dict,
    "baseline": str,
    "control": str,
    "data": Path,
}
_KINDS: dict[str, type] = _COMPARED | {
    "out": Path,
    "workers": int,
    "device": str,
    "ranks": int,
    "executor": str,
    "address": str,
    "checkpoint_every": float,
    "run_minutes": float,
    "gradients": int,
}


def numbers(name: str, text: str | None, kind: type[Number]) -> list[Number] | None:
    """Parse a flag's comma-separated numbers; None if the flag was not given.

    Raises:
        InvalidOption: one of them is not a number.
    """
    if text is None:
        return None
    try:
        return [kind(whole_number(part) if kind is int else number(part)) for part in split(text)]
    except ValueError:
        what = "whole numbers" if kind is int else "numbers"
        raise InvalidOption(name, text, f"it must be {what} separated by commas") from None


def _axes(texts: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in texts:
        name, sign, values = text.partition("=")
        if not sign or not split(values):
            raise InvalidOption("vary", text, "it must be an option with its values, such as beta2=0.9,0.999")
        if name.strip() in found:
            raise InvalidOption("vary", text, f"{name.strip()} appears twice")
        found[name.strip()] = split(values)
    return found
