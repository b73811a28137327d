"""Clocks that disagree after a resume: of the scheduler, and of Adam's moments.

False positives: a new phase (fine-tuning with the old moments) restarts the schedule on purpose. A scheduler that is
stepped per epoch is not judged.
"""

from collections.abc import Iterator

from ...optim.wrap.schedule import WarmupLR
from ..finding import Finding
from ..play import Played


def clocks_differ(run: Played) -> Iterator[Finding]:
    """The optimizer and the scheduler have taken different numbers of steps."""
    if run.interval != "step":
        return
    taken = max((group.taken for group in run.groups), default=0)
    for scheduler in run.schedulers:
        calls = getattr(scheduler, "last_epoch", None)
        if not isinstance(calls, int) or isinstance(scheduler, WarmupLR):
            continue
        at = calls // run.scheduler_steps
        name, evidence = type(scheduler).__name__, {"scheduler_step": at, "optimizer_step": taken}
        if taken > 1 and at == 0:
            yield Finding(
                "schedule-restarts",
                "error",
                f"the optimizer has taken {taken:,} steps, but {name} starts at 0: it will warm up and decay again",
                "Load the scheduler's state too, or pass last_epoch.",
                steps=(1, 1),
                evidence=evidence,
                false_positives="a new phase that continues with old moments on purpose",
            )
        elif at > 1 and taken == 0 and _lacks_moments(run):
            yield Finding(
                "moments-missing",
                "error",
                f"{name} continues at step {at:,}, but the optimizer has no moments: Adam restarts without a warmup",
                "Load the optimizer's state too; without it, warm up again.",
                steps=(1, 1),
                evidence=evidence,
            )
        elif at == 1 and taken == 0:
            yield Finding(
                "scheduler-stepped-first",
                "warning",
                f"{name}.step() was called before the optimizer's first step: the first lr of the schedule is skipped",
                "Call scheduler.step() after optimizer.step().",
                steps=(1, 1),
                evidence=evidence,
            )
        elif taken and at and abs(at - taken) > max(1, 0.01 * taken):
            yield Finding(
                "clocks-differ",
                "warning",
                f"{name} has taken {at:,} steps and the optimizer {taken:,}, {at / taken:.3g} per step",
                "One of them counts micro-batches, processes or skipped steps: step both together.",
                evidence={**evidence, "ratio": at / taken},
                false_positives="a scheduler that was added in the middle of a run",
            )


def _lacks_moments(run: Played) -> bool:
    """Whether the optimizer would have moments after a step, but has no state."""
    return any(group.betas is not None for group in run.groups) and not run.optimizer.state
