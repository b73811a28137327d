"""What the words of a verdict promise, by simulation: error rates, coverage and power of the statistics of a study.

    python benchmarks/verdict_promises.py [--repetitions 1000] [--only TABLE] [--out benchmarks/results]

Studies are drawn whose truth is known, and judged by the code that judges real ones. Values are accuracies in %: the
best lr means 80, a seed spreads by 0.6 points, and a run that counts as chance is 10.

The tables:

* errors: how often two methods that are the same are called better or worse, and how often one that is better by a
  point is;
* equivalent: how often two methods that differ by exactly the margin are called equivalent, and how often the 95 %
  interval of their difference covers it;
* family: five methods that are the same: how often a study has any false finding;
* mean: how often the mean's t interval covers.

tests/study/analysis/test_promises.py holds the same numbers to their bounds.
"""

import argparse
import json
import math
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rectified.figures.table import markdown
from rectified.files import write
from rectified.study.analysis.comparisons import compare_methods
from rectified.study.analysis.outcomes import Metric, Outcome, Outcomes
from rectified.study.analysis.selection import Grid, compare
from rectified.study.analysis.stats import LEVEL, t_interval

LRS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
MIDDLE = slice(1, 4)
CURVES = {"flat": (0, 0, 0, 0, 0), "one peak": (-3, -1, 0, -1, -3), "two near peaks": (-3, 0, -1, -0.1, -3)}
NOISES = ("normal", "skewed", "5 % at chance", "20 % at chance", "divergence rises with lr")
GRIDS = ("equal", "unequal")  # unequal: five lrs vs the middle three
SEEDS = (3, 4, 5, 8, 10, 20)
TOP, SPREAD, CHANCE, MARGIN = 80.0, 0.6, 10.0, 1.0
AT_CHANCE = {"5 % at chance": (0.05,) * 5, "20 % at chance": (0.2,) * 5, NOISES[4]: (0, 0, 0.017, 0.05, 0.15)}
METRIC = Metric("accuracy", "accuracy, %", "accuracy", " %", " points", True, MARGIN, CHANCE)
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Rate:
    """How often something happened.

    Attributes:
        cell: what was simulated.
        what: what was counted.
        bound: what is promised: at most so often, or at least so often if ``at_least``; None if nothing is.
    """

    cell: tuple[str, ...]
    what: str
    hits: int
    of: int
    bound: float | None = None
    at_least: bool = False

    @property
    def share(self) -> float:
        """NaN of nothing."""
        return self.hits / self.of if self.of else math.nan

    @property
    def kept(self) -> bool:
        """Whether the promise is kept, but for two standard errors of the simulation at the bound."""
        if self.bound is None or not self.of:
            return True
        slack = 2 * math.sqrt(self.bound * (1 - self.bound) / self.of)
        return self.share >= self.bound - slack if self.at_least else self.share <= self.bound + slack

    def __str__(self) -> str:
        mark = "" if self.kept else " **(!)**"
        return f"{100 * self.share:.1f}{mark}" if self.of else "–"


def draw(rng: np.random.Generator, noise: str, curve: str, seeds: int, better: float = 0.0) -> Values:
    """One method's values, seeds by the five lrs; a run at chance is not better by anything."""
    shape = (seeds, len(LRS))
    spread = 1 - rng.exponential(size=shape) if noise == "skewed" else rng.standard_normal(shape)
    values = TOP + better + np.array(CURVES[curve]) + SPREAD * spread
    return np.where(rng.random(shape) < np.array(AT_CHANCE.get(noise, (0.0,) * 5)), CHANCE, values)


def grid(values: Values, lrs: slice = slice(None)) -> Grid:
    """As the comparison takes it."""
    here = values[:, lrs]
    return Grid(LRS[lrs], here, here, here == CHANCE)


def outcomes(methods: Sequence[Values]) -> Outcomes:
    """A study of methods m0, m1, ..."""

    def outcome(value: float) -> Outcome:
        return Outcome("diverged" if value == CHANCE else "trained", value, value)

    return Outcomes(
        {
            f"m{i}": {lr: {s: outcome(float(v)) for s, v in enumerate(values[:, j])} for j, lr in enumerate(LRS)}
            for i, values in enumerate(methods)
        }
    )


def errors(
    repetitions: int, seeds: Sequence[int] = SEEDS, noises: Sequence[str] = NOISES, grids: Sequence[str] = GRIDS
) -> Iterator[Rate]:
    """Type I error, and beside it the power for a point."""
    for cell in product(grids, CURVES, noises, seeds):
        kind, curve, noise, n = cell
        rng = _generator("errors", *cell)
        false = found = wrong = 0
        times = max(1, repetitions // 2) if n == 20 else repetitions
        for _ in range(times):
            ours, theirs = draw(rng, noise, curve, n), draw(rng, noise, curve, n)
            better = np.where(ours == CHANCE, CHANCE, ours + 1)
            other = grid(theirs, MIDDLE if kind == "unequal" else slice(None))
            false += compare(grid(ours), other).p <= 1 - LEVEL
            test = compare(grid(better), other)
            if test.p <= 1 - LEVEL:
                ahead = bool(test.differences.mean() > 0)
                found += ahead
                wrong += not ahead
        name = kind, curve, noise, str(n)
        yield Rate(name, "error", false, times, 1 - LEVEL)
        yield Rate(name, "power", found, times)
        yield Rate(name, "wrong way", wrong, times, 1 - LEVEL)


def equivalent(
    repetitions: int, seeds: Sequence[int] = SEEDS, noises: Sequence[str] = NOISES[:3], grids: Sequence[str] = GRIDS
) -> Iterator[Rate]:
    """Two methods that differ by the margin: called equivalent, and covered by the interval of their difference.

    The interval is at least as wide in a family; here there is one comparison. With runs at chance the difference of
    means is not the margin, so of those only the word is counted.
    """
    for cell in product(grids, CURVES, noises, seeds):
        kind, curve, noise, n = cell
        if kind == "unequal" and curve == "one peak":
            continue  # half the time, since each interval takes so many tests
        rng = _generator("equivalent", *cell)
        said = covered = intervals = 0
        times = max(1, repetitions // (6 if n == 20 else 4 if n == 10 else 2) // (3 if kind == "unequal" else 1))
        for _ in range(times):
            ours, theirs = draw(rng, noise, curve, n, MARGIN), draw(rng, noise, curve, n)
            test = compare(grid(ours), grid(theirs, MIDDLE if kind == "unequal" else slice(None)))
            if test.interval is None:
                continue
            interval = test.interval(LEVEL)
            intervals += 1
            covered += not interval.excludes(MARGIN)
            said += test.p > 1 - LEVEL and max(abs(interval.low), abs(interval.high)) < MARGIN
        name = kind, curve, noise, str(n)
        yield Rate(name, "equivalent", said, times, 1 - LEVEL)
        if noise not in AT_CHANCE:
            yield Rate(name, "coverage", covered, intervals, 0.93, at_least=True)


def family(
    repetitions: int, seeds: Sequence[int] = (4, 5, 8), noises: Sequence[str] = (NOISES[0], NOISES[1], NOISES[4])
) -> Iterator[Rate]:
    """Five methods that are the same: any false finding, by the group in which the verdict promises at most 5 %."""
    for curve, noise, n in product(("two near peaks",), noises, seeds):
        rng = _generator("family", curve, noise, n)
        counts = {"vs baseline at best lrs": 0, "vs baseline at equal lrs": 0, "leader vs all": 0}
        times = max(1, repetitions // (10 if n >= 8 else 2))
        for _ in range(times):
            found = compare_methods(outcomes([draw(rng, noise, curve, n) for _ in range(5)]), METRIC)
            for what, judged in zip(counts, (found.at_best, found.at_lr, found.rivals), strict=True):
                counts[what] += any(d.finding in ("better", "worse") for d in judged)
        for what, hits in counts.items():
            yield Rate((curve, noise, str(n)), what, hits, times, 1 - LEVEL)


def mean(repetitions: int, seeds: Sequence[int] = SEEDS) -> Iterator[Rate]:
    """The mean's t interval, which is promised if seeds follow a normal distribution."""
    for noise, n in product(NOISES[:2], seeds):
        rng = _generator("mean", noise, n)
        times = 4 * repetitions
        covered = sum(not t_interval(draw(rng, noise, "flat", n)[:, 0].tolist()).excludes(TOP) for _ in range(times))
        yield Rate((noise, str(n)), "coverage", covered, times, 0.93 if noise == "normal" else None, at_least=True)


TABLES = {"errors": errors, "equivalent": equivalent, "family": family, "mean": mean}
HEADS = {
    "errors": "Two methods that are the same: % of studies that call one better or worse.\n"
    "In parentheses: % that find one that is better by a point",
    "equivalent": "Two methods that differ by exactly the margin: % of studies that call them equivalent.\n"
    "In parentheses: % of the 95 % intervals that cover the difference",
    "family": "Five methods that are the same, all vs the first: % of studies with any false finding.\n"
    "With the leader: among all ten pairs",
    "mean": "The mean's t interval: % that cover",
}


def page(found: dict[str, list[Rate]], repetitions: dict[str, int]) -> str:
    """All tables as Markdown.

    Args:
        repetitions: by table; a cell that takes long is given a fraction of them.
    """
    parts = [
        "# Do the words of a verdict keep their promises?",
        "",
        "A number that breaks its promise by more than two standard errors of the simulation is marked (!). Among so",
        "many cells some do by chance: up to one in forty, if a rate is exactly what is promised.",
        "",
    ]
    for name, rates in found.items():
        columns = list(dict.fromkeys(rate.cell[-1] for rate in rates))
        rows: dict[tuple[str, ...], dict[str, list[Rate]]] = {}
        split = name == "family"  # a row for each thing that was counted
        for rate in rates:
            row = (*rate.cell[:-1], rate.what) if split else rate.cell[:-1]
            rows.setdefault(row, {}).setdefault(rate.cell[-1], []).append(rate)
        of = sorted({rate.of for rate in rates if rate.what != "coverage" or name == "mean"})
        width = len(next(iter(rows)))
        table = markdown(
            [*[""] * width, *(f"{n} seeds" for n in columns)],
            [[*row, *(_cell(by_seeds.get(n, [])) for n in columns)] for row, by_seeds in rows.items()],
        )
        command = f"python benchmarks/verdict_promises.py --only {name} --repetitions {repetitions[name]}"
        made = f"{_range(of)} studies per cell; made by"
        parts += [
            f"## {name.capitalize()}",
            "",
            f"{HEADS[name]}.",
            f"{made}",
            f"`{command} --out benchmarks/results`.",
            "",
            table,
            "",
        ]
    return "\n".join(parts)


def worst(rates: Sequence[Rate]) -> dict[str, Rate]:
    """Of each thing that was promised, the cell that is nearest to breaking it."""
    found: dict[str, Rate] = {}
    for rate in rates:
        if rate.bound is None or not rate.of:
            continue
        sign = -1 if rate.at_least else 1
        if rate.what not in found or sign * rate.share > sign * found[rate.what].share:
            found[rate.what] = rate
    return found


def _cell(rates: Sequence[Rate]) -> str:
    first, *rest = [rate for rate in rates if rate.what != "wrong way"] or [None]
    return "" if first is None else f"{first}" + "".join(f" ({rate})" for rate in rest)


def _range(of: Sequence[int]) -> str:
    return f"{of[0]:,}" if of[0] == of[-1] else f"{of[0]:,} to {of[-1]:,}"


def _generator(*cell: object) -> np.random.Generator:
    """The same in each run; its own for each cell."""
    return np.random.default_rng(zlib.crc32(repr(cell).encode()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--only", choices=TABLES, help="one table; what --out has of the others stays")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    file = asked.out / "verdict_promises.json" if asked.out else None
    kept = read(file) if file and file.exists() else {}
    for name, table in TABLES.items():
        if asked.only in (None, name):
            start = time.monotonic()
            rates = list(table(asked.repetitions))
            kept[name] = asked.repetitions, rates
            print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
            for what, rate in worst(rates).items():
                print(f"  {what}: worst {rate}, {', '.join(rate.cell)}, of {rate.of}", flush=True)
            if file is not None:
                save(file, {each: kept[each] for each in TABLES if each in kept})


def save(file: Path, tables: dict[str, tuple[int, list[Rate]]]) -> None:
    """The numbers as JSON, and the page in the same folder."""
    told = {
        name: {"repetitions": n, "rates": [{**asdict(rate), "kept": rate.kept} for rate in rates]}
        for name, (n, rates) in tables.items()
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    write(file, json.dumps(told, indent=1) + "\n")
    found = {name: rates for name, (_, rates) in tables.items()}
    write(file.with_suffix(".md"), page(found, {name: n for name, (n, _) in tables.items()}))


def read(file: Path) -> dict[str, tuple[int, list[Rate]]]:
    """The reverse of :func:`save`."""

    def rate(told: dict[str, Any]) -> Rate:
        return Rate(**{name: value for name, value in told.items() if name != "kept"} | {"cell": tuple(told["cell"])})

    tables = json.loads(file.read_text())
    return {name: (told["repetitions"], list(map(rate, told["rates"]))) for name, told in tables.items()}


if __name__ == "__main__":
    main()
