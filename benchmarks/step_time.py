"""Step times of RAdam and Adam against torch and peers, as ratios in one run.

    python benchmarks/step_time.py [--sizes 33k,270k] [--rounds 10] [--out benchmarks/results]

Blocks of 20 steps, methods in turn, on tensors made for the block, each size in a process of its own; a method's ratio
is the median over rounds of (its block / our RAdam's block of the same round). Beside it the same with single steps in
turn, where caches are cold for everyone. Peers that are not installed are left out by name. Two threads, gradients
constant and present, past the rectification's start.
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
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module, metadata
from multiprocessing import get_context
from pathlib import Path

import torch

import rectified

THREADS = 2
BLOCK = 20
WARM = 8  # past the start: r_t is positive from t = 6


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


SIZES = {"33k": (cnn, 100), "270k": (resnet20, 50), "14M": (gpt, 12), "101M": (matrices, 8)}

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


def installed() -> list[str]:
    """The names of the methods that can be made here; says which can not."""
    found = []
    for name, make in METHODS.items():
        try:
            make([torch.nn.Parameter(torch.zeros(1))])
        except ImportError:
            print(f"  {name}: not installed", flush=True)
        else:
            found.append(name)
    return found


def stepper(name: str, grads: list[torch.Tensor]) -> Callable[[], object]:
    """A warmed-up step() of a method on parameters of its own."""
    params = [torch.nn.Parameter(torch.zeros_like(g)) for g in grads]
    for p, g in zip(params, grads, strict=True):
        p.grad = g
    optimizer = METHODS[name](params)
    if hasattr(optimizer, "train"):
        optimizer.train()
    for _ in range(WARM):
        optimizer.step()
    return optimizer.step


def seconds(step: Callable[[], object], block: int) -> float:
    """Seconds per step."""
    began = time.perf_counter()
    for _ in range(block):
        step()
    return (time.perf_counter() - began) / block


def turns(names: list[str], rounds: int) -> list[list[str]]:
    """The order of each round: rotated, and every other one backwards, so that nobody always follows the same one."""
    return [(names[i % len(names) :] + names[: i % len(names)])[:: 1 if i % 2 else -1] for i in range(rounds)]


def blocks(names: list[str], grads: list[torch.Tensor], rounds: int) -> dict[str, list[float]]:
    """Seconds per step of each method in each round, on tensors made for that round.

    Where the pages of large tensors happen to lie is worth up to 20 % of a step, for as long as they live: drawn once,
    it would be taken for the method's.
    """
    times: dict[str, list[float]] = {name: [] for name in names}
    for order in turns(names, rounds):
        for name in order:
            times[name].append(seconds(stepper(name, grads), BLOCK))
    return times


def singles(names: list[str], grads: list[torch.Tensor], rounds: int) -> dict[str, list[float]]:
    """The same by single steps in turn: caches are cold for everyone."""
    steps = {name: stepper(name, grads) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for order in turns(names, rounds):
        for name in order:
            times[name].append(seconds(steps[name], 1))
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


def measure(size: str, factor: float) -> dict[str, object]:
    """Everything about one size; run in a process of its own."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    make_shapes, rounds = SIZES[size]
    shapes, rounds = make_shapes(), max(4, round(rounds * factor))
    print(f"{size}: {rounds} rounds", flush=True)
    grads = [0.01 * torch.randn(shape) for shape in shapes]
    names = installed()
    in_blocks = blocks(names, grads, rounds)
    for name, (middle, low, high) in ratios(in_blocks).items():
        print(f"  {name:26} {middle:6.2f}  ({low:.2f} to {high:.2f})", flush=True)
    return {
        "title": f"{sum(g.numel() for g in grads):,} parameters, {len(grads)} tensors",
        "rounds": rounds,
        "blocks": ratios(in_blocks),
        "singles": ratios(singles(names, grads, 2 * rounds)),
        "seconds": statistics.median(in_blocks[BASE]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=",".join(SIZES), help="comma-separated, of " + ", ".join(SIZES))
    parser.add_argument("--rounds", type=float, default=1.0, help="factor on the number of rounds")
    parser.add_argument("--out", type=Path, default=None, help="folder for step_time.json and step_time.md")
    args = parser.parse_args()
    torch.set_num_threads(THREADS)
    # A size would inherit the allocator's state from the one before: it changes what the temporaries of others cost.
    fresh = ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1)
    with fresh as pool:
        results = {size: pool.submit(measure, size, args.rounds).result() for size in args.sizes.split(",")}
    text = f"{table(results)}\n\n{machine()}.\n"
    print("\n" + text)
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "step_time.md").write_text(f"Made by `{shlex.join(['python', *sys.argv])}`.\n\n{text}")
        (args.out / "step_time.json").write_text(json.dumps({"machine": machine(), "results": results}, indent=1))


if __name__ == "__main__":
    main()
