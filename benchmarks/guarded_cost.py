"""What GuardedLinear costs: training time while it observes, and after, as a multiple of the time with Linear.

    python benchmarks/guarded_cost.py [--rounds 5] [--out benchmarks/results]

Whole training steps (forward, backward, Adam) on one thread, in processor time, of the models of probe_cost.py. They
take turns of ten steps, since after each step another model would find nothing of its own in the cache. "Observing" is
a warmup that lasts longer than the run, "after" one that ended in its first step. Expected before the first
measurement: 1.03 on the CNN, whose step takes 8 ms, 1.03 on the GPT, whose 0.5 M parameters are many for its time,
1.005 on the ResNet; 1.000 after. First measured, single steps in turns: 1.07, 1.06, 1.02. Chunks without a call per
tensor, one read for all products, and observing every second step made it what it is.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

import probe_cost
import torch
from probe_cost import MODELS

from rectified import Adam
from rectified.figures.table import markdown
from rectified.files import write
from rectified.study.execution.provenance import versions
from rectified.warmup import GuardedLinear, Linear

TITLE = """# What does a warmup that observes the run cost?

Processor time of whole training steps over that with Linear, medians and quartiles of rounds, one thread"""
LONG = 100_000
TURN = 10
WARMUPS = {"linear": Linear(LONG), "observing": GuardedLinear(LONG), "ended": Linear(1), "after": GuardedLinear(1)}


class Training(probe_cost.Training):
    """A model that is trained with one of the warmups, and the seconds that its steps took."""

    def __init__(self, name: str, warmup: str) -> None:
        super().__init__(name, "without")
        self.optimizer = Adam(self.model.parameters(), lr=1e-3, warmup=WARMUPS[warmup])


def trained(name: str, steps: int) -> dict[str, float]:
    """The seconds of each warmup's run; the runs take their steps in turns, whose order changes."""
    runs = {warmup: Training(name, warmup) for warmup in WARMUPS}
    for turn in range(steps // TURN):
        for run in runs.values() if turn % 2 else reversed(runs.values()):
            for _ in range(TURN):
                run.step()
    return {warmup: run.seconds for warmup, run in runs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows, found = [], {}
    for name, (_, _, steps) in MODELS.items():
        trained(name, 8)
        rounds = [trained(name, steps) for _ in range(asked.rounds)]
        milliseconds = 1e3 * statistics.median(seconds["linear"] for seconds in rounds) / steps
        row = [name, f"{milliseconds:.1f}"]
        for of, over in (("observing", "linear"), ("after", "ended")):
            low, ratio, high = statistics.quantiles([seconds[of] / seconds[over] for seconds in rounds], n=4)
            row.append(f"{ratio:.3f} ({low:.3f} to {high:.3f})")
        print(*row, sep=", ", file=sys.stderr, flush=True)
        rows.append(row)
        found[name] = rounds
    table = markdown(("model", "step, ms", "while it observes", "after it"), rows)
    print(table)
    if asked.out:
        write(asked.out / "guarded_cost.md", f"{TITLE}\n\n{table}\n")
        write(asked.out / "guarded_cost.json", json.dumps({"versions": versions("cpu"), "seconds": found}) + "\n")


if __name__ == "__main__":
    main()
