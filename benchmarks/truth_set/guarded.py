"""GuardedLinear on the truth set: every cell and seed, and a matched-lr control of each run.

    PYTHONPATH=src python benchmarks/truth_set/guarded.py OUT.jsonl [--tasks a,b] [--seeds 0,1,2] [--workers 2]

The warmup is fixed: `adam+guarded-linear-10%`, so 64 of 640 steps, with its default threshold. The control has no
warmup, and lr times the mean omega that the run with the same seed turned out to have. Cells, tasks and seeds are those
of truth_set.jsonl.gz, so that score_guarded.py can compare it with the warmups that were swept there.
"""

import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import tasks
import torch
from score import read
from sweep import measured, rounded, sweep

from rectified import Adam
from rectified.warmup import GuardedLinear, Warmup

WARMUP = GuardedLinear(tasks.STEPS // 10)
RECORDS = Path(__file__).parents[1] / "results" / "truth_set.jsonl.gz"


class Key(NamedTuple):
    """One run. `omega` is the factor on lr of a control; None for a run with the warmup."""

    task: str
    lr: float
    beta2: float
    seed: int
    omega: float | None = None


def run(key: Key, warmup: Warmup | None = WARMUP, steps: int = tasks.STEPS) -> dict[str, Any]:
    """Train one run and return its record, with every 16th omega."""
    torch.set_num_threads(1)
    task = tasks.MAKE[key.task]()
    data = task.load(Path())
    torch.manual_seed(key.seed)
    model = task.model(data)
    lr = key.lr if key.omega is None else key.lr * key.omega
    optimizer = Adam(model.parameters(), lr=lr, betas=(0.9, key.beta2), warmup=warmup if key.omega is None else None)
    first, omegas, finite = measured(task, model, data), [], True
    for step, batch in enumerate(islice(_epochs(task, data, key.seed), steps)):
        loss = task.loss(model, batch)
        finite = math.isfinite(loss.item())
        if not finite:
            break
        for group in optimizer.param_groups:
            group["lr"] = lr * task.schedule(step, steps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        omegas.append(optimizer.param_groups[0]["omega"])
    final = measured(task, model, data) if finite else math.nan
    return {
        **key._asdict(),
        "status": "done" if math.isfinite(final) else "diverged",
        "first": rounded(first),
        "final": rounded(final) if math.isfinite(final) else None,
        "mean_omega": rounded(mean(omegas)) if omegas else None,
        "omegas": [rounded(omega) for omega in omegas[::16]] if key.omega is None else [],
    }


def _epochs(task: Any, data: Any, seed: int) -> Iterator[Any]:
    """The batches of one epoch after the other, each of 640 steps."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from task.batches(data, task.batch_size, generator)


def missing(done: list[dict[str, Any]], names: list[str], seeds: list[int]) -> Iterator[Key]:
    """The runs that are not done, and the controls of those that are."""
    known = {(r["task"], r["lr"], r["beta2"], r["seed"], r["omega"] is None) for r in done}
    cells = {(r["task"], r["lr"], r["beta2"]) for r in read(RECORDS) if not r["pilot"] and r["task"] in names}
    for seed in seeds:
        for cell in sorted(cells):
            if (*cell, seed, True) not in known:
                yield Key(*cell, seed)
    for r in done:
        if (
            r["omega"] is None
            and r["mean_omega"]
            and (*(cell := (r["task"], r["lr"], r["beta2"])), r["seed"], False) not in known
        ):
            yield Key(*cell, r["seed"], r["mean_omega"])


if __name__ == "__main__":
    sweep(__doc__.splitlines()[0], missing, run)
