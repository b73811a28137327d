"""The first step: an lr of 0, or one that does not belong to the warmup.

False positives: an lr of 0 in the first step wastes one batch, and no more than that. The default schedules of many
libraries do so, so it is a note.
"""

from collections.abc import Iterator

from ..finding import Finding
from ..play.curve import as_tensor, first
from ..play.played import Played


def zero(run: Played) -> Iterator[Finding]:
    """The first step does not move the parameters."""
    for group in run.shapes:
        if group.lr[0] == 0 and group.peak and not group.taken:
            count = first(as_tensor(group.lr) > 0) or 1
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
    for group in run.shapes:
        if run.steps < 3:
            continue
        first_lr, second, later = group.effective(1), group.effective(2), float(group.curve[2:].max())
        if second and first_lr > 3 * second and later > 3 * second:
            yield Finding(
                "first-step-spike",
                "error",
                f"the first step has lr {first_lr:.3g}, the second {second:.3g}: the schedule begins after one step",
                "A SequentialLR with a milestone at 0 or 1, or a scheduler that was made after another one had set the "
                "lr, starts late: drop the first scheduler, or call step() once before training.",
                group.indexes,
                (1, 2),
                {"first_lr": first_lr, "second_lr": second, "peak_lr": later},
                "RAdam's momentum start, if lr is read as the size of its steps",
            )
