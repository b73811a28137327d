"""What trials advise on the truth set's cells, compared with whole runs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from score import Cell, Record

from rectified.probe.trial_result import advised, against_first


@dataclass(frozen=True)
class Advice:
    """What trials advise, compared with whole runs.

    Attributes:
        trials: the number of cells with a trial.
        advised: those in which it advised a change whose outcome is known from the sweep.
        better, worse: those in which the whole run is better, or worse, by more than the seeds' noise.
        unknown: those in which it advised a change that was not swept: clipping, or a third of the smallest lr.
        missed: those in which it advised nothing, though a warmup helps.
        steps: the steps of a trial.
    """

    trials: int
    advised: int
    better: int
    worse: int
    unknown: int
    missed: int
    steps: int


def advice(found: Sequence[Cell], trials: Iterable[Record], seeds: int) -> Advice:
    """Compare what each trial advises with whole runs; for a third of the lr, with those of the next lr below.

    Args:
        trials: the losses of each arm, by seed.
        seeds: how many of them a trial has.
    """
    by_key = {(c.task, c.lr, c.beta2): c for c in found}
    by_rank = {(c.task, c.rank, c.beta2): c for c in found}
    count = dict.fromkeys((f.name for f in fields(Advice)), 0)
    for t in trials:
        if (cell := by_key.get((t["task"], t["lr"], t["beta2"]))) is None:
            continue
        losses = [values[:seeds] for values in t["losses"].values()]
        best = list(t["losses"])[advised(against_first(losses))]
        count["trials"] += 1
        count["steps"] = max(count["steps"], t["steps"] * seeds * len(losses))
        if best == "as is":
            count["missed"] += cell.helps
            continue
        outcome = None
        if best in _SWEPT_SHARES:
            outcome = cell.mean(_SWEPT_SHARES[best])
        elif best == "lr / 3" and (below := by_rank.get((cell.task, cell.rank - 1, cell.beta2))):
            outcome = below.mean("none")
        if outcome is None:
            count["unknown"] += 1
            continue
        gain = cell.mean("none") - outcome
        count["advised"] += 1
        count["better"] += gain > cell.threshold
        count["worse"] += gain < -cell.threshold
    return Advice(**count)


_SWEPT_SHARES = {  # of 640 steps; 5 % is 32
    "warmup 5%": "linear-32",
    "warmup 10%": "linear-64",
    "warmup 20%": "linear-128",
    "warmup 80%": "linear-512",
}
