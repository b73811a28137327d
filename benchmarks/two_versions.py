"""Did a change make a step slower? Step times of two checkouts of this package as paired ratios, new / old.

    git worktree add ../old v0.1.0
    python benchmarks/two_versions.py ../old/src src [--models cnn,gpt2] [--out benchmarks/results]

Two processes, one per checkout, step the same model with the same gradients, in blocks whose order is drawn for each
round. They are started anew a few times, since a process's time depends on where its memory lies. The table shows the
median over all rounds of the ratio of two neighboring blocks, with quartiles, and the median of each start.
"""

import argparse
import json
import os
import random
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

import torch

from rectified.bench.models import MODELS
from rectified.figures.table import markdown
from rectified.files import write

STEPS = {"cnn": 150, "resnet20": 40}  # in a block, of which other models take one
# An older checkout knows nothing of this file, so it gets the shapes.
SERVE = """
import json, sys, time
import torch
import rectified

asked = json.loads(sys.stdin.readline())
torch.manual_seed(0)
torch.set_num_threads(asked["threads"])
params = [torch.nn.Parameter(0.02 * torch.randn(shape)) for shape in asked["shapes"]]
for p in params:
    p.grad = 1e-3 * torch.randn_like(p)
optimizer = getattr(rectified, asked["method"])(params, lr=1e-3)
for _ in range(8):
    optimizer.step()
print(rectified.__file__, flush=True)
for line in sys.stdin:
    optimizer.step()
    begin = time.perf_counter()
    for _ in range(int(line)):
        optimizer.step()
    print((time.perf_counter() - begin) / int(line), flush=True)
"""
TEXT = """# Is a step slower than it was?

Ratios of the time of a step, new / old: the median over all rounds (quartiles), and the median of each start.
{threads} threads, torch {torch}.

{table}

Made by `{command}`.
"""


class Checkout:
    """A process that steps with the package in a folder of sources."""

    def __init__(self, source: Path, method: str, model: str, threads: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVE],
            env={**os.environ, "PYTHONPATH": str(source)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        place = self._ask(json.dumps({"method": method, "shapes": MODELS[model](), "threads": threads}))
        assert Path(place).is_relative_to(source), f"{place} is not in {source}"

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def block(self, steps: int) -> float:
        """The seconds of one step, after one that is not counted."""
        return float(self._ask(str(steps)))

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def ratios(old: Path, new: Path, method: str, model: str, rounds: int, threads: int) -> list[float]:
    """The ratios new / old of one start."""
    both, found = [Checkout(source, method, model, threads) for source in (old, new)], []
    for _ in range(rounds):
        seconds = {each: each.block(STEPS.get(model, 1)) for each in random.sample(both, 2)}
        found.append(seconds[both[1]] / seconds[both[0]])
    for each in both:
        each.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--models", default="cnn,resnet20,vit-s16,resnet50,gpt2")
    parser.add_argument("--methods", default="RAdam,Adam")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--starts", type=int, default=4)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    found: dict[str, dict[str, list[list[float]]]] = {}
    for method in asked.methods.split(","):
        for model in asked.models.split(","):
            found.setdefault(method, {})[model] = [
                ratios(asked.old.resolve(), asked.new.resolve(), method, model, asked.rounds, asked.threads)
                for _ in range(asked.starts)
            ]
    rows = []
    for method, by_model in found.items():
        for model, starts in by_model.items():
            low, ratio, high = statistics.quantiles([x for start in starts for x in start], n=4)
            each = ", ".join(f"{statistics.median(start):.2f}" for start in starts)
            rows.append([method, model, f"{ratio:.3f} ({low:.2f} to {high:.2f})", each])
    table = markdown(["method", "model", "new / old", "by start"], rows).rstrip()
    print(table)
    if asked.out is not None:
        asked.out.mkdir(parents=True, exist_ok=True)
        made = {"command": shlex.join(["python", *sys.argv]), "threads": asked.threads, "torch": torch.__version__}
        write(asked.out / "two_versions.json", json.dumps({**made, "ratios": found}, indent=1) + "\n")
        write(asked.out / "two_versions.md", TEXT.format(table=table, **made))


if __name__ == "__main__":
    main()
