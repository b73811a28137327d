"""The end of a schedule: steps beyond it, and lrs that rise again.

False positives: cyclic schedules and warm restarts rise again on purpose (a warning). A last phase with lr 0 may be
meant for averaging batch statistics.
"""

from collections.abc import Iterator

import torch

from ..finding import Finding
from ..play.curve import SAME, as_tensor, first, first_at_peak
from ..play.played import Played, PlayedGroup

_LOW = 0.3  # of the peak: a rise from there is a rise after a decay
_RISE = 0.005  # of the peak: a cosine that goes on for 3 % more steps than its T_max stays below it
_JUMP = 0.1  # of the peak, in one step


def past_its_end(run: Played) -> Iterator[Finding]:
    """The schedule is over before the run: it raises, or leaves lr 0."""
    if run.refusal is not None:
        step, why = run.refusal
        when = f"at step {step:,} of {run.steps:,}" if step <= run.steps else f"after the last of {run.steps:,} steps"
        yield Finding(
            "schedule-too-short",
            "error",
            f"the scheduler raises an error {when}: {' '.join(why.split())[:120]}",
            "Give the scheduler the run's number of optimizer steps.",
            (),
            (min(step, run.steps), run.steps),
            {"ends": step - 1, "steps": run.steps},
        )
    for group in run.shapes:
        positive = as_tensor(group.lr) > 1e-9 * group.peak
        last = int(positive.nonzero()[-1]) + 1 if positive.any() else 0
        wasted = run.steps - last
        lr = "lr 0" if not group.lr[-1] else "less than a billionth of the peak lr"
        if last and run.refusal is None and wasted > max(1, 0.02 * run.steps):
            yield Finding(
                "schedule-too-short",
                "error",
                f"the last {wasted:,} of {run.steps:,} steps have {lr}",
                "Give the scheduler the run's number of optimizer steps, after division by accumulation.",
                group.indexes,
                (last + 1, run.steps),
                {"ends": last, "steps": run.steps, "wasted_share": wasted / run.steps},
                "a last phase without training on purpose, such as for batch statistics",
            )


def rises_again(run: Played) -> Iterator[Finding]:
    """After its decay the lr rises again: a restart without a warmup, or a cosine beyond its half period."""
    for group in run.shapes:
        found = _rise(group)
        if found is None:
            continue
        low, high = found
        lowest, before, after = group.lr[low], group.lr[high - 1], group.lr[high]
        if after > 3 * before and after - before > _JUMP * group.largest_lr:
            yield Finding(
                "restart-without-warmup",
                "warning",
                f"the lr jumps from {before:.3g} to {after:.3g} at step {high + 1:,}, unwarmed",
                "A restart changes gradients faster than v follows. Warm up again: optimizer.restart_warmup() of "
                "rectified's optimizers, or a schedule with a short ramp.",
                group.indexes,
                (high + 1, high + 1),
                {"before": before, "after": after, "step": high + 1},
                "warm restarts on purpose",
            )
        else:
            again = max(group.lr[low:])
            yield Finding(
                "schedule-rises-again",
                "warning",
                f"the lr decays to {lowest:.3g} and rises again from step {low + 2:,} on, to {again:.3g}",
                "A cosine schedule rises beyond its T_max: set it to the run's number of optimizer steps.",
                group.indexes,
                (low + 2, run.steps),
                {"lowest": lowest, "step": low + 2, "highest": again, "last_lr": group.lr[-1]},
                "a cyclic schedule on purpose",
            )


def _rise(group: PlayedGroup) -> tuple[int, int] | None:
    """The indexes of the first low point after the peak from which the lr rises, and of a step that shows it."""
    begin, peak = first_at_peak(group.lr), group.largest_lr
    tail = as_tensor(group.lr)[begin:]
    lowest = tail.cummin(0).values
    high = first((lowest < _LOW * peak) & (tail > 3 * lowest) & (tail > lowest + _RISE * peak))
    if high is None:
        return None
    low = int(torch.nonzero(tail[:high] <= lowest[high] + SAME * lowest[high])[-1])
    return begin + low, begin + high
