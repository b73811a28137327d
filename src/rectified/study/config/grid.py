"""From what is asked for, as a flag's or a file's text, to its plans; a refusal begins with the flag at fault."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ...workloads.specs import split
from ...workloads.tasks import Task, parse_task
from .methods import parse_list
from .runs import Plan, once

Number = TypeVar("Number", int, float)
Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class Grid:
    """Tasks by batch sizes by methods by lrs by seeds, as texts with commas; None is the task's own.

    Attributes:
        vary: such as ``("beta2=0.9,0.999",)``: each method with each of these values, and all combinations of several.
    """

    tasks: str
    methods: str | None = None
    lrs: str | None = None
    seeds: str | None = None
    epochs: int | None = None
    batch_sizes: str | None = None
    vary: tuple[str, ...] = ()

    def plans(self) -> list[Plan]:
        """One for each task and batch size.

        Raises:
            ValueError: something is unknown, empty, out of its range or there twice; begins with the flag at fault.

        >>> [(plan.task, plan.batch_size) for plan in Grid("fashion-mnist-mini", batch_sizes="50,100").plans()]
        [('fashion-mnist-mini', 50), ('fashion-mnist-mini', 100)]
        """
        tasks = [_checked("TASK", parse_task, name) for name in split(self.tasks)]
        once("TASK", [task.name for task in tasks])
        return [plan for task in tasks for plan in self._of(task)]

    def _of(self, task: Task) -> Iterator[Plan]:
        methods = _checked("--methods", parse_list, task.methods if self.methods is None else self.methods)
        if self.vary:
            names = _varied([method.name for method in methods], self.vary)
            methods = _checked("--vary", parse_list, ",".join(names))
        sizes = (task.batch_size,) if self.batch_sizes is None else _numbers("--batch-sizes", self.batch_sizes, int)
        once("--batch-sizes", sizes)
        for size in sizes:
            yield Plan(
                task=task.name,
                methods=methods,
                lrs=task.lrs if self.lrs is None else _numbers("--lrs", self.lrs, float),
                seeds=task.seeds if self.seeds is None else _numbers("--seeds", self.seeds, int),
                epochs=task.epochs if self.epochs is None else self.epochs,
                batch_size=size,
            )


def _varied(methods: Sequence[str], vary: Sequence[str]) -> Iterator[str]:
    """Each method's name with each combination of the options.

    >>> list(_varied(["adam", "radam(eps=1e-6)"], ["beta2=0.9,0.99"]))
    ['adam(beta2=0.9)', 'adam(beta2=0.99)', 'radam(eps=1e-6,beta2=0.9)', 'radam(eps=1e-6,beta2=0.99)']
    """
    axes = []
    for text in vary:
        name, sign, values = text.partition("=")
        if not sign or not name.strip().isidentifier() or not split(values):
            raise ValueError(f"--vary holds {text!r}; write such as beta2=0.9,0.999")
        once("--vary", split(values))
        axes.append([f"{name.strip()}={value}" for value in split(values)])
    for method in methods:
        for options in itertools.product(*axes):
            kept = f"{method[:-1]}," if method.endswith(")") else f"{method}("
            yield kept + ",".join(options) + ")"


def _checked(flag: str, parse: Callable[[str], Parsed], text: str) -> Parsed:
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"{flag} is refused: {error}") from None


def _numbers(flag: str, text: str, kind: type[Number]) -> tuple[Number, ...]:
    try:
        return tuple(kind(part) for part in split(text))
    except ValueError:
        what = "whole numbers" if kind is int else "numbers"
        raise ValueError(f"{flag} is {text!r}; write {what} with commas between them") from None
