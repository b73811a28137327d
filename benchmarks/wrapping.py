"""What a warmup around another's optimizer costs a step, in microseconds beyond the optimizer's own.

    python benchmarks/wrapping.py [--rounds 41] [--out benchmarks/results]

One optimizer that does nothing, so that what is left is the wrapping, and two of torch's on a small network's ten
tensors. Each takes steps wrapped and bare in turn, the very same object (its hooks are put aside meanwhile),
so that memory and its layout are the same; differences are taken within a round.
"""

import argparse
import json
import statistics
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import rectified
from rectified.files import write
from rectified.study.execution.provenance import versions
from rectified.warmup import Linear, Rectified, UntunedLinear, Warmup

SHAPES = [(8, 1, 5, 5), (8,), (16, 8, 5, 5), (16,), (32, 256), (32,), (32, 32), (32,), (10, 32), (10,)]
STEPS = 100
NONE: OrderedDict[int, Any] = OrderedDict()


class Idle(torch.optim.Optimizer):
    """It does nothing."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"lr": 0.1, "betas": (0.9, 0.999)})

    def step(self, closure: Callable[[], Any] | None = None) -> None:
        pass


KINDS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "idle": Idle,
    "torch.optim.Adam(fused=True)": lambda params: torch.optim.Adam(params, fused=True),
    "torch.optim.NAdam": torch.optim.NAdam,
}
WARMUPS: dict[str, Warmup] = {
    "Rectified()": Rectified(),
    "UntunedLinear()": UntunedLinear(),
    "Linear(10**6)": Linear(10**6),
}


Step = Callable[[], Any]


def arms(kind: Callable[[Any], torch.optim.Optimizer]) -> dict[str, tuple[Step, Step]]:
    """A step with the warmup and one without, by the same optimizer."""

    def made() -> torch.optim.Optimizer:
        params = [torch.nn.Parameter(torch.ones(shape)) for shape in SHAPES]
        for p in params:
            p.grad = torch.full_like(p, 1e-3)
        return kind(params)

    def bare(optimizer: torch.optim.Optimizer, step: Step) -> Step:
        """The optimizer's own step, its hooks put aside meanwhile."""
        hooks = optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks

        def alone() -> None:
            optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks = NONE, NONE
            step()
            optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks = hooks

        return alone

    found: dict[str, tuple[Step, Step]] = {}
    for name, warmup in WARMUPS.items():
        optimizer = made()
        step = rectified.rectify(optimizer, warmup).step
        found[f"rectify, {name}"] = step, bare(optimizer, optimizer.step)
    beside = made()
    own = beside.step  # without what an LRScheduler wraps around it
    rectified.WarmupLR(beside, Rectified())
    return {**found, "WarmupLR, Rectified()": (beside.step, bare(beside, own))}


def seconds(step: Step) -> float:
    """Of a step."""
    begin = time.perf_counter()
    for _ in range(STEPS):
        step()
    return (time.perf_counter() - begin) / STEPS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=201)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    measured: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for name, kind in KINDS.items():
        steps = arms(kind)
        measured[name] = {arm: [] for arm in steps}
        for i in range(options.rounds):
            for arm, pair in steps.items():
                taken = {j: 1e6 * seconds(pair[j]) for j in ((0, 1) if i % 2 else (1, 0))}
                measured[name][arm].append((taken[0], taken[1]))
    bare = {
        name: statistics.median(b for pairs in found.values() for _, b in pairs) for name, found in measured.items()
    }
    lines = [
        "# What does a warmup around another optimizer cost?",
        "",
        f"Microseconds that it adds to a step: medians of {options.rounds} paired differences, with quartiles; one "
        f"thread, torch {torch.__version__}",
        "",
        "| | " + " | ".join(KINDS) + " |",
        "| --- | " + " | ".join("---:" for _ in KINDS) + " |",
        "| the optimizer alone | " + " | ".join(f"{bare[name]:.1f}" for name in KINDS) + " |",
    ]
    for arm in measured["idle"]:
        cells = []
        for name in KINDS:
            low, middle, high = statistics.quantiles([a - b for a, b in measured[name][arm]], n=4)
            cells.append(f"{middle:.1f} ({low:.1f} to {high:.1f})")
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    text = "\n".join([*lines, "", "Made by `python benchmarks/wrapping.py --out benchmarks/results`.", ""])
    print(text)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        write(options.out / "wrapping.md", text)
        write(
            options.out / "wrapping.json", json.dumps({"versions": versions("cpu"), "microseconds": measured}, indent=1)
        )


if __name__ == "__main__":
    main()
