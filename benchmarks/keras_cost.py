"""How long does a step of rectified.keras take on Keras's torch backend, as a multiple of Keras's own optimizers?

    KERAS_BACKEND=torch python benchmarks/keras_cost.py [--rounds 15] [--out benchmarks/results]

``optimizer.apply`` alone, by one thread, on gradients of the small network of Fashion-MNIST (34 thousand parameters,
where Python takes the time), ResNet-20 and ViT-S/16 (22 million, where memory does). Optimizers take turns in blocks of
steps, and the table shows medians of the ratios within a round. On jax and tensorflow the step is compiled with the
rest of the training, and not measured here.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import torch

import rectified.keras
from rectified.bench.models import MODELS
from rectified.figures.table import markdown
from rectified.files import write
from rectified.warmup import Linear

STEPS = {"cnn": 50, "resnet20": 10, "vit-s16": 2}  # in a block
OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "keras.optimizers.Adam": lambda: keras.optimizers.Adam(1e-3),
    "rectified.keras.Adam(warmup=Linear(500))": lambda: rectified.keras.Adam(1e-3, warmup=Linear(500)),
    "rectified.keras.RAdam": lambda: rectified.keras.RAdam(1e-3),
    "keras.optimizers.AdamW": lambda: keras.optimizers.AdamW(1e-3),
    "rectified.keras.AdamW(warmup=Linear(500))": lambda: rectified.keras.AdamW(1e-3, warmup=Linear(500)),
}


def stepper(make: Callable[[], Any], model: str) -> Callable[[int], float]:
    """A function that takes this many steps and returns the seconds of one."""
    variables = [keras.Variable(0.02 * torch.randn(shape)) for shape in MODELS[model]()]
    grads = [1e-3 * torch.randn_like(variable.value) for variable in variables]
    optimizer = make()
    optimizer.build(variables)

    def block(steps: int) -> float:
        begin = time.perf_counter()
        for _ in range(steps):
            optimizer.apply(grads)
        return (time.perf_counter() - begin) / steps

    block(6)
    return block


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if keras.backend.backend() != "torch":
        parser.error(f"Keras runs on {keras.backend.backend()}; set KERAS_BACKEND=torch")
    torch.set_num_threads(1)
    first = next(iter(OPTIMIZERS))
    rows = {name: [f"`{name}`"] for name in OPTIMIZERS}
    found: dict[str, dict[str, list[float]]] = {}
    for model, steps in STEPS.items():
        blocks = {name: stepper(make, model) for name, make in OPTIMIZERS.items()}
        seconds: dict[str, list[float]] = {name: [] for name in blocks}
        for i in range(asked.rounds):
            for name in blocks if i % 2 else reversed(blocks):
                seconds[name].append(blocks[name](steps))
        found[model] = seconds
        for name, own in seconds.items():
            ratios = [x / base for x, base in zip(own, seconds[first], strict=True)]
            low, ratio, high = statistics.quantiles(ratios, n=4)
            rows[name] += [f"{1e6 * statistics.median(own):,.0f}", f"{ratio:.2f} ({low:.2f} to {high:.2f})"]
    heads = [head for model in STEPS for head in (f"{model}, µs per step", f"times {first}'s")]
    page = "\n".join(
        [
            "# How long does a step take in Keras, on torch?",
            "",
            f"Medians of {asked.rounds} blocks, and of their ratios within a round (quartiles).",
            f"One thread, Keras {keras.__version__}, torch {torch.__version__}.",
            "",
            markdown(["optimizer", *heads], list(rows.values())),
            "Made by `KERAS_BACKEND=torch python benchmarks/keras_cost.py --out benchmarks/results`.",
        ]
    )
    print(page)
    if asked.out is not None:
        asked.out.mkdir(parents=True, exist_ok=True)
        versions = {"keras": keras.__version__, "torch": torch.__version__}
        write(asked.out / "keras_cost.json", json.dumps({"versions": versions, "seconds": found}, indent=1) + "\n")
        write(asked.out / "keras_cost.md", page + "\n")


if __name__ == "__main__":
    main()
