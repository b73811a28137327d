"""Lengths in another unit than the scheduler's steps: micro-batches, processes, epochs.

A schedule's end is the last step at which its lr changes. The rules compare it with the run's length in every unit.

False positives: a schedule that is meant to go on in a later run may end, by coincidence, at a multiple of this one.
Constant schedules with a warmup have no end, so only a very short warmup can be seen in them, as a warning.
"""

from collections.abc import Iterator, Sequence

from ..finding import Finding
from ..play import Played

_FURTHEST = 300_000  # steps beyond the run that are played to find a schedule's end
_CLOSE = 0.03  # an end may miss its place by that share: rounding of batches, and a cosine that is 0 a little early
_ZERO = 1e-3  # of the peak


def _end(lr: Sequence[float]) -> int:
    """The step at which a schedule ends: its lr is nearly 0, or does not change any more. 0 if it does not end."""
    peak_at = max(range(len(lr)), key=lr.__getitem__, default=0)
    for t in range(peak_at, len(lr)):
        if lr[t] < _ZERO * lr[peak_at]:
            return t + 1
    last = next((t for t in range(len(lr), 1, -1) if lr[t - 1] != lr[t - 2]), 0)
    return last if len(lr) - last >= max(2, 0.005 * len(lr)) else 0


def _is_close(a: float, b: float) -> bool:
    return abs(a - b) <= max(1.5, _CLOSE * b)


def _decays_to(lr: Sequence[float], end: int) -> bool:
    """Whether a schedule ends in a smooth decay: not in its peak, as a warmup alone, nor in a milestone."""
    peak = max(lr)
    return end >= 2 and lr[end - 1] < 0.2 * peak and abs(lr[end - 1] - lr[end - 2]) < max(0.05, 2 / end) * peak


def in_micro_batches(run: Played) -> Iterator[Finding]:
    """The schedule is as long as the run in micro-batches or in steps of single processes."""
    factors = {
        "micro-batches": run.accumulation,
        "steps of single processes": run.processes,
        "micro-batches of single processes": run.accumulation * run.processes,
    }
    if run.interval != "step" or max(factors.values()) == 1 or run.steps < 3:
        return
    lr = run.groups[0].lr
    end = _end(lr)
    open_ended = not end and not _end(run.beyond(int(_CLOSE * run.steps) + 3, 0))
    for unit, factor in factors.items():
        if factor == 1:
            continue
        further = int(run.steps * (factor - 1) * (1 + _CLOSE)) + 3 + int(_CLOSE * run.steps)
        if open_ended and further <= _FURTHEST:
            longer = run.beyond(further, 0)
            if not _is_close(_end(longer), factor * run.steps) or not _decays_to(longer, _end(longer)):
                continue
            title = (
                f"the schedule takes {factor * run.steps:,} steps, the {unit} of the run, which has {run.steps:,} steps"
            )
            evidence = {"schedule": _end(longer), "steps": run.steps, "factor": factor}
        elif end and _decays_to(lr, end) and _is_close(end, run.steps / factor):
            title = f"the schedule ends at step {end:,}: the run has {run.steps:,} steps, and {factor} {unit} for each"
            evidence = {"schedule": end, "steps": run.steps, "factor": factor}
        else:
            continue
        yield Finding(
            "counted-in-other-units",
            "error",
            title,
            "Give the scheduler its lengths in optimizer steps: micro-batches / (accumulation * processes). Accelerate "
            "steps a prepared scheduler once per process, so multiply its lengths by the number of processes there.",
            (),
            (1, run.steps),
            evidence,
            "a schedule that a later run is meant to continue",
        )
        return


def in_epochs(run: Played) -> Iterator[Finding]:
    """The schedule is as long as the run in epochs, or its warmup is a few steps of a long epoch."""
    per_epoch = run.steps_per_epoch
    if per_epoch is None or per_epoch < 5:
        return
    epochs = run.steps / per_epoch
    first = run.groups[0]
    if run.interval == "epoch":
        if epochs < 2 or run.steps > _FURTHEST:
            return
        calls = run.calls(int(run.steps * (1 + _CLOSE)) + 3)
        end = _end(calls)
        if end > 2 * epochs and _is_close(end, run.steps):
            yield _epochs(run, f"the schedule takes {run.steps:,} steps but is stepped once per epoch", end, epochs)
        return
    end = _end(first.lr)
    if _decays_to(first.lr, end) and end < run.steps / 2 and epochs >= 2 and abs(end - epochs) <= 1.5:
        yield _epochs(run, f"the schedule ends after {end:,} steps: the run has {epochs:,.0f} epochs", end, epochs)
        return
    ramp = first.lr_ramp
    if 1 < ramp <= min(20, 0.1 * per_epoch) and ramp < epochs:
        meant = ramp * per_epoch
        yield Finding(
            "warmup-counted-in-epochs",
            "warning",
            f"the warmup takes {ramp} steps, {ramp / per_epoch:.2g} of an epoch of {per_epoch:,.0f} steps",
            f"If {ramp} epochs were meant, set {meant:,.0f} steps.",
            first.indexes,
            (1, ramp),
            {"warmup": ramp, "steps_per_epoch": per_epoch, "if_epochs": meant},
            "a warmup of a few steps on purpose",
        )


def _epochs(run: Played, title: str, length: float, epochs: float) -> Finding:
    return Finding(
        "counted-in-epochs",
        "error",
        title,
        "Step the scheduler in the unit in which its lengths are: once per epoch, or after every optimizer step.",
        (),
        (1, run.steps),
        {"schedule": length, "steps": run.steps, "epochs": epochs},
        "a schedule that is meant to end after as many steps as there are epochs",
    )
