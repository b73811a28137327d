"""What a Probe costs: training time with it as a multiple of the time without, and memory.

    python benchmarks/probe_cost.py [--rounds 5] [--out benchmarks/results]

Whole training steps (forward, backward, Adam) on one thread, in processor time. Models without a probe, with one, and
with one that is also given a second loss take their steps in turns. Memory is the peak of a process of its own.
Expected before the first measurement: 2 % on the CNN, whose step takes 8 ms and whose 36 observed steps of 500 cost
2 ms each, and less than 1 % elsewhere.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rectified import Probe
from rectified.figures.table import markdown
from rectified.files import write
from rectified.study.execution.provenance import versions
from rectified.workloads.models.gpt import GPT
from rectified.workloads.models.resnet import resnet20
from rectified.workloads.models.small_cnn import SmallCNN


def _pictures(*shape: int) -> tuple[Tensor, Tensor]:
    return torch.randn(*shape), torch.randint(10, (shape[0],))


def _words() -> tuple[Tensor, Tensor]:
    words = torch.randint(512, (16, 65))
    return words[:, :-1], words[:, 1:].flatten()


# Each model: how to make it, a batch, and the number of steps of a run.
MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[Tensor, Tensor]], int]] = {
    "small CNN, 33 k": (SmallCNN, lambda: _pictures(128, 1, 28, 28), 500),
    "ResNet-20, 270 k": (resnet20, lambda: _pictures(32, 3, 32, 32), 200),
    "GPT, 0.5 M": (lambda: GPT(512, 64, 2, 128, 4, 0.0), _words, 300),
}


KINDS = ("without", "with", "with a second loss")


class Training:
    """A model that is trained, and the seconds that its steps took."""

    def __init__(self, name: str, kind: str) -> None:
        make, batch, _ = MODELS[name]
        torch.manual_seed(0)
        self.model = make()
        self.inputs, self.targets = batch()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-4)
        self.probe = None if kind == "without" else Probe(self.optimizer)
        self.again = self.loss if kind == "with a second loss" else None
        self.seconds = 0.0

    def loss(self) -> Tensor:
        return F.cross_entropy(self.model(self.inputs).flatten(0, -2), self.targets)

    def step(self) -> None:
        began = time.process_time()
        loss = self.loss()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.probe is not None:
            self.probe.observe(loss, again=self.again)
        self.seconds += time.process_time() - began


def trained(name: str, kinds: Sequence[str], steps: int) -> list[Training]:
    """Train one model of each kind in turns, the order of which changes from step to step."""
    runs = [Training(name, kind) for kind in kinds]
    for step in range(steps):
        for run in runs if step % 2 else reversed(runs):
            run.step()
    return runs


def peak(name: str, kind: str) -> float:
    """The peak memory of a process that trains for 24 steps, of which 13 are observed, in MiB."""
    code = (
        "import resource, probe_cost, torch; torch.set_num_threads(1); "
        f"probe_cost.trained({name!r}, [{kind!r}], 24); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    here = Path(__file__).parent
    done = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=True)
    return int(done.stdout) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows, found = [], {}
    for name, (_, _, steps) in MODELS.items():
        trained(name, KINDS, 8)
        rounds = [trained(name, KINDS, steps) for _ in range(asked.rounds)]
        seconds = {kind: [runs[i].seconds for runs in rounds] for i, kind in enumerate(KINDS)}
        memory = {kind: [peak(name, kind) for _ in range(3)] for kind in KINDS[:2]}
        observed = len(rounds[0][1].probe.history)
        row = [name, f"{steps}", f"{observed}", f"{1e3 * statistics.median(seconds['without']) / steps:.1f}"]
        for kind in KINDS[1:]:
            pairs = zip(seconds[kind], seconds["without"], strict=True)
            low, ratio, high = statistics.quantiles([a / b for a, b in pairs], n=4)
            row.append(f"{ratio:.3f} ({low:.3f} to {high:.3f})")
        row.append(f"{statistics.median(memory['with']) / statistics.median(memory['without']):.3f}")
        print(*row, sep=", ", file=sys.stderr, flush=True)
        rows.append(row)
        found[name] = {"seconds": seconds, "memory_mib": memory}
    heads = ["model", "steps", "observed", "ms per step", "time with a probe", "with a second loss", "peak memory"]
    page = "\n".join(
        [
            "# What does a Probe cost?",
            "",
            f"Training time and peak memory with a probe over those without: medians of {asked.rounds} rounds",
            f"(quartiles). Processor time of one thread, torch {torch.__version__}. Observed steps are on a",
            "logarithmic schedule, so a longer run pays less.",
            "",
            markdown(heads, rows),
            "Made by `python benchmarks/probe_cost.py --out benchmarks/results`.",
        ]
    )
    print(page)
    if asked.out is not None:
        asked.out.mkdir(parents=True, exist_ok=True)
        write(asked.out / "probe_cost.json", json.dumps({"versions": versions("cpu"), **found}, indent=1) + "\n")
        write(asked.out / "probe_cost.md", page + "\n")


if __name__ == "__main__":
    main()
