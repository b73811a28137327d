"""Trials of the truth set's cells: what `rectified probe` advises in each, to be compared with the whole runs.

    PYTHONPATH=src python benchmarks/truth_set/trials.py truth_set.jsonl.gz TRIALS.jsonl [--tasks a,b] [--workers 2]

A trial has 200 steps; the runs of the truth set have 640. Trials that are in TRIALS.jsonl are not made again.
"""

import argparse
import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import tasks
import torch
from score import read
from sweep import BETA2S
from torch.optim.lr_scheduler import LambdaLR

from rectified import Adam
from rectified.probe import TrialRun, trial

STEPS = 200
SEEDS = (10, 11, 12, 13, 14)  # none of the sweep's; score_trials.py also counts what the first three would advise

Key = tuple[str, float, float]


@cache
def task_of(name: str) -> Any:
    return tasks.MAKE[name]()


def tried(key: Key) -> dict[str, Any]:
    """Make the trial of a cell, and return its record."""
    torch.set_num_threads(1)
    name, lr, beta2 = key
    task = task_of(name)
    data = task.load(Path())

    def make_run(seed: int) -> TrialRun:
        model = task.model(data)
        optimizer = Adam(model.parameters(), lr=lr, betas=(0.9, beta2))
        batches = task.batches(data, task.batch_size, torch.Generator().manual_seed(seed))
        return TrialRun(
            model=model,
            optimizer=optimizer,
            batches=islice(batches, STEPS),
            loss=task.loss,
            evaluate=lambda model: task.evaluate(model, data)[task.metric],
            scheduler=LambdaLR(optimizer, lambda step: task.schedule(min(step, STEPS - 1), STEPS)),
            steps=tasks.STEPS,
        )

    result = trial(make_run, steps=STEPS, seeds=SEEDS)
    return {
        "task": name,
        "lr": lr,
        "beta2": beta2,
        "answer": result.verdict.answer,
        "steps": STEPS,
        "losses": {arm.name: losses for arm, losses in zip(result.arms, result.losses, strict=True)},
        "seconds": round(result.seconds, 1),
    }


def missing(sweep: Path, out: Path, names: list[str]) -> Iterator[Key]:
    """The cells of the sweep without a trial."""
    done = {(r["task"], r["lr"], r["beta2"]) for r in (read(out) if out.exists() else [])}
    lrs = sorted({(r["task"], r["lr"]) for r in read(sweep) if not r["pilot"] and r["task"] in names})
    yield from ((name, lr, beta2) for name, lr in lrs for beta2 in BETA2S if (name, lr, beta2) not in done)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sweep", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tasks", default=",".join(tasks.MAKE))
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    asked = parser.parse_args()
    todo = list(missing(asked.sweep, asked.out, asked.tasks.split(",")))
    print(f"{len(todo)} trials", flush=True)
    with ProcessPoolExecutor(asked.workers) as pool, asked.out.open("a") as out:
        for future in as_completed([pool.submit(tried, key) for key in todo]):
            out.write(json.dumps(future.result()) + "\n")
            out.flush()


if __name__ == "__main__":
    main()
