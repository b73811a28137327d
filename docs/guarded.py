"""The tables of guarded-warmup.md: GuardedLinear against the warmups that were swept on the truth set."""

import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

from rectified.figures.table import markdown

sys.path.append(str(Path(__file__).parents[1] / "benchmarks" / "truth_set"))

import score
from score import Cell, Record, loss_of, read
from score_guarded import Difference, differences, is_held_out, standings, with_guarded

__all__ = ["page_tables"]


RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
FIRST, NOW = "guarded, without an end", "guarded, with an end"
# Results that know nothing: percent of ten classes, and nats per piece of 8,000.
CHANCE = {"test_accuracy": 10.0, "valid_loss": 9.0}
OF_PAPER = ("adam", "adam+linear-10%", "radam", "adam+guarded-linear-10%")
RIVALS = ("adam", "adam+linear-24", "adam+untuned-linear", "radam")  # of the study of 42 methods


def page_tables() -> dict[str, str]:
    """Every table of the page, from the committed results."""
    truth = read(RESULTS / "truth_set.jsonl.gz")
    found = with_guarded(truth, *(read(RESULTS / f"{name}.jsonl.gz") for name in ("guarded", "guarded_first")))
    rows = _csv(Path(__file__).parent / "studies" / "alternatives" / "results.csv")
    rows += [{**row, "method": FIRST} for row in _csv(RESULTS / "guarded_first_fashion_mnist.csv")]
    rows += [{**row, "method": NOW} for row in _csv(RESULTS / "guarded_fashion_mnist.csv")]
    return {
        "held out": stood(found),
        "differences": compared(found),
        "large batches": by_lr(rows, (*RIVALS, FIRST, NOW)),
        "image task": by_lr(_csv(RESULTS / "guarded_resnet20.csv"), OF_PAPER),
        "translation task": by_lr(_csv(RESULTS / "guarded_translation.csv"), OF_PAPER, "valid_loss", ".3f"),
        "arms": arms(score.cells(truth), read(RESULTS / "guarded_arms.jsonl")),
        "long runs": long(read(RESULTS / "guarded_long.jsonl")),
    }


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def stood(found: Sequence[Cell]) -> str:
    """Every warmup over the held-out cells."""
    heads = [
        "warmup",
        "mean regret",
        "at the best lr",
        "at 3 times that",
        "worst",
        "dead runs",
        "within noise",
        "lrs of 4",
    ]
    rows = [
        [
            s.name,
            f"{s.regret:.1%} ({s.low:.1%} to {s.high:.1%})",
            f"{s.at_best:.1%}",
            f"{s.at_three:.1%}",
            f"{s.worst:.0%}",
            f"{s.dead} of {s.runs}",
            f"{s.near} of {s.cells}",
            f"{s.width:.1f}",
        ]
        for s in standings([c for c in found if is_held_out(c)])
    ]
    return markdown(heads, rows)


def compared(found: Sequence[Cell]) -> str:
    """The guarded warmup minus each rival on the held-out cells."""
    rows = [_row(d) for d in differences([c for c in found if is_held_out(c)])]
    return markdown(["guarded linear minus", "mean difference of regret", "better in", "worse in"], rows)


def _row(d: Difference) -> list[str]:
    difference = f"{d.difference:+.1%} ({d.low:+.1%} to {d.high:+.1%})".replace("-", "−")
    return [d.name, difference, f"{d.better} of {d.cells}", f"{d.worse} of {d.cells}"]


def arms(found: Sequence[Cell], records: Sequence[Record]) -> str:
    """The mean regret of each arm in percent, by learning rate, and of warmups that were swept on the same cells."""
    by_key = {(c.task, c.lr, c.beta2): c for c in found}
    regrets: dict[str, dict[tuple[str, float, float], float]] = {}
    for r in records:
        cell = by_key[r["task"], r["lr"], r["beta2"]]
        here = (loss_of(r) - cell.best[1]) / max(cell.first - cell.best[1], 1e-9)
        regrets.setdefault(r["arm"], {})[r["task"], r["lr"], r["beta2"]] = here
    keys = set(next(iter(regrets.values())))
    swept = {"linear over 64 steps": "linear-64", "linear over 512 steps": "linear-512", "RAdam's": "rectified"}
    for name, warmup in {"no warmup": "none", **swept}.items():
        regrets[f"({name}, the same seed)"] = {key: _of_seed(by_key[key], warmup) for key in keys}
    rows = []
    for name, by_cell in regrets.items():
        assert set(by_cell) == keys, f"{name} lacks cells"
        by_rank = [mean(x for key, x in by_cell.items() if by_key[key].rank == rank) for rank in range(4)]
        rows.append([name, *(f"{100 * x:.1f}" for x in (*by_rank, mean(by_cell.values()), max(by_cell.values())))])
    return markdown(["arm", "best lr / 3", "best lr", "3 x best", "10 x best", "mean", "worst"], rows)


def _of_seed(cell: Cell, warmup: str, seed: int = 0) -> float:
    return (cell.losses[warmup][seed] - cell.best[1]) / max(cell.first - cell.best[1], 1e-9)


def by_lr(
    rows: Sequence[Mapping[str, str]], methods: Sequence[str], metric: str = "test_accuracy", style: str = ".1f"
) -> str:
    """The mean of each method's final results at each lr, and their range; a run that diverged counts as chance."""
    lrs = sorted({float(row["lr"]) for row in rows if row["method"] == methods[-1]})
    table = []
    for method in methods:
        cells = []
        for lr in lrs:
            found = [row for row in rows if row["method"] == method and float(row["lr"]) == lr]
            values = [float(row[metric]) if row["status"] == "done" else CHANCE[metric] for row in found]
            cells.append(f"{mean(values):{style}} ({min(values):{style}} to {max(values):{style}})")
        table.append([method, *cells])
    return markdown(["method", *(f"lr {lr:g}" for lr in lrs)], table)


def long(records: Sequence[Record]) -> str:
    """Final validation losses of long runs: the mean over seeds, and their range."""
    tasks = list(dict.fromkeys(r["task"] for r in records))
    names = ["none", "linear, a tenth", "RAdam's", FIRST, NOW]
    rows = []
    for task in tasks:
        for lr in sorted({r["lr"] for r in records if r["task"] == task}):
            cells = []
            for name in names:
                found = [r for r in records if (r["task"], r["lr"], r["warmup"]) == (task, lr, name)]
                losses = [loss_of(r) for r in found]
                cells.append(f"{mean(losses):.3f} ({min(losses):.3f} to {max(losses):.3f})" if losses else "not run")
            rows.append([task, f"{lr:g}", *cells])
    return markdown(["task", "lr", *names], rows)
