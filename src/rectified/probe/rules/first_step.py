"""The first step: an lr of 0, or one that does not belong to the warmup.

False positives: an lr of 0 in the first step wastes one batch, and no more than that. The default schedules of many
libraries do so, so it is a note.
"""

from collections.abc import Iterator

from ..finding import Finding
from ..play import Played


def zero(run: Played) -> Iterator[Finding]:
    """The first step does not move the parameters."""
    for group in run.groups:
        if group.lr[0] == 0 and group.peak and not group.taken:
            count = next(t for t, lr in enumerate(group.lr) if lr > 0)
            yield Finding(
                "first-step-zero",
                "note" if count == 1 else "warning",
                "the first step has lr 0" if count == 1 else f"the first {count:,} steps have lr 0",
                "Let the warmup's factor be (t + 1) / length at step t = 0, 1, ...: Linear(length) does.",
                group.indexes,
                (1, count),
                {"steps_without_effect": count},
                "many libraries' default schedules do so on purpose; it wastes one batch",
            )


def spike(run: Played) -> Iterator[Finding]:
    """The first step has a much larger lr than the second, before a warmup."""
    for group in run.groups:
        if run.steps < 3:
            continue
        first, second = group.effective(1), group.effective(2)
        if second and first > 3 * second and group.peak > 3 * second:
            yield Finding(
                "first-step-spike",
                "error",
                f"the first step has lr {first:.3g}, the second {second:.3g}: the schedule begins after one step",
                "A SequentialLR with a milestone at 0 or 1, or a scheduler that was made after another one had set the "
                "lr, starts late: drop the first scheduler, or call step() once before training.",
                group.indexes,
                (1, 2),
                {"first_lr": first, "second_lr": second, "peak_lr": group.peak},
                "RAdam's momentum start, if lr is read as the size of its steps",
            )
