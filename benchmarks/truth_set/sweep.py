"""The truth set: every task x lr x beta2 x warmup x seed, with the signals that a probe saw.

    PYTHONPATH=src python benchmarks/truth_set/sweep.py OUT.jsonl [--tasks a,b] [--seeds 0,1,2] [--workers 2]

A run that is in OUT.jsonl is not run again, so a sweep can be stopped and continued at any time. First the best lr of
plain Adam is found on each task (`pilot`: 5 lrs, 1 seed); the grid is that lr times 1/sqrt(10), 1, sqrt(10) and 10.
Then every warmup, and last the matched-lr control of each cell's best warmup: no warmup, and lr times its mean omega.
"""

import argparse
import json
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import tasks
import torch

from rectified import Adam
from rectified.probe import Probe
from rectified.study.config.methods import parse

BETA2S = (0.95, 0.999)
WARMUPS = (
    *("none", "linear-128", "rectified", "linear-32", "untuned-linear", "linear-512", "linear-8"),
    *("linear-64", "loss-gap"),  # baselines: a tenth of the run, and a warmup that watches the loss
)
PILOT_LRS = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
AROUND = (10**-0.5, 1.0, 10**0.5, 10.0)
WINDOW = 32  # steps over which a training loss is averaged


@dataclass(frozen=True)
class Key:
    """One run. A control's warmup is ``matched-lr(...)``."""

    task: str
    lr: float
    beta2: float
    warmup: str
    seed: int
    pilot: bool = False
    target: float = 0.0

    @property
    def cell(self) -> tuple[str, float, float]:
        return self.task, self.lr, self.beta2


def run(key: Key) -> dict[str, Any]:
    """Train one run and return its record."""
    torch.set_num_threads(1)
    task = _task(key.task)
    data = task.load(Path())
    torch.manual_seed(key.seed)
    model = task.model(data)
    options = {"betas": (0.9, key.beta2)}
    lr = key.lr
    if key.warmup.startswith("matched-lr("):
        name = key.warmup.removeprefix("matched-lr(").removesuffix(")")
        lr *= mean(omegas(name, key.beta2))
        warmup = None
    else:
        warmup = warmup_of(key.warmup)
    optimizer = Adam(model.parameters(), lr=lr, warmup=warmup, **options)
    first = measured(task, model, data)
    gap = LossGap(key.target) if key.warmup == "loss-gap" else None
    probe, losses, status = Probe(optimizer), [], "done"
    for step, batch in enumerate(task.batches(data, task.batch_size, torch.Generator().manual_seed(key.seed))):
        loss = task.loss(model, batch)
        losses.append(loss.item())
        factor = gap(losses[-1]) if gap else 1.0
        for group in optimizer.param_groups:
            group["lr"] = lr * factor * task.schedule(step, tasks.STEPS)
        if not math.isfinite(losses[-1]):
            status = "diverged"
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        probe.observe(losses[-1], again=lambda batch=batch: task.loss(model, batch))
    final = measured(task, model, data) if status == "done" else math.nan
    if not math.isfinite(final):
        status = "diverged"
    names = list(asdict(probe.history[0].model)) if probe.history else []
    return {
        **asdict(key),
        "status": status,
        "first": rounded(first),
        "final": rounded(final) if math.isfinite(final) else None,
        "train": [rounded(mean(losses[i : i + WINDOW])) for i in range(0, len(losses), WINDOW)],
        "signals": {name: [rounded(getattr(o.model, name)) for o in probe.history] for name in names},
    }


class LossGap:
    r"""The loss-gap schedule as a factor on the lr, of arXiv:2602.05813, given the loss at which its warmup ends.

    .. math:: \omega(D) = 1 / (1 + (d - 1) (D_0 / D) ((D - D_*) / (D_0 - D_*))^2), \quad D = f - f_*

    d = 100, and f_* = 0, a bound that is always known. It was made for Muon and Lion. The loss is averaged over ten
    steps; once it has reached the target, omega stays 1.
    """

    def __init__(self, target: float) -> None:
        self.target, self.first, self.mean, self.over = target, 0.0, 0.0, False

    def __call__(self, loss: float) -> float:
        self.first = self.first or loss
        self.mean = loss if not self.mean else 0.9 * self.mean + 0.1 * loss
        self.over = self.over or self.first <= self.target or self.mean <= self.target
        if self.over:
            return 1.0
        part = (self.mean - self.target) / (self.first - self.target)
        return 1 / (1 + 99 * (self.first / self.mean) * part**2)


def warmup_of(name: str) -> Any:
    return None if name in ("none", "loss-gap") else parse(f"adam+{name}").warmup


def omegas(name: str, beta2: float) -> list[float]:
    warmup = warmup_of(name)
    return [warmup.omega(t, beta2) if warmup else 1.0 for t in range(1, tasks.STEPS + 1)]


def measured(task: Any, model: torch.nn.Module, data: Any) -> float:
    model.eval()
    with torch.no_grad():
        value = task.evaluate(model, data)[task.metric]
    model.train()
    return value


def rounded(x: float) -> float | None:
    return float(f"{x:.4g}") if math.isfinite(x) else None


_TASKS: dict[str, Any] = {}


def _task(name: str) -> Any:
    if name not in _TASKS:
        _TASKS[name] = tasks.MAKE[name]()
    return _TASKS[name]


# What to run.


def loss_of(record: dict[str, Any]) -> float:
    """The final loss; a run that diverged, or ended above its start, counts as not trained."""
    return record["first"] if record["final"] is None else min(record["final"], record["first"])


def grid(records: list[dict[str, Any]], task: str) -> list[float]:
    """The lrs of a task: around plain Adam's best."""
    pilots = [r for r in records if r["pilot"] and r["task"] == task]
    if {r["lr"] for r in pilots} != set(PILOT_LRS):
        return []
    best = min(pilots, key=loss_of)["lr"]
    return [float(f"{best * factor:.3g}") for factor in AROUND]


def reached(records: list[dict[str, Any]], task: str) -> float:
    """The training loss of the best pilot after a tenth of its run: where a loss-gap warmup is over."""
    best = min((r for r in records if r["pilot"] and r["task"] == task), key=loss_of)
    return best["train"][tasks.STEPS // 10 // WINDOW]


def missing(records: list[dict[str, Any]], names: list[str], seeds: list[int]) -> Iterator[Key]:
    done = {key_of(r) for r in records}
    yield from (
        key for name in names for lr in PILOT_LRS if (key := Key(name, lr, 0.999, "none", 0, pilot=True)) not in done
    )
    for seed in seeds:
        for warmup in WARMUPS:
            for name in names:
                for lr in grid(records, name):
                    for beta2 in BETA2S:
                        target = reached(records, name) if warmup == "loss-gap" else 0.0
                        if (key := Key(name, lr, beta2, warmup, seed, target=target)) not in done:
                            yield key
    cells: dict[tuple[str, float, float], dict[str, list[float]]] = {}
    for r in records:
        if not r["pilot"] and r["task"] in names:
            cells.setdefault(key_of(r).cell, {}).setdefault(r["warmup"], []).append(loss_of(r))
    for cell, by in cells.items():
        if all(len(by.get(warmup, [])) >= len(seeds) for warmup in WARMUPS):
            best = min((mean(by[warmup]), warmup) for warmup in WARMUPS if warmup != "none")[1]
            for seed in seeds:
                if (key := Key(*cell, f"matched-lr({best})", seed)) not in done:
                    yield key


def key_of(record: dict[str, Any]) -> Key:
    names = ("task", "lr", "beta2", "warmup", "seed", "pilot")
    return Key(*(record[name] for name in names), record.get("target", 0.0))


def read(path: Path) -> list[dict[str, Any]]:
    """The records of a file, without a last line that was cut off."""
    records = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records


def sweep(
    about: str,
    missing: Callable[[list[dict[str, Any]], list[str], list[int]], Iterator[Any]],
    run: Callable[[Any], Any],
) -> None:
    """Run what is missing in a file, as the command line asks, until nothing is.

    Args:
        about: the first line of --help.
        missing: the runs that the records of the file lack, for some tasks and seeds.
        run: makes the record of one of them.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tasks", default=",".join(tasks.MAKE))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    asked = parser.parse_args()
    names, seeds = asked.tasks.split(","), [int(seed) for seed in asked.seeds.split(",")]
    os.nice(10)
    with ProcessPoolExecutor(asked.workers) as pool, asked.out.open("a") as out:
        while todo := list(missing(read(asked.out), names, seeds)):
            print(f"{len(todo)} runs, from {todo[0]}", flush=True)
            for future in as_completed([pool.submit(run, key) for key in todo]):
                out.write(json.dumps(future.result()) + "\n")
                out.flush()


if __name__ == "__main__":
    sweep(__doc__.splitlines()[0], missing, run)
