"""The tasks: one file each. A task knows its data, its model and its measure, and nothing of optimizers."""

import re
from dataclasses import replace
from functools import lru_cache

from ..options import read_options
from .fashion_mnist import FASHION_MNIST, FASHION_MNIST_MINI
from .task import Task

TASKS: dict[str, Task] = {task.name: task for task in (FASHION_MNIST, FASHION_MNIST_MINI)}

__all__ = ["TASKS", "Task", "parse_task"]


@lru_cache
def parse_task(text: str) -> Task:
    """The task of that name, with options in parentheses if it has some; its own name then holds them.

    Raises:
        ValueError: an unknown name, or an option that the task does not have; says what there is.

    >>> parse_task("fashion-mnist(loss_scale=1e3)").name
    'fashion-mnist(loss_scale=1000.0)'
    """
    shape = re.fullmatch(r"([a-z0-9-]+)(?:\((.*)\))?", text.strip())
    if shape is None or shape[1] not in TASKS:
        raise ValueError(f"unknown task {text!r}; there are {', '.join(TASKS)}")
    task = TASKS[shape[1]]
    options = read_options(f"task {text!r}", shape[2] or "")
    for name, value in options.items():
        if name not in task.options:
            raise ValueError(f"task {text!r} has no option {name!r}; it has {', '.join(task.options)}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"task {text!r}: {name} is {value!r}; it must be a number")
    options = {name: float(value) for name, value in sorted(options.items()) if value != getattr(task, name)}
    if not options:
        return task
    told = ", ".join(f"{name} {value:g}".replace("_", " ") for name, value in options.items())
    spec = ",".join(f"{name}={value!r}" for name, value in options.items())
    return replace(task, name=f"{task.name}({spec})", title=f"{task.title}, {told}", **options)
