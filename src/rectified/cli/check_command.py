"""The command `rectified check`."""

import inspect
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from rich.console import Console
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from tyro.conf import Positional, arg

from ..messages import shown
from ..probe import Finding, check
from ..probe.finding import as_json, at_least
from ..study.console.live import say
from ..workloads.tasks.user_files import load_object
from ..workloads.user_code import users_code
from .running import one_line

_MAKE = one_line("""
A function without arguments in your script: my_script.py:make_optimizer or package.module:make_optimizer. It returns
the optimizer; or a tuple of the optimizer, its scheduler and the model; or a dict of arguments of rectified.check.
Importing the script must not start the training: put that under `if __name__ == "__main__":`.
""")


@dataclass(frozen=True)
class CheckCommand:
    """Check a training configuration without training: play lr and warmup over the run, report what is wrong."""

    make: Annotated[Positional[str], arg(metavar="FILE.py:FUNCTION", help=_MAKE)]
    steps: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: from FUNCTION)")] = None
    """Optimizer steps of the run, or of what is left of it."""
    accumulation: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: 1)")] = None
    """Micro-batches per optimizer step."""
    processes: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: 1)")] = None
    """Processes that train together."""
    batches_per_epoch: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: unknown)")] = None
    """Micro-batches per epoch of one process."""
    interval: Annotated[Literal["step", "epoch"] | None, arg(help_behavior_hint="(default: step)")] = None
    """When the scheduler is stepped."""
    json: bool = False
    """Print the findings as JSON."""
    fail_on: Literal["error", "warning", "note", "never"] = "error"
    """The least severe finding with which the exit status is 1."""

    def __call__(self, command: str, console: Console) -> int:
        arguments = arguments_of(load_object(self.make, "function"), self.make)
        for name in ("steps", "accumulation", "processes", "batches_per_epoch", "interval"):
            if (value := getattr(self, name)) is not None:
                arguments[name] = value
        if "steps" not in arguments:
            raise ValueError("the number of optimizer steps is unknown; pass --steps N")
        found = check(**arguments)
        if self.json:
            print(as_json(found))
        else:
            say(console, in_words(found, arguments["steps"]))
        return int(self.fail_on != "never" and bool(at_least(self.fail_on, found)))


def arguments_of(make: Any, text: str) -> dict[str, Any]:
    """The arguments of :func:`rectified.check` that a user's function returns.

    Raises:
        ValueError: it is no function without arguments, raises, or returns something else.
    """
    if not callable(make):
        raise ValueError(f"{shown(text)} is a {type(make).__name__}; it must be a function that returns an optimizer")
    with users_code(f"{shown(text)}"):
        made = make()
    if isinstance(made, dict):
        known = inspect.signature(check).parameters
        unknown = [name for name in made if name not in known]
        if unknown or "optimizer" not in made:
            what = f"has {shown(unknown[0])}" if unknown else "has no optimizer"
            raise ValueError(f"the dict of {shown(text)} {what}; its keys may be {', '.join(known)}")
        return dict(made)
    arguments: dict[str, Any] = {}
    for one in made if isinstance(made, tuple) else (made,):
        name = next((name for name, kind in _KINDS.items() if isinstance(one, kind)), None)
        if name is None or name in arguments:
            raise ValueError(
                f"{shown(text)} returned {'several of a kind' if name else f'a {type(one).__name__}'}; it must return "
                "an optimizer, or a tuple of an optimizer, its scheduler and the model, or a dict"
            )
        arguments[name] = one
    if "optimizer" not in arguments:
        raise ValueError(f"{shown(text)} returned no optimizer; it must return one, alone or in a tuple")
    return arguments


_KINDS: dict[str, Any] = {
    "optimizer": torch.optim.Optimizer,
    "scheduler": (LRScheduler, ReduceLROnPlateau, list),
    "model": torch.nn.Module,
}


def in_words(found: list[Finding], steps: int) -> str:
    """The findings as text, with their number.

    >>> in_words([], 100)
    'checked 100 steps: nothing found'
    """
    counts = [(kind, sum(f.severity == kind for f in found)) for kind in ("error", "warning", "note")]
    total = ", ".join(f"{count} {kind}{'s' * (count > 1)}" for kind, count in counts if count)
    lines = [str(finding) + _unless(finding) for finding in found]
    return "\n".join([*lines, f"checked {steps:,} steps: {total or 'nothing found'}"])


def _unless(finding: Finding) -> str:
    return f"\n  False alarm for {finding.false_positives}." if finding.false_positives else ""
