"""Reading folders of earlier versions, whose study.json lacks information.

In the first version it holds only runs and commands; later versions added tasks, at first without their chance level.
"""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ...workloads.tasks import built_in_task
from ...workloads.tasks.task_info import TaskInfo
from ..config.runs import RunKey


def tasks(runs: Iterable[RunKey]) -> dict[tuple[str, str], TaskInfo]:
    """Descriptions of the runs' tasks, by name and version, from what this version knows."""
    sizes: dict[tuple[str, str], list[int]] = {}
    for run in runs:
        sizes.setdefault((run.task, run.version), []).append(run.batch_size)
    return {of: _info(of[0], tuple(dict.fromkeys(each))) for of, each in sizes.items()}


def _info(name: str, batch_sizes: tuple[int, ...]) -> TaskInfo:
    try:
        info = TaskInfo.of(built_in_task(name), batch_sizes)
        # At that time runs were compared by the metric that chose lrs, and most measured nothing else.
        return replace(info, compared=info.chosen_by, chosen_by=None) if info.chosen_by else info
    except ValueError:  # a task that this version does not have any more
        return TaskInfo(name, name, "train_loss", "train loss", larger_is_better=False)


def with_chance(info: TaskInfo) -> TaskInfo:
    """The task with the chance level of the built-in task of that name, if both are compared by the same metric."""
    if info.version:  # a user's
        return info
    try:
        known = TaskInfo.of(built_in_task(info.name), ())
    except Exception:  # whatever a name that this version cannot read makes of it: then it is unknown
        return info
    alike = (known.comparison[0], *(known.chosen_by or ())[:1])  # the same measure, on whichever split
    return replace(info, chance=known.chance) if info.comparison[0] in alike else info


def baseline(commands: Sequence[str]) -> str | None:
    """The baseline in the last command that names one, if any.

    >>> baseline(["rectified study x --baseline adam", "rectified study x --seeds 1"])
    'adam'
    """
    for command in reversed(commands):
        try:
            words = shlex.split(command)
        except ValueError:  # a quotation that does not close: nobody has called it so
            continue
        for word, following in zip(words, [*words[1:], ""], strict=True):
            if word.startswith("--baseline="):
                return word.removeprefix("--baseline=")
            if word == "--baseline":
                return following
    return None
