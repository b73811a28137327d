"""The end of a schedule: steps beyond it, and lrs that rise again.

False positives: cyclic schedules and warm restarts rise again on purpose (a warning). A last phase with lr 0 may be
meant for averaging batch statistics.
"""

from collections.abc import Iterator

from ..finding import Finding
from ..play import Played


def past_its_end(run: Played) -> Iterator[Finding]:
    """The schedule is over before the run: it raises, or leaves lr 0."""
    if run.refusal is not None:
        step, why = run.refusal
        yield Finding(
            "schedule-too-short",
            "error",
            f"the scheduler raises an error at step {step:,} of {run.steps:,}: {' '.join(why.split())[:120]}",
            "Give the scheduler the run's number of optimizer steps.",
            (),
            (step, run.steps),
            {"ends": step - 1, "steps": run.steps},
        )
    for group in run.groups:
        last = next((t for t in range(run.steps, 0, -1) if group.lr[t - 1] > 1e-9 * group.peak), 0)
        wasted = run.steps - last
        if last and run.refusal is None and wasted > max(1, 0.02 * run.steps):
            yield Finding(
                "schedule-too-short",
                "error",
                f"the last {wasted:,} of {run.steps:,} steps have lr 0",
                "Give the scheduler the run's number of optimizer steps, after division by accumulation.",
                group.indexes,
                (last + 1, run.steps),
                {"ends": last, "steps": run.steps, "wasted_share": wasted / run.steps},
                "a last phase without training on purpose, such as for batch statistics",
            )


def rises_again(run: Played) -> Iterator[Finding]:
    """After its decay the lr rises again: a restart without a warmup, or a cosine beyond its half period."""
    for group in run.groups:
        peak_at = max(range(run.steps), key=group.lr.__getitem__)
        lowest, jump, rise = group.lr[peak_at], None, None
        for t in range(peak_at + 1, run.steps):
            lr = group.lr[t]
            if lr < lowest:
                lowest = lr
            elif lowest < 0.3 * group.peak and lr > 3 * lowest and lr > 0.1 * group.peak:
                before = group.lr[t - 1]
                jump, rise = (t + 1, None) if lr > 3 * before else (None, t + 1)
                break
        if jump is not None:
            yield Finding(
                "restart-without-warmup",
                "warning",
                f"the lr jumps from {group.lr[jump - 2]:.3g} to {group.lr[jump - 1]:.3g} at step {jump:,}, unwarmed",
                "A restart changes gradients faster than v follows. Warm up again: optimizer.restart_warmup() of "
                "rectified's optimizers, or a schedule with a short ramp.",
                group.indexes,
                (jump, jump),
                {"before": group.lr[jump - 2], "after": group.lr[jump - 1], "step": jump},
                "warm restarts on purpose",
            )
        elif rise is not None:
            yield Finding(
                "schedule-rises-again",
                "warning",
                f"the lr decays to {lowest:.3g} and rises again, to {group.lr[rise - 1]:.3g} at step {rise:,}",
                "A cosine schedule rises beyond its T_max: set it to the run's number of optimizer steps.",
                group.indexes,
                (rise, run.steps),
                {"lowest": lowest, "step": rise, "last_lr": group.lr[-1]},
                "a cyclic schedule on purpose",
            )
