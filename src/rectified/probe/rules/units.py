"""Lengths in another unit than the scheduler's steps: micro-batches, processes, epochs.

A schedule's end is the step at which its lr is first lowest, unless it falls further. The rules compare it with the
run's length in every unit. An end in the wrong unit is an error if the lr is nearly 0 from there on, and a warning if
it stays useful.

False positives: a schedule that is meant to go on in a later run may end, by coincidence, at a multiple of this one.
Milestones show less than a smooth decay: they are reported where no step of the run has reached one, though all lie
inside of the run in another unit. Constant schedules with a warmup have no end, so only a very short warmup can be seen
in them, as a warning. A schedule that goes on for more than 300,000 steps is seen only if any of its steps can be
computed by itself, as those of LambdaLR and of functions.
"""

from collections.abc import Iterator

from ..finding import Finding, Severity
from ..play.curve import NEARLY, Decay, decay_of
from ..play.played import Played, PlayedGroup

_CLOSE = 0.03  # an end may miss its place by that share: rounding of batches, and a cosine that is 0 a little early
_LOW = 0.2  # of the peak: the lr has decayed
_USELESS = 0.02  # of the peak


def _is_close(a: float, b: float) -> bool:
    return abs(a - b) <= max(1.5, _CLOSE * b)


def _is_smooth(decay: Decay) -> bool:
    return decay.end > 0 and decay.left < _LOW and not decay.by_milestones


def _is_stepwise(decay: Decay) -> bool:
    return decay.end > 0 and decay.left < _LOW and decay.by_milestones


def _is_constant(group: PlayedGroup) -> bool:
    """Whether the lr has not decayed at the end of the run."""
    return group.lr[-1] >= NEARLY * group.largest_lr > 0


def in_micro_batches(run: Played) -> Iterator[Finding]:
    """The schedule is as long as the run in micro-batches or in steps of single processes."""
    factors = {
        "micro-batches": run.accumulation,
        "steps of single processes": run.processes,
        "micro-batches of single processes": run.accumulation * run.processes,
    }
    if run.interval != "step" or max(factors.values()) == 1 or run.steps < 3:
        return
    for group in run.shapes:
        for unit, factor in factors.items():
            found = _counted_in(run, group, unit, factor) if factor > 1 else None
            if found is not None:
                yield found
                return


def _counted_in(run: Played, group: PlayedGroup, unit: str, factor: int) -> Finding | None:
    """The finding that a schedule has its lengths in this unit; each optimizer step takes `factor` such units."""
    own = decay_of(group.lr)
    if _is_smooth(own) and not own.restarts and _is_close(own.end, run.steps / factor):
        title = f"the schedule ends at step {own.end:,}: the run has {run.steps:,} steps, and {factor} {unit} for each"
        return _other_units(run, title, own, factor, "error" if own.after < _USELESS else "warning")
    if own.end or _decay_in(run, group, (1 + _CLOSE) * run.steps + 3).end:
        return None
    later = _decay_in(run, group, (1 + 2 * _CLOSE) * factor * run.steps + 3)
    length = f"{factor * run.steps:,} steps, the {unit} of the run, which has {run.steps:,} steps"
    if _is_smooth(later) and _is_close(later.end, factor * run.steps):
        return _other_units(run, f"the schedule takes {length}", later, factor, "error")
    if _is_stepwise(later) and _is_constant(group) and later.end <= factor * run.steps:
        return _other_units(run, f"the schedule's milestones lie beyond the run and inside of {length}", later, factor)
    return None


def _decay_in(run: Played, group: PlayedGroup, steps: float) -> Decay:
    far = run.far(int(steps))
    return Decay() if far is None else decay_of(far.lrs[group.index], far.stride)


def _other_units(run: Played, title: str, decay: Decay, factor: int, severity: Severity = "warning") -> Finding:
    return Finding(
        "counted-in-other-units",
        severity,
        title,
        "Give the scheduler its lengths in optimizer steps: micro-batches / (accumulation * processes). Accelerate "
        "steps a prepared scheduler once per process, so multiply its lengths by the number of processes there.",
        (),
        (1, run.steps),
        {"schedule": decay.end, "steps": run.steps, "factor": factor},
        "a schedule that a later run is meant to continue",
    )


def in_epochs(run: Played) -> Iterator[Finding]:
    """The schedule is as long as the run in epochs, or its warmup is a few steps of a long epoch."""
    per_epoch = run.steps_per_epoch
    if per_epoch is None or per_epoch < 5:
        return
    search = _steps_per_epoch if run.interval == "epoch" else _epochs_per_step
    found = (finding for group in run.shapes for finding in search(run, group, per_epoch))
    yield from [finding for finding in [next(found, None)] if finding is not None]


def _steps_per_epoch(run: Played, group: PlayedGroup, per_epoch: int) -> Iterator[Finding]:
    """Lengths in steps, of a scheduler that is stepped once per epoch."""
    epochs = run.steps / per_epoch
    calls = run.calls(int(run.steps * (1 + _CLOSE)) + 3) if epochs >= 2 else None
    if calls is None:
        return
    decay = decay_of(calls.lrs[group.index], calls.stride)
    if decay.end > 2 * epochs and _is_smooth(decay) and _is_close(decay.end, run.steps):
        yield _epochs(run, f"the schedule takes {run.steps:,} steps but is stepped once per epoch", decay, "error")
    elif decay.end > 2 * epochs and _is_stepwise(decay) and _is_constant(group) and decay.end <= run.steps:
        title = f"no milestone is reached: the last is {decay.end - 1:,}, and the run has {epochs:,.0f} epochs"
        yield _epochs(run, title, decay, "warning")


def _epochs_per_step(run: Played, group: PlayedGroup, per_epoch: int) -> Iterator[Finding]:
    """Lengths in epochs, of a scheduler that is stepped after every step."""
    epochs = run.steps / per_epoch
    decay = decay_of(group.lr)
    if epochs >= 2 and 2 <= decay.end < run.steps / 2:
        title = f"the schedule ends after {decay.end - 1:,} steps: the run has {epochs:,.0f} epochs"
        if _is_smooth(decay) and _is_close(decay.end, epochs):
            yield _epochs(run, title, decay, "error")
        elif _is_stepwise(decay) and decay.end <= epochs + 1.5:
            yield _epochs(run, title, decay, "error" if decay.after < _USELESS else "warning")
    ramp = group.lr_length
    if 1 < ramp <= min(20, 0.1 * per_epoch) and ramp < epochs:
        meant = ramp * per_epoch
        yield Finding(
            "warmup-counted-in-epochs",
            "warning",
            f"the warmup takes {ramp} steps, {ramp / per_epoch:.2g} of an epoch of {per_epoch:,.0f} steps",
            f"If {ramp} epochs were meant, set {meant:,.0f} steps.",
            group.indexes,
            (1, ramp),
            {"warmup": ramp, "steps_per_epoch": per_epoch, "if_epochs": meant},
            "a warmup of a few steps on purpose",
        )


def _epochs(run: Played, title: str, decay: Decay, severity: Severity) -> Finding:
    assert run.steps_per_epoch is not None
    return Finding(
        "counted-in-epochs",
        severity,
        title,
        "Step the scheduler in the unit in which its lengths are: once per epoch, or after every optimizer step.",
        (),
        (1, run.steps),
        {"schedule": decay.end, "steps": run.steps, "epochs": run.steps / run.steps_per_epoch},
        "a schedule that is meant to end after as many steps as there are epochs",
    )
