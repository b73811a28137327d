"""Clocks that disagree after a resume: of the scheduler, and of Adam's moments.

False positives: a new phase (fine-tuning with the old moments) restarts the schedule on purpose. Schedulers that depend
on the run are not judged, nor is a schedule that is constant. The number of steps of an optimizer that does not count
them, such as SGD, is unknown; without momentum it looks after a resume like one that has taken no step.
"""

from collections.abc import Iterator
from typing import Any

from ...optim.wrap.schedule import WarmupLR
from ..finding import Finding
from ..play.curve import is_flat
from ..play.played import Played
from ..play.schedule_tree import clock_of, is_function, needs_a_metric


def clocks_differ(run: Played) -> Iterator[Finding]:
    """The optimizer and the scheduler have taken different numbers of steps."""
    groups = (*run.groups, *run.unsound)
    taken = max((group.taken for group in groups), default=0)
    constant = all(is_flat(group.lr) for group in groups)
    unit = run.steps_per_epoch if run.interval == "epoch" else 1
    for scheduler in run.schedulers:
        calls = 0 if is_function(scheduler) else clock_of(scheduler)
        if calls is None or isinstance(scheduler, WarmupLR) or needs_a_metric(scheduler):
            continue
        at = calls // run.scheduler_steps
        yield from _compared(run, scheduler, at, taken, unit or 1, constant)


def _compared(run: Played, scheduler: Any, at: int, taken: int, unit: int, constant: bool) -> Iterator[Finding]:
    """What the two clocks show; the scheduler's counts steps of `unit` optimizer steps."""
    name, evidence = type(scheduler).__name__, {"scheduler_step": at, "optimizer_step": taken}
    if taken > 1 and taken >= unit and at == 0:
        if not constant:
            yield _restarts(is_function(scheduler), name, taken, evidence)
    elif at > 1 and not run.optimizer.state and _has_moments(run):
        yield Finding(
            "moments-missing",
            "error",
            f"{name} continues at step {at:,}, but the optimizer has no moments: Adam restarts without a warmup",
            "Load the optimizer's state too; without it, warm up again.",
            steps=(1, 1),
            evidence=evidence,
        )
    elif at == 1 and taken == 0 and not run.optimizer.state:
        yield Finding(
            "scheduler-stepped-first",
            "warning",
            f"{name}.step() was called before the optimizer's first step: the first lr of the schedule is skipped",
            "Call scheduler.step() after optimizer.step().",
            steps=(1, 1),
            evidence=evidence,
            false_positives="a resume after one step of an optimizer without state, such as SGD without momentum",
        )
    elif unit == 1 and taken and at and abs(at - taken) > max(1, 0.01 * taken):
        yield Finding(
            "clocks-differ",
            "warning",
            f"{name} has taken {at:,} steps and the optimizer {taken:,}, {at / taken:.3g} per step",
            "One of them counts micro-batches, processes or skipped steps: step both together.",
            evidence={**evidence, "ratio": at / taken},
            false_positives="a scheduler that was added in the middle of a run",
        )


def _restarts(function: bool, name: str, taken: int, evidence: dict[str, int]) -> Finding:
    """A schedule that begins again though the optimizer continues; a function may be called with any step."""
    advice = "Load the scheduler's state too, or pass last_epoch."
    if function:
        name, advice = "the function", f"If training calls it with the whole run's step, pass lambda t: f(t + {taken})."
    return Finding(
        "schedule-restarts",
        "warning" if function else "error",
        f"the optimizer has taken {taken:,} steps, but {name} starts at 0: the schedule begins again",
        advice,
        steps=(1, 1),
        evidence=evidence,
        false_positives="a new phase that continues with old moments on purpose",
    )


def _has_moments(run: Played) -> bool:
    """Whether the optimizer has moments after a step."""
    return any(group.betas is not None for group in (*run.groups, *run.unsound))
