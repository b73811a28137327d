"""Accelerate: check what `accelerator.prepare` returned, before the loop starts."""

from typing import Any

import torch

from ..probe import Finding, check
from ..probe.finding import Severity
from ..probe.play.played import Interval
from .checking import as_severity, hidden_by, report, unchecked, whole_steps


def check_prepared(
    accelerator: Any,
    optimizer: Any,
    scheduler: Any = None,
    steps: int = 0,
    *,
    batches_per_epoch: int | None = None,
    interval: Interval = "step",
    model: torch.nn.Module | None = None,
    fail_on: Severity | None = None,
) -> list[Finding]:
    """Check a configuration after ``accelerator.prepare``, with what the accelerator knows.

    It reads the number of processes and of micro-batches per optimizer step from the accelerator, and from a prepared
    scheduler how often Accelerate steps it: once per process, unless ``split_batches`` is set. The first process logs
    the findings, errors and warnings as such and notes as information, to the logger ``rectified.check``.

    Args:
        accelerator: the Accelerator.
        optimizer: as ``prepare`` returned it.
        scheduler: as ``prepare`` returned it, or a list of those. One that was not prepared, or that was prepared with
            ``step_scheduler_with_optimizer=False``, is taken to be stepped once per interval.
        steps: the number of optimizer steps of the run, or of what is left of it.
        batches_per_epoch: micro-batches per epoch of one process: ``len(loader)`` of a prepared loader.
        interval: whether your loop steps the scheduler after every optimizer step or after every epoch.
        model: to find parameters that no group has.
        fail_on: the least severity, ``"error"``, ``"warning"`` or ``"note"``, that raises an error.

    Returns:
        The findings of :func:`rectified.check`. None with DeepSpeed or Megatron-LM, whose engines hide what they step.

    Raises:
        TypeError: the optimizer or the scheduler is something else.
        ValueError: a finding is as severe as `fail_on`, a number is out of range, or the schedulers of a list are
            stepped differently often.
    """
    as_severity(fail_on)
    first = accelerator.is_main_process
    if hidden := hidden_by(optimizer):
        return unchecked(hidden, first=first)
    accumulation, processes = accelerator.gradient_accumulation_steps, accelerator.num_processes
    repeats = {
        _repeats(one, processes) for one in (scheduler if isinstance(scheduler, list | tuple) else [scheduler])
    } or {1}
    if len(repeats) > 1:
        raise ValueError(
            f"the schedulers are stepped {' and '.join(map(str, sorted(repeats)))} times per optimizer step; prepare "
            "all of them or none"
        )
    found = check(
        optimizer,
        scheduler,
        steps,
        accumulation=accumulation,
        processes=processes,
        batches_per_epoch=whole_steps(batches_per_epoch, accumulation),
        interval=interval,
        scheduler_steps=repeats.pop(),
        model=model,
    )
    report(found, first=first, fail_on=fail_on)
    return found


def _repeats(scheduler: Any, processes: int) -> int:
    """The number of steps that a scheduler takes when the loop steps it once, as in AcceleratedScheduler.step."""
    with_optimizer = getattr(scheduler, "step_with_optimizer", False)  # only AcceleratedScheduler has it
    return processes if with_optimizer and not scheduler.split_batches else 1
