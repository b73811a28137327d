"""Labels, rules and scores of the truth set.

    PYTHONPATH=src python benchmarks/truth_set/score.py truth_set.jsonl.gz

A cell is a task at one lr and beta2. Losses are final validation losses; a run that diverged counts as not trained.

A warmup *helps* in a cell if the best one beats no warmup, and its matched-lr control, by more than the seeds' noise.
The best is chosen on the other seeds than those it is measured on, so that choosing among six costs nothing.
"""

import argparse
import gzip
import json
import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from statistics import mean, median, variance
from typing import Any

from scipy.stats import chi2

from rectified.probe.probe_verdict import EDGE, FIRST_STEPS, MINIMUM, Verdict, reaches, verdict_of
from rectified.probe.signals import Observation, Signals

HELD_OUT = ("autoencoder", "finetune", "lstm", "policy", "translator")
SWEPT = ("linear-8", "linear-32", "linear-128", "linear-512", "untuned-linear", "rectified")
STEPS = 640
NOISE = 2.0  # standard errors that count as more than noise

Record = Mapping[str, Any]


def read(path: Path) -> list[Record]:
    """The records of a file, gzipped or not."""
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]


def loss_of(record: Record) -> float:
    return record["first"] if record["final"] is None else min(record["final"], record["first"])


@dataclass(frozen=True)
class Cell:
    """A task at one lr and beta2.

    Attributes:
        losses: final losses by warmup and seed.
        runs: the runs without a warmup, by seed.
        rank: the position of the lr in the task's grid: 0 below the best, 1 the best, 2 and 3 above.
        noise: the standard deviation between seeds on this task.
    """

    task: str
    lr: float
    beta2: float
    rank: int
    losses: Mapping[str, Mapping[int, float]]
    runs: Mapping[int, Record]
    noise: float

    @property
    def held_out(self) -> bool:
        return self.task in HELD_OUT

    @cached_property
    def seeds(self) -> list[int]:
        """The seeds with every swept warmup."""
        return [s for s in self.runs if all(s in self.losses.get(w, {}) for w in SWEPT)]

    def mean(self, warmup: str) -> float:
        """The mean final loss under a warmup."""
        return mean(self.losses[warmup][s] for s in self.seeds)

    @property
    def best(self) -> tuple[str, float]:
        """The best swept warmup, or none, and its mean loss."""
        return min(((w, self.mean(w)) for w in ("none", *SWEPT)), key=lambda pair: pair[1])

    @property
    def first(self) -> float:
        """The mean loss before training."""
        return mean(r["first"] for r in self.runs.values())

    def gain(self, over: Callable[[int], float]) -> float:
        """How much the best warmup, chosen on the other seeds, is better than something."""
        gains = []
        for seed in self.seeds:
            others = [s for s in self.seeds if s != seed] or [seed]
            chosen = min(SWEPT, key=lambda w: mean(self.losses[w][s] for s in others))
            gains.append(over(seed) - self.losses[chosen][seed])
        return mean(gains)

    @property
    def over_none(self) -> float:
        return self.gain(lambda seed: self.losses["none"][seed])

    @property
    def over_control(self) -> float | None:
        """The gain over the matched-lr control of the best warmup; None if that was not run with every seed."""
        for warmup, by_seed in self.losses.items():
            if warmup.startswith("matched-lr(") and all(s in by_seed for s in self.seeds):
                return self.gain(by_seed.__getitem__)
        return None

    @property
    def threshold(self) -> float:
        return NOISE * self.noise * math.sqrt(2 / max(1, len(self.seeds)))

    @property
    def helps(self) -> bool:
        """The label."""
        control = self.over_control
        return self.over_none > self.threshold and (control is None or control > self.threshold)

    @property
    def is_clear(self) -> bool:
        """Whether the gain over no warmup is not within half and twice the threshold."""
        return not self.threshold / 2 < self.over_none < 2 * self.threshold

    def regret(self, warmup: str) -> float:
        """What a warmup loses to the best swept one, as a share of what the best one gains over no training."""
        at_best = self.best[1]
        return (self.mean(warmup) - at_best) / max(self.first - at_best, 1e-9)

    @property
    def verdicts(self) -> list[Verdict]:
        return [verdict_of(history_of(self.runs[s]), self.lr) for s in self.seeds]


def history_of(record: Record) -> list[Observation]:
    """A record's signals as a probe has them."""
    columns = record["signals"]
    names = [f.name for f in fields(Signals)]
    rows = zip(*(columns[name] for name in names), strict=True) if columns else ()
    found = []
    for row in rows:
        values = [math.nan if x is None else x for x in row]
        found.append(Observation(Signals(**dict(zip(names, values, strict=True)))))
    return found


def cells(records: Iterable[Record]) -> list[Cell]:
    """The cells that have at least one seed with every swept warmup."""
    losses: dict[tuple[str, float, float], dict[str, dict[int, float]]] = {}
    runs: dict[tuple[str, float, float], dict[int, Record]] = {}
    for r in records:
        if r["pilot"]:
            continue
        key = (r["task"], r["lr"], r["beta2"])
        losses.setdefault(key, {}).setdefault(r["warmup"], {})[r["seed"]] = loss_of(r)
        if r["warmup"] == "none":
            runs.setdefault(key, {})[r["seed"]] = r
    noises = {task: noise(losses, task) for task in {key[0] for key in losses}}
    found = []
    for key in sorted(losses):
        lrs = sorted({lr for task, lr, _ in losses if task == key[0]})
        cell = Cell(*key, lrs.index(key[1]), losses[key], runs.get(key, {}), noises[key[0]])
        if cell.seeds:
            found.append(cell)
    return found


def noise(losses: Mapping[tuple[str, float, float], Mapping[str, Mapping[int, float]]], task: str) -> float:
    """The standard deviation between seeds on a task, from the median over its cells and warmups.

    The median ignores cells in which single runs diverge. The variance of few numbers has a median below its mean, for
    which it is corrected, as for normal numbers. With one seed it is taken to be 1 % of the median loss.
    """
    variances: dict[int, list[float]] = {}
    every = []
    for key, by_warmup in losses.items():
        for values in by_warmup.values() if key[0] == task else ():
            every += values.values()
            if len(values) > 1:
                variances.setdefault(len(values) - 1, []).append(variance(values.values()))
    if not variances:
        return 0.01 * median(every)
    freedom, found = max(variances.items(), key=lambda pair: len(pair[1]))
    return math.sqrt(median(found) * freedom / float(chi2.median(freedom)))


# Scores.


def wilson(right: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share.

    >>> [round(x, 2) for x in wilson(17, 20)]
    [0.64, 0.95]
    """
    if not total:
        return 0.0, 1.0
    z, p = 1.96, right / total
    middle, half = p + z * z / (2 * total), z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return (middle - half) / scale, (middle + half) / scale


def answers(cell: Cell) -> list[bool | None]:
    """Whether each seed's verdict is right; None if it cannot tell."""
    return [None if v.answer == "cannot tell" else (v.answer == "needed") == cell.helps for v in cell.verdicts]


def advised(cell: Cell) -> str:
    """The swept warmup that is closest to the advised one, by the median reach of the seeds."""
    verdicts = sorted(cell.verdicts, key=lambda v: v.reach if math.isfinite(v.reach) else 0.0)
    return nearest(round(verdicts[len(verdicts) // 2].share * STEPS))


def nearest(length: int) -> str:
    """The swept linear warmup of the closest length, on a logarithmic scale."""
    if length < 3:
        return "none"
    return f"linear-{min((8, 32, 64, 128, 512), key=lambda n: abs(math.log(n / length)))}"


BASELINES: dict[str, Callable[[Cell], str]] = {
    "no warmup": lambda cell: "none",
    "always a tenth of the run": lambda cell: "linear-64",
    "2 / (1 - beta2)": lambda cell: "untuned-linear",
    "always RAdam": lambda cell: "rectified",
    "always 128 steps": lambda cell: "linear-128",
    "always 512 steps": lambda cell: "linear-512",
    "loss gap (arXiv:2602.05813)": lambda cell: "loss-gap",
}


def shows_in_loss(record: Record) -> int | None:
    """The first observed step whose batch has a loss above that of the first step by a tenth of it."""
    signals = record["signals"]
    steps, losses = signals.get("step", []), signals.get("loss", [])
    if not losses or losses[0] is None:
        return None
    high = losses[0] + 0.1 * abs(losses[0])
    return next((t for t, x in zip(steps, losses, strict=True) if x is None or x > high), None)


def called_at(record: Record, lr: float, beyond: float = MINIMUM) -> int | None:
    """The first of the judged steps whose reach is beyond the minimum, or another place: what a probe could report."""
    known = reaches(history_of(record), lr)
    return next((step for step, reach in known if step <= FIRST_STEPS and reach > beyond), None)


@dataclass(frozen=True)
class Calls:
    """Runs at ten times the best lr that fail, and those that were called in time.

    Attributes:
        failing: runs whose final loss has lost a tenth of what training at the best lr gains.
        called: those that the probe called no later than their loss showed it.
        silent: those whose loss never rose above its first value, so that it never showed it.
        sound, alarms: runs at the best lr or below, and those of them that were called, too.
    """

    failing: int
    called: int
    silent: int
    sound: int
    alarms: int


def calls(found: Sequence[Cell], beyond: float = MINIMUM) -> Calls:
    """Count the failing runs that a reach beyond the minimum, or the edge, called before their loss showed it."""
    failing = called = silent = sound = alarms = 0
    for cell in found:
        if cell.rank < 2:
            sound += len(cell.runs)
            alarms += sum(called_at(record, cell.lr, beyond) is not None for record in cell.runs.values())
        if cell.rank != 3:
            continue
        (best,) = (c for c in found if (c.task, c.beta2, c.rank) == (cell.task, cell.beta2, 1))
        for record in cell.runs.values():
            if loss_of(record) - best.mean("none") < 0.1 * (record["first"] - best.mean("none")):
                continue
            failing += 1
            at, shows = called_at(record, cell.lr, beyond), shows_in_loss(record)
            called += at is not None and (shows is None or at <= shows)
            silent += shows is None
    return Calls(failing, called, silent, sound, alarms)


@dataclass(frozen=True)
class Score:
    """What a way to choose a warmup loses over some cells.

    Attributes:
        name: the way to choose.
        cells: the number of cells that it can be judged in.
        regret: the mean regret; `low` and `high` are its 95 % interval over tasks.
        worst: the largest regret.
    """

    name: str
    cells: int
    regret: float
    low: float
    high: float
    worst: float


def scores(found: Sequence[Cell]) -> list[Score]:
    """The verdict's advice and the baselines, the best first."""
    rules: dict[str, Callable[[Cell], str]] = {"the verdict's advice": advised, **BASELINES}
    scored = []
    for name, advise in rules.items():
        by_task: dict[str, list[float]] = {}
        for cell in found:
            if all(seed in cell.losses.get(advise(cell), {}) for seed in cell.seeds):
                by_task.setdefault(cell.task, []).append(cell.regret(advise(cell)))
        if by_task:
            every = [x for values in by_task.values() for x in values]
            scored.append(Score(name, len(every), mean(every), *over_tasks(list(by_task.values())), max(every)))
    return sorted(scored, key=lambda score: score.regret)


def over_tasks(groups: Sequence[Sequence[float]], times: int = 4000) -> tuple[float, float]:
    """The 95 % bootstrap interval of a mean over tasks: whole tasks are drawn, since their cells are alike."""
    generator = random.Random(0)
    means = []
    for _ in range(times):
        drawn = [x for values in generator.choices(groups, k=len(groups)) for x in values]
        means.append(mean(drawn))
    means.sort()
    return means[int(0.025 * times)], means[int(0.975 * times)]


@dataclass(frozen=True)
class Answers:
    """How often the verdict's answers are right.

    Attributes:
        cells, helped: the number of cells, and of those where a warmup helps.
        right, known, unsure: verdicts, one per cell and seed.
    """

    cells: int
    helped: int
    right: int
    known: int
    unsure: int

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.right, self.known)


def answered(found: Sequence[Cell]) -> Answers:
    """Count the right answers."""
    every = [x for c in found for x in answers(c)]
    known = [x for x in every if x is not None]
    return Answers(len(found), sum(c.helps for c in found), sum(known), len(known), len(every) - len(known))


def in_words(found: Sequence[Cell]) -> str:
    """Answers, regrets and calls as text, for rule-making and held-out tasks."""
    lines = []
    for name, held_out in (("rule-making", False), ("held out", True)):
        some = [c for c in found if c.held_out == held_out]
        if not some:
            continue
        a = answered(some)
        low, high = a.interval
        controlled = sum(c.over_control is not None for c in some)
        lines += [
            f"{name}: {a.cells} cells, {controlled} with a control; a warmup helps in {a.helped}",
            f"  verdict right in {a.right} of {a.known} ({a.right / max(1, a.known):.0%}, {low:.0%} to {high:.0%}), "
            f"cannot tell in {a.unsure}",
        ]
        for place, beyond in (("minimum", MINIMUM), ("edge", EDGE)):
            c = calls(some, beyond)
            lines.append(
                f"  a reach beyond the {place}: called {c.called} of {c.failing} failing runs in time "
                f"(never shown by their loss: {c.silent}), and {c.alarms} of {c.sound} sound runs"
            )
        for s in scores(some):
            interval = f"{s.regret:.1%} ({s.low:.1%} to {s.high:.1%})"
            lines.append(f"  {s.name}: {interval}, worst {s.worst:.0%}, {s.cells} cells")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--held-out", action="store_true", help="score the tasks that no rule was made on, too")
    asked = parser.parse_args()
    found = cells(read(asked.file))
    print(in_words([c for c in found if asked.held_out or not c.held_out]))


if __name__ == "__main__":
    main()
