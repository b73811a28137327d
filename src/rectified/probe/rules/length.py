"""Warmups that are too long for the run, and peaks that it never reaches.

False positives: an lr range test rises on purpose until the end. A triangular schedule (cycles, speedruns) may rise for
half of the run on purpose. A schedule whose factor is at most 0.9 on purpose, such as the inverse square root schedule
of the original Transformer with lr = 1; lrs of 0.5 and more are not judged for that reason.
"""

from collections.abc import Iterator

from ..finding import Finding
from ..play.curve import NEARLY, SAME, first_at_peak
from ..play.own_warmup import rectification_of
from ..play.played import Played, PlayedGroup
from ..play.schedule_tree import clock_of

_FACTOR_SCHEDULES = 0.5  # at such lrs the schedule is the lr, and the optimizer's is a factor on it


def outlives_run(run: Played) -> Iterator[Finding]:
    """The warmup has not ended when the run ends."""
    for group in run.shapes:
        if group.omega_length >= run.steps and group.omega[-1] and group.omega[-1] < 1 - SAME:
            yield _omega_outlives(run, group)
        elif _still_rising(run, group):
            yield _schedule_outlives(run, group)


def _omega_outlives(run: Played, group: PlayedGroup) -> Finding:
    last, rectified = group.omega[-1], rectification_of(run.optimizer, group.options) is not None
    return Finding(
        "warmup-outlives-run",
        "error" if last < 0.5 else "warning",
        f"the warmup's factor omega is only {last:.3g} at the last of {run.steps:,} steps",
        "Train for longer, use a smaller beta2, on which the length depends, or Adam with a Linear warmup."
        if rectified
        else "Shorten the warmup, use a smaller beta2 if it depends on beta2, or train for longer.",
        group.indexes,
        (1, run.steps),
        {"steps": run.steps, "omega_at_end": last, "peak_lr": group.peak, "lr": group.base},
        "an lr range test, which rises until the end on purpose",
    )


def _schedule_outlives(run: Played, group: PlayedGroup) -> Finding:
    later = run.beyond(min(max(20 * run.steps, 10_000), 50_000), group.index)
    end, highest = first_at_peak(later) + 1, max(later)
    rises = highest > later[-2] and end >= len(later) - 1
    when = f"later than step {len(later):,}" if rises else f"at step {end:,}"
    return Finding(
        "warmup-outlives-run",
        "error",
        f"the schedule's warmup is longer than the run of {run.steps:,} steps"
        + (f"; it would end {when}" if end > run.steps else ""),
        "Set the warmup's length in optimizer steps, to at most a tenth of the run, or train for longer.",
        group.indexes,
        (1, run.steps),
        {"steps": run.steps, "warmup": end, "peak_lr": group.peak, "share_of_peak": group.peak / highest},
        "an lr range test, which rises until the end on purpose",
    )


def _still_rising(run: Played, group: PlayedGroup) -> bool:
    """Whether the lr is at its largest in the last step, and rises further when the schedule is stepped again."""
    last = group.lr[-1]
    if run.steps < 3 or last <= group.lr[0] or last < group.largest_lr:
        return False
    unit = run.steps_per_epoch if run.interval == "epoch" else None
    return max(run.beyond(unit or 1, group.index)) > last


def large_part_of_run(run: Played) -> Iterator[Finding]:
    """The warmup takes more than half of the run."""
    for group in run.shapes:
        ramp = group.warmup
        if run.steps / 2 < ramp < run.steps and not _still_rising(run, group):
            yield Finding(
                "warmup-is-most-of-run",
                "warning",
                f"the warmup takes {ramp:,} of {run.steps:,} steps",
                "Shorten the warmup, or use a smaller beta2 if it depends on beta2: published recipes use 1 to 10 % of "
                "the run.",
                group.indexes,
                (1, ramp),
                {"warmup": ramp, "steps": run.steps, "share": ramp / run.steps},
                "a triangular schedule, which rises for half of the run on purpose",
            )


def peak_not_reached(run: Played) -> Iterator[Finding]:
    """No step of the run has the lr that was set, though no warmup is to blame."""
    if run.is_incomplete:
        return
    low = [group for group in run.shapes if _share(group) < NEARLY and group.base < _FACTOR_SCHEDULES]
    low = [group for group in low if not _still_rising(run, group) and not _lies_behind(run, group)]
    others_reach = any(_share(group) >= NEARLY and group.largest_lr for group in run.shapes)
    if others_reach and low:
        yield _below_others(run, low)
    for group in () if others_reach else low:
        share = _share(group)
        times = f"{1 / share:.3g} times below" if share else "0 instead of"
        yield Finding(
            "peak-lr-not-reached",
            "error" if share < 0.2 else "warning",
            f"the largest lr of the run is {group.largest_lr:.3g}, {times} the lr that was set, {group.base:.3g}",
            "Compare the schedule's factor, its milestones and the optimizer's lr: one of them is not meant so.",
            group.indexes,
            (1, run.steps),
            {"peak_lr": group.largest_lr, "lr": group.base, "share": share},
            "a schedule whose factor is below 1 on purpose",
        )


def _share(group: PlayedGroup) -> float:
    """The largest lr of the run as a share of the lr that was set."""
    return group.largest_lr / group.base if group.base else 1.0


def _lies_behind(run: Played, group: PlayedGroup) -> bool:
    """Whether the run continues, so that the peak may lie behind."""
    return bool(group.taken) or any((clock_of(scheduler) or 0) > 1 for scheduler in run.schedulers)


def _below_others(run: Played, low: list[PlayedGroup]) -> Finding:
    """One note for all groups that stay below their lr while others reach theirs, as with layer-wise decay."""
    indexes = tuple(sorted(index for group in low for index in group.indexes))
    least = min(map(_share, low))
    return Finding(
        "peak-lr-not-reached",
        "note",
        f"{len(indexes)} group{'s stay' if len(indexes) > 1 else ' stays'} below the lr that was set, down to "
        f"{least:.3g} of it, while others reach theirs",
        "Fine if these groups are frozen, or meant to have a smaller lr; otherwise compare their lambdas.",
        indexes,
        (1, run.steps),
        {"share": least, "groups": len(indexes)},
        "layer-wise lrs, gradual unfreezing",
    )
