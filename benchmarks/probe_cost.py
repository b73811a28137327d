"""What a Probe costs: training time with it as a multiple of the time without, and memory.

    python benchmarks/probe_cost.py [--rounds 7] [--out benchmarks/results]

Whole training steps (forward, backward, Adam) on one thread. Runs with and without a probe take turns; the ratio is
within a round. Memory is the peak of a process of its own. Expected before the first measurement: 2 % on the CNN, whose
step takes 8 ms and whose 36 observed steps of 500 cost 2 ms each, and less than 1 % elsewhere.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
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


def run(name: str, watched: bool, again: bool = False) -> tuple[float, int]:
    """Train, and return the seconds and the number of observed steps."""
    make, batch, steps = MODELS[name]
    torch.manual_seed(0)
    model = make()
    inputs, targets = batch()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def loss_of() -> Tensor:
        logits = model(inputs)
        return F.cross_entropy(logits.flatten(0, -2), targets)

    probe = Probe(optimizer) if watched else None
    began = time.perf_counter()
    for _ in range(steps):
        loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if probe is not None:
            probe.observe(loss, again=loss_of if again else None)
    return time.perf_counter() - began, len(probe.history) if probe else 0


def peak(name: str, watched: bool) -> float:
    """The peak memory of a process that trains, in MiB."""
    code = (
        "import resource, probe_cost, torch; torch.set_num_threads(1); "
        f"probe_cost.run({name!r}, {watched}); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    here = Path(__file__).parent
    done = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=True)
    return int(done.stdout) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows, found = [], {}
    for name, (_, _, steps) in MODELS.items():
        seconds: dict[str, list[float]] = {"without": [], "with": [], "with a second loss": []}
        observed = 0
        run(name, watched=True)
        for i in range(asked.rounds):
            for kind in seconds if i % 2 else reversed(seconds):
                took, count = run(name, kind != "without", again=kind == "with a second loss")
                seconds[kind].append(took)
                observed = max(observed, count)
        memory = {kind: [peak(name, kind == "with") for _ in range(3)] for kind in ("without", "with")}
        row = [name, f"{steps}", f"{observed}", f"{1e3 * statistics.median(seconds['without']) / steps:.1f}"]
        for kind in ("with", "with a second loss"):
            pairs = zip(seconds[kind], seconds["without"], strict=True)
            low, ratio, high = statistics.quantiles([a / b for a, b in pairs], n=4)
            row.append(f"{ratio:.3f} ({low:.3f} to {high:.3f})")
        row.append(f"{statistics.median(memory['with']) / statistics.median(memory['without']):.3f}")
        rows.append(row)
        found[name] = {"seconds": seconds, "memory_mib": memory}
    heads = ["model", "steps", "observed", "ms per step", "time with a probe", "with a second loss", "peak memory"]
    page = "\n".join(
        [
            "# What does a Probe cost?",
            "",
            f"Training time and peak memory with a probe over those without: medians of {asked.rounds} rounds",
            f"(quartiles). One thread, torch {torch.__version__}. Observed steps are on a logarithmic schedule,",
            "so a longer run pays less.",
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
