"""Schedulers that do not fit the optimizer: of another one, for other groups, or with another lr.

False positives: a group that is meant to have no schedule; an lr that is set by hand on purpose, knowing that the next
scheduler step overwrites it.
"""

from collections.abc import Iterator

from ...optim.wrap.compat import unwrapped
from ..finding import Finding
from ..play.own_warmup import number_of
from ..play.played import Played
from ..play.schedule_tree import groups_of


def other_optimizer(run: Played) -> Iterator[Finding]:
    """A scheduler steps another optimizer than the one that trains."""
    for scheduler in run.schedulers:
        own = getattr(scheduler, "optimizer", None)
        if own is not None and unwrapped(own) is not run.optimizer:
            yield Finding(
                "scheduler-of-another-optimizer",
                "error",
                f"{type(scheduler).__name__} belongs to another optimizer than the one that trains",
                "Make the scheduler after the optimizer, from the optimizer that trains.",
                evidence={"scheduler_groups": len(getattr(own, "param_groups", ()))},
            )


def other_groups(run: Played) -> Iterator[Finding]:
    """Groups were added after the scheduler was made."""
    count = len(run.optimizer.param_groups)
    for scheduler in run.schedulers:
        known = groups_of(scheduler)
        if known is not None and known != count:
            yield Finding(
                "groups-without-schedule",
                "error",
                f"{type(scheduler).__name__} was made for {known} parameter groups; the optimizer has {count} now",
                "Make the scheduler after the last add_param_group, or it leaves the new groups out.",
                tuple(range(known, count)),
                evidence={"scheduler_groups": known, "groups": count},
                false_positives="a group that is meant to have no schedule",
            )


def overwritten_lr(run: Played) -> Iterator[Finding]:
    """The lr of a group was changed after the scheduler was made, and the next scheduler step overwrites it."""
    if len(run.schedulers) != 1:
        return  # several schedulers change the lr in turn
    scheduler = run.schedulers[0]
    last = getattr(scheduler, "_last_lr", None)
    if last is None or len(last) != len(run.optimizer.param_groups) or not hasattr(scheduler, "base_lrs"):
        return
    if unwrapped(getattr(scheduler, "optimizer", None)) is not run.optimizer:
        return
    for index, (group, scheduled) in enumerate(zip(run.optimizer.param_groups, last, strict=True)):
        now, then = number_of(group.get("lr")), number_of(scheduled)
        if type(scheduler).__name__ == "WarmupLR" or abs(now - then) <= 1e-6 * max(abs(now), abs(then)):
            continue
        yield Finding(
            "lr-set-after-scheduler",
            "warning",
            f"the lr is {now:.3g}, but {type(scheduler).__name__} has set {then:.3g}: its next step computes its own",
            "Set lr before the scheduler is made, or change scheduler.base_lrs and initial_lr too.",
            (index,),
            evidence={"lr": now, "scheduled": then, "base_lr": number_of(scheduler.base_lrs[index])},
            false_positives="an lr that is set by hand on purpose for one step",
        )
