"""Step times of RAdam and Adam against torch and peers, as ratios in one run.

    python benchmarks/step_time.py [--sizes 33k,270k] [--rounds 10] [--out benchmarks/results]

Blocks of 20 steps, methods in turn; a method's ratio is the median over rounds of (its block / our RAdam's block of the
same round). Beside it the same with single steps in turn, where caches are cold for everyone. Peers that are not
installed are left out by name. Two threads, gradients constant and present, past the rectification's start.
"""

import argparse
import json
import platform
import shlex
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from importlib import import_module, metadata
from pathlib import Path

import torch

import rectified

BLOCK = 20


def cnn() -> list[tuple[int, ...]]:
    """The Fashion-MNIST network of the study: 32,998 parameters."""
    convolutions = [(6, 1, 5, 5), (6,), (12, 6, 5, 5), (12,)]
    return [*convolutions, (120, 192), (120,), (60, 120), (60,), (10, 60), (10,)]


def resnet20() -> list[tuple[int, ...]]:
    """ResNet-20 for CIFAR-10: 0.27 M parameters."""
    shapes: list[tuple[int, ...]] = [(16, 3, 3, 3), (16,), (16,)]
    before = 16
    for width in (16, 32, 64):
        for _ in range(3):
            shapes += [(width, before, 3, 3), (width,), (width,), (width, width, 3, 3), (width,), (width,)]
            before = width
    return [*shapes, (10, 64), (10,)]


def gpt() -> list[tuple[int, ...]]:
    """A GPT of 6 layers, width 384, vocabulary 8,192: 14 M parameters."""
    d = 384
    layer = [(d,), (d,), (3 * d, d), (3 * d,), (d, d), (d,), (d,), (d,), (4 * d, d), (4 * d,), (d, 4 * d), (d,)]
    return [(8192, d), *layer * 6, (d,)]


def matrices() -> list[tuple[int, ...]]:
    """Six matrices of 4096 x 4096: 101 M parameters, pure memory traffic."""
    return [(4096, 4096)] * 6


SIZES = {"33k": (cnn, 100), "270k": (resnet20, 50), "14M": (gpt, 12), "101M": (matrices, 5)}

Params = list[torch.nn.Parameter]
METHODS: dict[str, Callable[[Params], torch.optim.Optimizer]] = {
    "rectified RAdam": lambda params: rectified.RAdam(params),
    "rectified AdamW": lambda params: rectified.AdamW(params),
    "torch RAdam": lambda params: torch.optim.RAdam(params),
    "torch RAdam foreach": lambda params: torch.optim.RAdam(params, foreach=True),
    "torch AdamW fused": lambda params: torch.optim.AdamW(params, fused=True),
    "pytorch_optimizer RAdam": lambda params: import_module("pytorch_optimizer").RAdam(params),
    "torch-optimi RAdam": lambda params: import_module("optimi").RAdam(params, lr=1e-3),
    "schedulefree RAdam": lambda params: import_module("schedulefree").RAdamScheduleFree(params),
}
BASE = "rectified RAdam"


def steppers(shapes: list[tuple[int, ...]]) -> dict[str, Callable[[], object]]:
    """A warmed-up step() of each method that is installed, each on parameters of its own."""
    torch.manual_seed(0)
    grads = [0.01 * torch.randn(shape) for shape in shapes]
    found = {}
    for name, make in METHODS.items():
        params = [torch.nn.Parameter(torch.zeros(shape)) for shape in shapes]
        for p, g in zip(params, grads, strict=True):
            p.grad = g
        try:
            optimizer = make(params)
        except ImportError:
            print(f"  {name}: not installed", flush=True)
            continue
        if hasattr(optimizer, "train"):
            optimizer.train()
        for _ in range(10):
            optimizer.step()
        found[name] = optimizer.step
    return found


def measure(steps: dict[str, Callable[[], object]], rounds: int, block: int) -> dict[str, list[float]]:
    """Seconds per step of each method in each round."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            began = time.perf_counter()
            for _ in range(block):
                step()
            times[name].append((time.perf_counter() - began) / block)
    return times


def ratios(times: dict[str, list[float]]) -> dict[str, tuple[float, float, float]]:
    """Median and quartiles of each method's paired ratio to ours."""
    found = {}
    for name, mine in times.items():
        pairs = [theirs / ours for theirs, ours in zip(mine, times[BASE], strict=True)]
        low, middle, high = statistics.quantiles(pairs, n=4, method="inclusive")
        found[name] = (middle, low, high)
    return found


def machine() -> str:
    """The machine and the versions, in a line."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    peers = []
    for name in ("pytorch_optimizer", "torch-optimi", "schedulefree"):
        try:
            peers.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    ours = [f"{cpu}, {torch.get_num_threads()} threads", f"Python {platform.python_version()}"]
    return ", ".join([*ours, f"torch {torch.__version__}", f"rectified {rectified.__version__}", *peers])


def table(results: dict[str, dict[str, object]]) -> str:
    """Markdown: one row a method, one column a size."""
    names = [name for name in METHODS if any(name in result["blocks"] for result in results.values())]
    lines = ["| time of a step / ours | " + " | ".join(result["title"] for result in results.values()) + " |"]
    lines.append("|---|" + "---|" * len(results))
    for name in names:
        row = []
        for result in results.values():
            middle, low, high = result["blocks"][name]
            row.append(
                f"1 ({1e6 * result['seconds']:,.0f} µs)" if name == BASE else f"{middle:.2f} ({low:.2f} to {high:.2f})"
            )
        lines.append(f"| {name} | " + " | ".join(row) + " |")
    lines += ["", "Single steps in turn, medians:", ""]
    lines += [lines[0], lines[1]]
    for name in names:
        lines.append(
            f"| {name} | " + " | ".join(f"{result['singles'][name][0]:.2f}" for result in results.values()) + " |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=",".join(SIZES), help="comma-separated, of " + ", ".join(SIZES))
    parser.add_argument("--rounds", type=float, default=1.0, help="factor on the number of rounds")
    parser.add_argument("--out", type=Path, default=None, help="folder for step_time.json and step_time.md")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(2)
    results: dict[str, dict[str, object]] = {}
    for size in args.sizes.split(","):
        shapes, rounds = SIZES[size]
        rounds = max(3, round(rounds * args.rounds))
        count = sum(torch.Size(shape).numel() for shape in shapes())
        print(f"{size}: {rounds} rounds", flush=True)
        steps = steppers(shapes())
        measure(steps, 1, 2)
        blocks = measure(steps, rounds, BLOCK)
        singles = measure(steps, 2 * rounds, 1)
        results[size] = {
            "title": f"{count:,} parameters, {len(shapes())} tensors",
            "blocks": ratios(blocks),
            "singles": ratios(singles),
            "seconds": statistics.median(blocks[BASE]),
        }
        for name, (middle, low, high) in results[size]["blocks"].items():
            print(f"  {name:26} {middle:6.2f}  ({low:.2f} to {high:.2f})", flush=True)
    text = f"{table(results)}\n\n{machine()}.\n"
    print("\n" + text)
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "step_time.md").write_text(f"Made by `{shlex.join(['python', *sys.argv])}`.\n\n{text}")
        (args.out / "step_time.json").write_text(json.dumps({"machine": machine(), "results": results}, indent=1))


if __name__ == "__main__":
    main()
