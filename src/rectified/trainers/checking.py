"""Checks at the start of a training: what the trainers' callbacks share."""

import logging
import math
from collections.abc import Callable, Iterable, Sized
from typing import Any, get_args

from ..optim.wrap.compat import unwrapped
from ..probe import Finding, check
from ..probe.finding import Severity, at_least

logger = logging.getLogger("rectified.check")

_LEVELS: dict[Severity, int] = {"error": logging.ERROR, "warning": logging.WARNING, "note": logging.INFO}

# Their param_groups are not the ones that are stepped: an engine, or a hook on each parameter, keeps those.
_OPAQUE = {"DeepSpeedOptimizerWrapper", "MegatronLMOptimizerWrapper", "LayerWiseDummyOptimizer"}


def as_severity(fail_on: Severity | None) -> Severity | None:
    """Return `fail_on` if it is a severity or None.

    >>> as_severity("fatal")
    Traceback (most recent call last):
    ValueError: fail_on is 'fatal'; it must be one of 'error', 'warning', 'note', or None, which never stops a training
    """
    if fail_on is not None and fail_on not in get_args(Severity):
        allowed = ", ".join(map(repr, get_args(Severity)))
        raise ValueError(f"fail_on is {fail_on!r}; it must be one of {allowed}, or None, which never stops a training")
    return fail_on


def findings_of(optimizer: Any, scheduler: Any, steps: int, *, first: bool, **known: Any) -> list[Finding]:
    """What :func:`rectified.check` finds in a training that starts; nothing, and a line in the log, if it cannot look.

    A training that :func:`rectified.check` does not understand may be a good one, so it must not end here.

    Args:
        steps: the optimizer steps that are left; with none left there is nothing to find.
        first: whether this is the first process, which writes the log.
        known: more arguments of :func:`rectified.check`.
    """
    if steps < 1:
        return []
    if hidden := hidden_by(optimizer):
        return unchecked(hidden, first=first)
    try:
        return check(optimizer, scheduler, steps, **known)
    except (TypeError, ValueError) as error:
        return unchecked(str(error), first=first)


def hidden_by(optimizer: Any) -> str | None:
    """Why an optimizer's parameter groups are not the ones that are stepped; None if they are."""
    kinds = {type(optimizer).__name__, type(unwrapped(optimizer)).__name__} & _OPAQUE
    return f"{kinds.pop()} hides the parameter groups that are stepped" if kinds else None


def unchecked(why: str, *, first: bool) -> list[Finding]:
    """Log that a training is not checked; returns no findings."""
    if first:
        logger.warning("the training's configuration is not checked: %s", why)
    return []


def report(findings: Iterable[Finding], *, first: bool, fail_on: Severity | None) -> None:
    """Log findings, and raise if one is severe enough.

    Args:
        first: whether this is the first process, which writes the log. All processes raise.
        fail_on: the least severity that raises; None never raises.

    Raises:
        ValueError: a finding is at least that severe.

    >>> found = [Finding("two-warmups", "error", "both warm up", "Keep one.")]
    >>> report(found, first=False, fail_on="error")
    Traceback (most recent call last):
    ValueError: the check of the training's configuration found:
    error: both warm up [two-warmups]
      Keep one.
    Correct this, or pass fail_on=None to train nevertheless.
    """
    findings = list(findings)
    for finding in findings if first else []:
        logger.log(_LEVELS[finding.severity], "%s", finding)
    if fail_on is not None and (severe := at_least(fail_on, findings)):
        raise ValueError(
            "the check of the training's configuration found:\n"
            + "\n".join(map(str, severe))
            + "\nCorrect this, or pass fail_on=None to train nevertheless."
        )


def whole_steps(batches: float | None, accumulation: int) -> int | None:
    """Micro-batches per epoch, rounded up to whole optimizer steps, as trainers do; None if their number is unknown.

    The last optimizer step of an epoch accumulates the micro-batches that are left.

    >>> whole_steps(10, 4), whole_steps(8, 4), whole_steps(math.inf, 4)
    (12, 8, None)
    """
    if batches is None or not math.isfinite(batches) or batches < 1:
        return None
    return math.ceil(batches / accumulation) * accumulation


def batches_of(loader: Any) -> int | None:
    """The length of a data loader; None if it has none.

    >>> batches_of([1, 2]), batches_of(iter([1, 2]))
    (2, None)
    """
    try:
        return len(loader) if isinstance(loader, Sized) else None
    except (TypeError, NotImplementedError):  # a loader of an iterable data set has __len__, which raises
        return None


class Paced:
    """A scheduler that is stepped at some calls of step() only, for :func:`rectified.check` to play.

    Args:
        due: whether call t, from 1, steps the scheduler.
    """

    def __init__(self, inner: Any, due: Callable[[int], bool]) -> None:
        self.inner, self.due, self.calls = inner, due, 0
        self.optimizer = inner.optimizer
        # The check looks for these before it copies a scheduler.
        self.base_lrs = getattr(inner, "base_lrs", None)
        self.lr_lambdas = getattr(inner, "lr_lambdas", ())

    def step(self) -> None:
        """Step the scheduler if this call is due."""
        self.calls += 1
        if self.due(self.calls):
            self.inner.step()
