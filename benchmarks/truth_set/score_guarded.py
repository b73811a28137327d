"""GuardedLinear against the warmups that were swept on the truth set.

    cd benchmarks/results; PYTHONPATH=../../src python ../truth_set/score_guarded.py \\
        truth_set.jsonl.gz guarded.jsonl.gz guarded_first.jsonl.gz

Every number is about whole runs at the same lr, beta2 and seeds. A regret is what a warmup loses to the best of the six
that were swept in the same cell (or none), as a share of what that one gains over no training.
"""

import argparse
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, variance

from scipy.stats import t
from score import HELD_OUT, SWEPT, Cell, Record, cells, over_tasks, read

from rectified.study.analysis.stats import holm, t_interval

GUARDED, CONTROL = "guarded-linear-64", "matched-lr"
FIRST, FIRST_CONTROL = "guarded-linear-64, first version", "matched-lr, first version"
RIVALS = {
    "no warmup": "none",
    "linear, a tenth of the run": "linear-64",
    "linear, 128 steps": "linear-128",
    "linear, 512 steps": "linear-512",
    "untuned linear": "untuned-linear",
    "RAdam's": "rectified",
    "matched-lr control, with an end": CONTROL,
    "guarded, without an end": FIRST,
    "matched-lr control, without an end": FIRST_CONTROL,
}
DEAD = 0.5  # of what training gains
NEAR = 0.05  # of it: a learning rate that does


def with_guarded(records: Iterable[Record], guarded: Iterable[Record], first: Iterable[Record]) -> list[Cell]:
    """The cells of the truth set, with the guarded runs, those of the first version, and the controls of both."""
    own = [{**r, "warmup": GUARDED if r["omega"] is None else CONTROL} for r in guarded]
    own += [{**r, "warmup": FIRST if r["omega"] is None else FIRST_CONTROL} for r in first]
    found = cells([*records, *({**r, "pilot": False, "signals": {}} for r in own)])
    return [cell for cell in found if all(s in cell.losses.get(GUARDED, {}) for s in cell.seeds)]


@dataclass(frozen=True)
class Standing:
    """One warmup over some cells.

    Attributes:
        regret: the mean over cells; `low` and `high` are its 95 % bootstrap interval over tasks.
        at_best, at_three: the means over the cells at the best lr of plain Adam, and at sqrt(10) times that.
        worst: the largest.
        dead: runs that lose half of what training gains, in cells where the best warmup's do not.
        near: the cells in which it is within the seeds' noise of the best.
        width: the mean number of learning rates, of four a half decade apart, at which it is within 5 % of the best run
            of that task and beta2 at any of them.
    """

    name: str
    regret: float
    low: float
    high: float
    at_best: float
    at_three: float
    worst: float
    dead: int
    near: int
    width: float
    cells: int
    runs: int


def is_held_out(cell: Cell) -> bool:
    """Whether nothing was made on this task."""
    return cell.task in HELD_OUT


def standing(found: Sequence[Cell], name: str, warmup: str) -> Standing:
    by_task: dict[str, list[float]] = {}
    for cell in found:
        by_task.setdefault(cell.task, []).append(cell.regret(warmup))
    every = [x for values in by_task.values() for x in values]
    return Standing(
        name=name,
        regret=mean(every),
        **dict(zip(("low", "high"), over_tasks(list(by_task.values())), strict=True)),
        at_best=mean(cell.regret(warmup) for cell in found if cell.rank == 1),
        at_three=mean(cell.regret(warmup) for cell in found if cell.rank == 2),
        worst=max(every),
        dead=sum(is_dead(cell, cell.losses[warmup][seed]) for cell in found for seed in cell.seeds),
        near=sum(cell.mean(warmup) - cell.best[1] <= cell.threshold for cell in found),
        width=width(found, warmup),
        cells=len(found),
        runs=sum(len(cell.seeds) for cell in found),
    )


def is_dead(cell: Cell, loss: float) -> bool:
    return (loss - cell.best[1]) / max(cell.first - cell.best[1], 1e-9) > DEAD


def width(found: Sequence[Cell], warmup: str) -> float:
    """The mean number of learning rates of a task and beta2 at which a warmup is near the best run at any of them."""
    rows: dict[tuple[str, float], list[Cell]] = {}
    for cell in found:
        rows.setdefault((cell.task, cell.beta2), []).append(cell)
    counts = []
    for row in rows.values():
        best = min(cell.best[1] for cell in row)
        counts.append(sum(cell.mean(warmup) - best <= NEAR * (cell.first - best) for cell in row))
    return mean(counts)


@dataclass(frozen=True)
class Difference:
    """The guarded warmup's regret minus a rival's.

    Attributes:
        low, high: Student's interval of the mean over tasks, at 95 % for all rivals together (Bonferroni).
        better, worse: cells in which the guarded runs are better or worse, by Holm's test over all cells and rivals.
    """

    name: str
    difference: float
    low: float
    high: float
    better: int
    worse: int
    cells: int


def differences(found: Sequence[Cell]) -> list[Difference]:
    """The guarded warmup minus each rival."""
    tests = [(name, *compared(cell, warmup, found)) for name, warmup in RIVALS.items() for cell in found]
    kept = [p <= 0.05 for p in holm([p for *_, p in tests])]
    rows = []
    for name, warmup in RIVALS.items():
        by_task: dict[str, list[float]] = {}
        for cell in found:
            by_task.setdefault(cell.task, []).append(cell.regret(GUARDED) - cell.regret(warmup))
        interval = t_interval([mean(values) for values in by_task.values()], 1 - 0.05 / len(RIVALS))
        clear = [gain for (of, gain, _), is_kept in zip(tests, kept, strict=True) if of == name and is_kept]
        better, worse = sum(x > 0 for x in clear), sum(x < 0 for x in clear)
        rows.append(Difference(name, interval.estimate, interval.low, interval.high, better, worse, len(found)))
    return rows


def compared(cell: Cell, rival: str, found: Sequence[Cell]) -> tuple[float, float]:
    """The mean gain over a rival in a cell, and the p value that it is 0.

    Three seeds show little of their own spread. It is pooled over all warmups of the cells of the same task and rank.
    """
    alike = [each for each in found if (each.task, each.rank) == (cell.task, cell.rank)]
    spreads = [variance(losses.values()) for each in alike for losses in each.losses.values() if len(losses) > 1]
    gain = mean(cell.losses[rival][s] - cell.losses[GUARDED][s] for s in cell.seeds)
    error = math.sqrt(2 / len(cell.seeds) * mean(spreads))
    freedom = len(spreads) * (len(cell.seeds) - 1)
    return gain, 2 * float(t.sf(abs(gain) / error, freedom)) if error else 1.0


def standings(found: Sequence[Cell]) -> list[Standing]:
    """The guarded warmup, its rivals and the best swept warmup of each cell, the best first."""
    rows = [standing(found, name, warmup) for name, warmup in {"guarded, with an end": GUARDED, **RIVALS}.items()]
    return sorted(rows, key=lambda row: row.regret)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("truth_set", type=Path)
    parser.add_argument("guarded", type=Path)
    parser.add_argument("first_version", type=Path)
    asked = parser.parse_args()
    every = with_guarded(read(asked.truth_set), read(asked.guarded), read(asked.first_version))
    for name, some in (
        ("held out", [c for c in every if is_held_out(c)]),
        ("rule-making", [c for c in every if not is_held_out(c)]),
    ):
        if not some:
            continue
        print(f"{name}: {len(some)} cells; the best of {len(SWEPT)} swept warmups or none has regret 0")
        for s in standings(some):
            print(
                f"  {s.name}: {s.regret:.1%} ({s.low:.1%} to {s.high:.1%}), at the best lr {s.at_best:.1%}, worst "
                f"{s.worst:.0%}; {s.dead} dead; {s.near} within noise; {s.width:.2f} of 4 lrs"
            )
        for d in differences(some):
            print(
                f"  guarded - {d.name}: {d.difference:+.1%} ({d.low:+.1%} to {d.high:+.1%}); better in {d.better}, "
                f"worse in {d.worse}"
            )


if __name__ == "__main__":
    main()
