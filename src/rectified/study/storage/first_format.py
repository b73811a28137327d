"""Folders of the first edition, whose study.json holds runs and commands alone: what it leaves to be found out."""

import shlex
from collections.abc import Iterable, Sequence

from ...workloads.tasks import built_in_task
from ...workloads.tasks.task_info import TaskInfo
from ..config.runs import RunKey


def tasks(runs: Iterable[RunKey]) -> dict[tuple[str, str], TaskInfo]:
    """What this version knows of the runs' tasks, by name and version."""
    sizes: dict[tuple[str, str], list[int]] = {}
    for run in runs:
        sizes.setdefault((run.task, run.version), []).append(run.batch_size)
    return {of: _info(of[0], tuple(dict.fromkeys(each))) for of, each in sizes.items()}


def _info(name: str, batch_sizes: tuple[int, ...]) -> TaskInfo:
    try:
        return TaskInfo.of(built_in_task(name), batch_sizes)
    except ValueError:  # a task that this version does not have any more
        return TaskInfo(name, name, "train_loss", "train loss", larger_is_better=False)


def baseline(commands: Sequence[str]) -> str | None:
    """The baseline that the last of the commands names, if one does.

    >>> baseline(["rectified study x --baseline adam", "rectified study x --seeds 1"])
    'adam'
    """
    for command in reversed(commands):
        words = shlex.split(command)
        for word, following in zip(words, [*words[1:], ""], strict=True):
            if word.startswith("--baseline="):
                return word.removeprefix("--baseline=")
            if word == "--baseline":
                return following
    return None
