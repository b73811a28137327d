"""Warmups that are too long for the run, and peaks that it never reaches.

False positives: an lr range test rises on purpose until the end. A triangular schedule (cycles, speedruns) may rise for
half of the run on purpose. A schedule whose factor is at most 0.9 on purpose, such as the inverse square root schedule
of the original Transformer with lr = 1; lrs of 0.5 and more are not judged for that reason.
"""

from collections.abc import Iterator

from ..finding import Finding
from ..play import FULL, NEARLY, Played, PlayedGroup

_FACTOR_SCHEDULES = 0.5  # at such lrs the schedule is the lr, and the optimizer's is a factor on it


def outlives_run(run: Played) -> Iterator[Finding]:
    """The warmup has not ended when the run ends."""
    for group in run.groups:
        last = group.omega[-1]
        if group.omega_ramp == run.steps and 0 < last < NEARLY and max(group.omega) == last:
            yield Finding(
                "warmup-outlives-run",
                "error" if last < 0.5 else "warning",
                f"the warmup's factor omega is only {last:.3g} at the last of {run.steps:,} steps",
                "Shorten the warmup, use a smaller beta2 if it depends on beta2, or train for longer.",
                group.indexes,
                (1, run.steps),
                {"steps": run.steps, "omega_at_end": last, "peak_lr": group.peak, "lr": group.base},
                "an lr range test, which rises until the end on purpose",
            )
        elif _still_rising(run, group):
            later = run.beyond(min(max(20 * run.steps, 10_000), 50_000), group.index)
            highest = max(later)
            length = next(t for t, x in enumerate(later, 1) if x >= FULL * highest)
            reached = group.peak / highest
            until = f"; it would end at step {length:,}" if length > run.steps else ""
            yield Finding(
                "warmup-outlives-run",
                "error",
                f"the schedule's warmup is longer than the run of {run.steps:,} steps{until}",
                "Set the warmup's length in optimizer steps, to at most a tenth of the run, or train for longer.",
                group.indexes,
                (1, run.steps),
                {"steps": run.steps, "warmup": length, "peak_lr": group.peak, "share_of_peak": reached},
                "an lr range test, which rises until the end on purpose",
            )


def _still_rising(run: Played, group: PlayedGroup) -> bool:
    """Whether the lr is at its largest in the last step, and rises further when the schedule is stepped again."""
    last = group.lr[-1]
    if run.steps < 3 or last <= group.lr[0] or last < max(group.lr):
        return False
    unit = run.steps_per_epoch if run.interval == "epoch" else None
    return max(run.beyond(unit or 1, group.index)) > last


def large_part_of_run(run: Played) -> Iterator[Finding]:
    """The warmup takes more than half of the run."""
    for group in run.groups:
        ramp = _ramp(group)
        if run.steps / 2 < ramp < run.steps and not _still_rising(run, group):
            yield Finding(
                "warmup-is-most-of-run",
                "warning",
                f"the warmup takes {ramp:,} of {run.steps:,} steps",
                "Shorten the warmup: published recipes use 1 to 10 % of the run.",
                group.indexes,
                (1, ramp),
                {"warmup": ramp, "steps": run.steps, "share": ramp / run.steps},
                "a triangular schedule, which rises for half of the run on purpose",
            )


def _ramp(group: PlayedGroup) -> int:
    return max(group.lr_ramp, group.omega_ramp)


def peak_not_reached(run: Played) -> Iterator[Finding]:
    """No step of the run has the lr that was set, though no warmup is to blame."""
    for group in run.groups:
        largest = max(group.lr)
        share = largest / group.base if group.base else 1.0
        if group.base < _FACTOR_SCHEDULES and share < NEARLY and not _still_rising(run, group):
            if group.taken or any(getattr(s, "last_epoch", 0) > 1 for s in run.schedulers):
                continue  # the peak lies behind
            times = f"{1 / share:.3g} times below" if share else "0 instead of"
            yield Finding(
                "peak-lr-not-reached",
                "error" if share < 0.2 else "warning",
                f"the largest lr of the run is {largest:.3g}, {times} the lr that was set, {group.base:.3g}",
                "Compare the schedule's factor, its milestones and the optimizer's lr: one of them is not meant so.",
                group.indexes,
                (1, run.steps),
                {"peak_lr": largest, "lr": group.base, "share": share},
                "a schedule whose factor is below 1 on purpose",
            )
