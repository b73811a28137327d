"""What a step of each of a study's methods costs: time, as a multiple of the first one's in one run, and memory.

    python benchmarks/method_cost.py docs/studies/alternatives.toml [--rounds 15] [--out benchmarks/results]

The optimizer's step alone, on gradients of the small network of Fashion-MNIST (34 thousand parameters, where Python
takes the time) and of ViT-S/16 (22 million, where memory does), by one thread, as in a study. Methods take turns in
blocks of steps; a block begins with parameters and states of its own and six steps that are not counted.
"""

import argparse
import json
import statistics
import tomllib
from pathlib import Path

import torch

from rectified.bench.entries import Entry
from rectified.bench.measure import Arena
from rectified.bench.models import MODELS
from rectified.figures.table import markdown
from rectified.files import write
from rectified.study.config.methods import parse
from rectified.study.execution.provenance import versions

LR = 1e-3
STEPS = {"cnn": 50, "vit-s16": 3}  # in a block


def entry(method: str) -> Entry:
    return Entry(method, "", lambda params: parse(method).build(params, LR, 0.0), "ours")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="its file, whose methods are measured")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    entries = [entry(method) for method in tomllib.loads(asked.study.read_text())["methods"]]
    seconds: dict[str, dict[str, list[float]]] = {}
    state: dict[str, float] = {}
    for model, steps in STEPS.items():
        arena = Arena(MODELS[model](), "cpu")
        seconds[model] = {each.name: [] for each in entries}
        for i in range(asked.rounds):
            for each in entries if i % 2 else reversed(entries):
                seconds[model][each.name].append(arena.block(each, steps, cold=0)["warm"])
        state = {each.name: arena.memory(each)["state"] / arena.size for each in entries}  # in the end of the larger
    first = entries[0].name
    rows = []
    for each in entries:
        row = [f"`{each.name}`"]
        for by_method in seconds.values():
            pairs = zip(by_method[each.name], by_method[first], strict=True)
            low, ratio, high = statistics.quantiles([ours / base for ours, base in pairs], n=4)
            row += [f"{1e6 * statistics.median(by_method[each.name]):,.0f}", f"{ratio:.2f} ({low:.2f} to {high:.2f})"]
        rows.append([*row, f"{state[each.name]:.1f}"])
    heads = [head for model in STEPS for head in (f"{model}, µs per step", f"times {first}'s")]
    page = "\n".join(
        [
            "# How long does a step of each method take?",
            "",
            f"Medians of {asked.rounds} blocks, and of their ratios within a round (quartiles).",
            f"One thread, torch {torch.__version__}. State: bytes per parameter.",
            "",
            markdown(["method", *heads, "state"], rows),
            f"Made by `python benchmarks/method_cost.py {asked.study} --out benchmarks/results`.",
        ]
    )
    print(page)
    if asked.out is not None:
        found = {"versions": versions("cpu"), "seconds": seconds, "state": state}
        asked.out.mkdir(parents=True, exist_ok=True)
        write(asked.out / "method_cost.json", json.dumps(found, indent=1) + "\n")
        write(asked.out / "method_cost.md", page + "\n")


if __name__ == "__main__":
    main()
