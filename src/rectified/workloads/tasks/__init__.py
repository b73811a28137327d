"""The built-in tasks, one file each, and the user's own; a task has data, a model and metrics, but no optimizer."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...messages import shown
from ..data.find import DataNotFoundError
from ..specs import check_length, read_options
from ..user_code import users_code
from .cifar10 import CIFAR10, FASHION_MNIST_RESNET20
from .fashion_mnist import FASHION_MNIST, FASHION_MNIST_MINI
from .imagenet import IMAGENET, TINY_IMAGENET
from .language_model import LANGUAGE_MODEL, LANGUAGE_MODEL_GPT, LANGUAGE_MODEL_PAPER
from .task import BaseTask
from .task_info import TaskInfo
from .translation import TRANSLATION, TRANSLATION_IWSLT, TRANSLATION_WMT
from .user_files import changed_since, is_file_of_a_user, load_task
from .user_task import Task

#: The built-in tasks by name, each with its own options at their defaults.
TASKS: dict[str, BaseTask] = {
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

__all__ = [
    "TASKS",
    "BaseTask",
    "Task",
    "TaskInfo",
    "built_in_task",
    "changed_since",
    "find_data",
    "load_data",
    "load_task",
    "parse_task",
]


def parse_task(text: str, data: Path | None = None) -> BaseTask:
    """Find a task by its name, with options in parentheses, or by the user's file that holds it.

    Args:
        text: the name of a built-in task, such as ``"cifar10(subset=5000)"``; options become part of the task's name.
            Or a file or module that holds a :class:`rectified.study.Task`: see :func:`load_task`.
        data: the folder that a user names; see :func:`built_in_task`.

    Raises:
        ValueError: the name or an option is unknown, or a file has no task; the message lists the alternatives.
        DataNotFoundError: ``data`` holds data in the format of a built-in task, but something is wrong with it.

    >>> parse_task("fashion-mnist(loss_scale=1e3)").name
    'fashion-mnist(loss_scale=1000.0)'
    """
    if is_file_of_a_user(text):
        task = load_task(text)
        if task.name in TASKS:
            raise ValueError(
                f"task {shown(text)} has the name of a built-in task, {task.name!r}; give it another name="
            )
        return task
    return built_in_task(text, data)


def find_data(task: BaseTask, folder: Path | None, say: Callable[[str], None], fetch: bool = True) -> Path:
    """Call the task's ``find``; errors of a user's task become one line.

    Raises:
        ValueError: the user's code raised any error.
        DataNotFoundError: the data is not here and cannot be fetched.
        OSError: a built-in task's data cannot be read, or the disk is full.
    """
    with users_code(f"task {shown(task.name)} does not find its data", _passed(task)):
        return task.find(folder, say, fetch)


def load_data(task: BaseTask, folder: Path) -> Any:
    """Call the task's ``load``; errors of a user's task become one line.

    Raises:
        ValueError, DataNotFoundError, OSError: as :func:`find_data`.
    """
    with users_code(f"task {shown(task.name)} does not load its data", _passed(task)):
        return task.load(folder)


def _passed(task: BaseTask) -> tuple[type[Exception], ...]:
    """The errors that pass through to the caller: those that this package's tasks raise deliberately."""
    if type(task).__module__.startswith("rectified."):
        return DataNotFoundError, OSError, ValueError
    return (DataNotFoundError,)


def built_in_task(text: str, data: Path | None = None) -> BaseTask:
    """Find a built-in task by its name, with options in parentheses, which become part of the task's name.

    Args:
        data: the folder that a user names. For a task that takes any data in its format, an option then identifies it.

    Raises:
        ValueError: the name or an option is unknown; the message lists the alternatives.
        DataNotFoundError: ``data`` holds such data, but something is wrong with it.

    >>> parse_task("fashion-mnist(loss_scale=1e3)").name
    'fashion-mnist(loss_scale=1000.0)'
    """
    task, options = _parsed(text)
    if data is not None:
        options = {**task.options_of(data), **options}
    return _with_options(task, tuple(sorted(options.items()))) if options else task


@lru_cache
def _parsed(text: str) -> tuple[BaseTask, dict[str, Any]]:
    """The registered task, and the options that differ from its defaults."""
    what = f"task {shown(text)}"
    check_length(what, text)
    shape = re.fullmatch(r"([a-z0-9-]+)(?:\((.*)\))?", text.strip())
    if shape is None or shape[1] not in TASKS:
        raise ValueError(f"unknown {what}; use one of {', '.join(TASKS)}, or your own file, such as my_task.py")
    task = TASKS[shape[1]]
    options = read_options(what, shape[2] or "")
    for name, value in options.items():
        if name not in task.options:
            raise ValueError(f"{what} has no option {shown(name)}; it has {', '.join(task.options)}")
        options[name] = _as(getattr(task, name), value, f"{what}: {name}")
    return task, {name: value for name, value in options.items() if value != getattr(task, name)}


@lru_cache
def _with_options(task: BaseTask, options: tuple[tuple[str, Any], ...]) -> BaseTask:
    spec = ",".join(f"{name}={value}" for name, value in options)
    return replace(task, name=f"{task.name}({spec})", title=task.titled(dict(options)), **dict(options))


def _as(default: Any, value: Any, what: str) -> Any:
    """The value in the default's type: a float may be written without a point; other types must match."""
    kind = type(default)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        word = f"a word, such as {default}, its default" if default else "a word"
        kinds = {float: "a number", int: "a whole number", bool: "True or False", str: word}
        raise ValueError(f"{what} is {shown(value)}; it must be {kinds[kind]}")
    return value
