"""Checking a training configuration without training."""

import operator
from dataclasses import replace
from typing import Any

import torch

from .finding import Finding, Severity
from .play.played import Interval, play
from .rules import RULES

_ORDER: dict[Severity, int] = {"error": 0, "warning": 1, "note": 2}


def check(
    optimizer: Any,
    scheduler: Any = None,
    steps: int = 0,
    *,
    accumulation: int = 1,
    processes: int = 1,
    batches_per_epoch: int | None = None,
    interval: Interval = "step",
    scheduler_steps: int = 1,
    model: torch.nn.Module | None = None,
) -> list[Finding]:
    """Play lr, omega and betas over a whole run on copies, and report what is configured wrong.

    Nothing is trained and nothing is changed: schedulers and warmups are copied and stepped `steps` times, 100,000 in
    about a second. Call it before training, with the optimizer and the scheduler that will train.

    Args:
        optimizer: any torch optimizer, possibly inside a trainer's wrapper.
        scheduler: a torch LRScheduler, a list of them, or a function of the step, from 0, to a factor on the lr.
        steps: the number of optimizer steps of the run, or of what is left of it.
        accumulation: micro-batches per optimizer step.
        processes: processes that train together.
        batches_per_epoch: micro-batches per epoch of one process, for lengths in epochs.
        interval: whether the scheduler is stepped after every optimizer step or after every epoch.
        scheduler_steps: how often it is stepped there; Accelerate steps a prepared one once per process.
        model: to find parameters that no group has.

    Returns:
        Findings, the most severe first. No finding does not mean that the run will train well.

    Raises:
        TypeError: the optimizer or the scheduler is something else.
        ValueError: a number is out of range, or the scheduler cannot be copied.

    >>> p = torch.nn.Parameter(torch.ones(3))
    >>> optimizer = torch.optim.AdamW([p], lr=1e-3)
    >>> scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, total_iters=2000)
    >>> print(check(optimizer, scheduler, steps=80)[0])  # doctest: +ELLIPSIS
    error: the schedule's warmup is longer than the run of 80 steps; it would end at step 2,001 ...
      Set the warmup's length in optimizer steps, to at most a tenth of the run, or train for longer.
    """
    steps = _whole("steps", steps, ": how many optimizer steps the run takes")
    accumulation = _whole("accumulation", accumulation)
    processes = _whole("processes", processes)
    scheduler_steps = _whole("scheduler_steps", scheduler_steps)
    batches_per_epoch = None if batches_per_epoch is None else _whole("batches_per_epoch", batches_per_epoch)
    if interval not in ("step", "epoch"):
        raise ValueError(f"interval is {interval!r}; it must be 'step' or 'epoch'")
    played = play(
        optimizer, scheduler, steps, accumulation, processes, batches_per_epoch, interval, scheduler_steps, model
    )
    found = [finding for rule in RULES for finding in rule(played)]
    return sorted(_merged(found), key=lambda finding: _ORDER[finding.severity])


def _whole(name: str, x: Any, way: str = "") -> int:
    """An argument as an int; numpy's and torch's whole numbers are fine."""
    try:
        number = None if isinstance(x, bool) else operator.index(x)
    except TypeError:
        number = None
    if number is None or number < 1:
        raise ValueError(f"{name} is {x!r}; it must be a whole number, 1 or more{way}")
    return number


def _merged(findings: list[Finding]) -> list[Finding]:
    """Findings that differ only in their groups and evidence as one, with the evidence of the first."""
    found: dict[Any, Finding] = {}
    for one in findings:
        key = (one.rule, one.severity, one.title, one.advice, one.steps)
        first = found.setdefault(key, one)
        if first is not one:
            found[key] = replace(first, groups=tuple(sorted({*first.groups, *one.groups})))
    return list(found.values())
