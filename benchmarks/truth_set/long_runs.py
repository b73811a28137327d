"""Runs of 5,120 steps with linear decay, where a greedy warmup would show: GuardedLinear beside what it replaces.

    PYTHONPATH=src python benchmarks/truth_set/long_runs.py OUT.jsonl [--workers 2]

Two tasks of the truth set, eight times as long, at plain Adam's best lr of the short runs and 3 and 10 times that.
"""

import argparse
import json
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from guarded import RECORDS, Key, run
from score import cells, read

from rectified.warmup import GuardedLinear, Linear, Rectified, Warmup

STEPS = 5120
SEEDS = {"deep-mlp": (0, 1), "gpt-pre": (0,)}  # by task
WARMUPS: dict[str, Warmup | None] = {
    "none": None,
    "linear, a tenth": Linear(STEPS // 10),
    "guarded, a tenth": GuardedLinear(STEPS // 10),
    "RAdam's": Rectified(),
}


def long_run(key: Key, name: str) -> dict[str, Any]:
    return {**run(key, WARMUPS[name], STEPS), "warmup": name}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    asked = parser.parse_args()
    os.nice(10)
    found = [c for c in cells(read(RECORDS)) if c.task in SEEDS and c.beta2 == 0.999 and c.rank > 0]
    with ProcessPoolExecutor(asked.workers) as pool, asked.out.open("a") as out:
        done = {(r["task"], r["lr"], r["seed"], r["warmup"]) for r in read(asked.out)}
        todo = [
            (Key(c.task, c.lr, c.beta2, seed), name)
            for c in sorted(found, key=lambda c: list(SEEDS).index(c.task))
            for seed in SEEDS[c.task]
            for name in WARMUPS
            if (c.task, c.lr, seed, name) not in done
        ]
        for future in as_completed([pool.submit(long_run, *each) for each in todo]):
            out.write(json.dumps(future.result()) + "\n")
            out.flush()


if __name__ == "__main__":
    main()
