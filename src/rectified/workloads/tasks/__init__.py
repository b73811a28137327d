"""The tasks: one file each. A task knows its data, its model and its measure, and nothing of optimizers."""

import re
from dataclasses import replace
from functools import lru_cache
from typing import Any

from ..specs import read_options
from .cifar10 import CIFAR10, FASHION_MNIST_RESNET20
from .fashion_mnist import FASHION_MNIST, FASHION_MNIST_MINI
from .imagenet import IMAGENET, TINY_IMAGENET
from .language_model import LANGUAGE_MODEL, LANGUAGE_MODEL_GPT, LANGUAGE_MODEL_PAPER
from .task import Task
from .translation import TRANSLATION, TRANSLATION_IWSLT, TRANSLATION_WMT

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        FASHION_MNIST,
        FASHION_MNIST_MINI,
        FASHION_MNIST_RESNET20,
        CIFAR10,
        IMAGENET,
        TINY_IMAGENET,
        TRANSLATION,
        TRANSLATION_IWSLT,
        TRANSLATION_WMT,
        LANGUAGE_MODEL,
        LANGUAGE_MODEL_GPT,
        LANGUAGE_MODEL_PAPER,
    )
}

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
        options[name] = _as(type(getattr(task, name)), value, f"task {text!r}: {name}")
    options = {name: value for name, value in sorted(options.items()) if value != getattr(task, name)}
    if not options:
        return task
    spec = ",".join(f"{name}={value}" for name, value in options.items())
    told = ", ".join(_told(name, value) for name, value in options.items())
    return replace(task, name=f"{task.name}({spec})", title=f"{task.title}, {told}", **options)


def _as(kind: type, value: Any, what: str) -> Any:
    """The value as the option has it: a number may be written without a point; nothing else is of another type."""
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        kinds = {float: "a number", int: "a whole number", bool: "True or False", str: "a word"}
        raise ValueError(f"{what} is {value!r}; it must be {kinds[kind]}")
    return value


def _told(name: str, value: Any) -> str:
    """For a title.

    >>> _told("loss_scale", 1000.0), _told("bleu", True), _told("norm", "pre")
    ('loss scale 1000', 'bleu', 'norm pre')
    """
    words = name.replace("_", " ")
    if isinstance(value, bool):
        return words if value else f"no {words}"
    return f"{words} {value:g}" if isinstance(value, float) else f"{words} {value}"
