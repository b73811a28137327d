"""rectified study."""

import shlex
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, get_args, get_origin, get_type_hints

from rich.console import Console
from tyro.conf import Positional, arg

from ..study import run_study
from ..study.config.grid import Grid
from ..study.config.runs import slug
from ..study.config.toml_file import read
from ..study.executors.ddp_launcher import check_ranks
from .running import Running, option


@dataclass(frozen=True)
class _Compared:
    """What a study compares."""

    tasks: Annotated[Positional[str], arg(metavar="TASK|FILE.toml")]
    """fashion-mnist, or fashion-mnist-mini for a first look without any network; fashion-mnist-resnet20, cifar10,
    tiny-imagenet, imagenet, language-model, language-model-gpt, language-model-paper, translation, translation-iwslt,
    translation-wmt; with options in parentheses if need be: "cifar10(subset=5000)". Several with commas. Or a file that
    says it all: tasks, and every flag below by its name. Flags go before the file."""
    methods: Annotated[str | None, option("LIST")] = None
    """Comma-separated, with options in parentheses if need be: adam, adamw, sgd, radam, radam-paper, radam-exact,
    radam-ema, radam-hold, radam-4hold, radam-4adam, radam-4momentum-4adam, adam-2k, adam-eps, rmsprop, nadam, adadelta,
    lamb, gi-adam, random-v0-adam, stable-adamw, sgd-hd, adam-hd, cocob, yellowfin, adam(beta2=0.95), sgd(lr=0.1). With
    a warmup: adam+untuned-linear, adam+untuned-exponential, adam+linear-500, adam+second-moment-only-500,
    rmsprop+rectified. Any other optimizer by where it is: "torch.optim.NAdam(betas=(0.9,0.99))",
    torch.optim.NAdam+linear-500, pytorch_optimizer.AdaBound, schedulefree.RAdamScheduleFree."""
    lrs: Annotated[str | None, option("LIST")] = None
    """Comma-separated learning rates."""
    seeds: Annotated[str | None, option("LIST")] = None
    """Comma-separated seeds."""
    epochs: Annotated[int | None, option("N")] = None
    """Epochs of each run; some tasks count blocks of updates."""
    batch_sizes: Annotated[str | None, option("LIST")] = None
    """Comma-separated batch sizes."""
    vary: Annotated[tuple[str, ...], arg(metavar="NAME=LIST", help_behavior_hint="(default: nothing)")] = ()
    """Options to give every method, in all combinations: beta2=0.9,0.999 eps=1e-8,1e-4."""
    baseline: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: the first method)")] = None
    """The method that the report compares the others with."""


@dataclass(frozen=True)
class Study(Running, _Compared):
    """Compare methods over learning rates and seeds on a task: runs what is missing, then writes the report."""

    def __call__(self, command: str, console: Console) -> int:
        if not self.tasks.endswith(".toml"):
            return self._run(command, console)
        path = Path(self.tasks)
        file = read(path, _kinds()).without(self._given())
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
        engine = self.make_engine()  # first, since it gets ready meanwhile
        grid = Grid(self.tasks, self.methods, self.lrs, self.seeds, self.epochs, self.batch_sizes, self.vary)
        plans = grid.plans()
        names = list(dict.fromkeys(method.name for plan in plans for method in plan.methods))
        if self.baseline is not None and self.baseline not in names:
            raise ValueError(f"--baseline is {self.baseline!r}; the methods are {', '.join(names)}")
        check_ranks(self.ranks, (plan.batch_size for plan in plans))
        out = self.out or Path("runs") / slug(self.tasks)
        if self.plan:
            return self.tell_plan(plans, out, engine, console)
        return run_study(plans, out, self.data, engine, command, console, self.limits)


def _kinds() -> dict[str, type]:
    """What a study's file may hold: the flags of a study that say what it is."""
    kinds = {}
    for name, hint in get_type_hints(Study).items():
        if name != "plan":
            kinds[name] = dict if get_origin(hint) is tuple else (get_args(hint) or (hint,))[0]
    return kinds
