"""How much faster a study is than the loop one would write, and what the study itself costs, as ratios in one run.

    python benchmarks/study_throughput.py [--seeds 8] [--epochs 4] [--rounds 3] [--task NAME] [--out benchmarks/results]

The same runs of RAdam, round by round, three times:
  plain   one run after the other in one process with torch's threads: torch.optim.RAdam, a DataLoader, an accuracy
  bare    the study's training and nothing of the study: one process of one thread a core, no files
  study   `rectified study`, from its start to its report
Each is timed as a command is, with its start; ratios are taken within a round.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from rectified.files import write
from rectified.study.config.methods import parse
from rectified.study.config.runs import Run
from rectified.study.execution.provenance import versions
from rectified.study.execution.training import Training
from rectified.study.executors.local import MALLOC
from rectified.workloads.tasks import parse_task

LR = 0.01


def plain(name: str, seeds: Sequence[int], epochs: int) -> None:
    """What a newcomer would write; kindly, with pictures that are normalized once and no files opened."""
    task = parse_task(name)
    data = task.load(task.find(None, print))
    train, test = fashion_mnist(data.train_images, data.train_labels), fashion_mnist(data.test_images, data.test_labels)
    for seed in seeds:
        torch.manual_seed(seed)
        model = small_network()
        optimizer = torch.optim.RAdam(model.parameters(), lr=LR)
        for epoch in range(epochs):
            model.train()
            for images, labels in DataLoader(train, batch_size=task.batch_size, shuffle=True):
                optimizer.zero_grad()
                loss = F.cross_entropy(model(images), labels)
                loss.backward()
                optimizer.step()
            model.eval()
            right = 0
            with torch.no_grad():
                for images, labels in DataLoader(test, batch_size=task.batch_size):
                    right += (model(images).argmax(1) == labels).sum().item()
            print(f"seed {seed} epoch {epoch + 1}: loss {loss.item():.3f}, accuracy {100 * right / len(test):.2f} %")


def small_network() -> nn.Module:
    """The study's, as it is usually written: ReLU before pooling, torch's own memory format."""
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 12, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(192, 120), nn.ReLU(), nn.Linear(120, 60), nn.ReLU(), nn.Linear(60, 10)),
    )


def fashion_mnist(images: Tensor, labels: Tensor) -> TensorDataset:
    return TensorDataset((images.unsqueeze(1).float() / 255 - 0.2860) / 0.3530, labels.long())


def bare(name: str, seeds: Sequence[int], epochs: int) -> None:
    """A worker's share of the study, without the study."""
    torch.set_num_threads(1)
    task = parse_task(name)
    data = task.load(task.find(None, print))
    for seed in seeds:
        training = Training.begin(Run(task, parse("radam"), LR, seed, epochs, task.batch_size), data)
        for _ in range(epochs):
            order = training.generator()
            training.model.train()
            for batch in task.batches(data, task.batch_size, order):
                training.take(batch)
            training.model.eval()
            with torch.inference_mode():
                training.end_epoch(training.row(task.evaluate(training.model, data)), order)
        print(f"seed {seed}: {training.rows[-1]}")


def seconds(*commands: list[str]) -> float:
    """Of the commands, all at once, to the last one's end."""
    began = time.perf_counter()
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
    codes = [process.wait() for process in running]
    if any(codes):
        raise SystemExit(f"a command failed: {codes}")
    return time.perf_counter() - began


def measure(name: str, seeds: int, epochs: int, order: Sequence[str]) -> dict[str, float]:
    """A round: the seconds of each arm, taken in that order."""
    cores = min(len(os.sched_getaffinity(0)), seeds)
    script = [sys.executable, __file__, "--task", name, "--epochs", str(epochs)]
    with TemporaryDirectory() as folder:
        axes = ["--methods", "radam", "--lrs", str(LR), "--seeds", ",".join(map(str, range(seeds)))]
        study = [sys.executable, "-m", "rectified.cli", "study", name, *axes, "--epochs", str(epochs), "--out", folder]
        shares = [",".join(map(str, range(seeds)[i::cores])) for i in range(cores)]
        arms = {
            "plain": [[*script, "--arm", "plain", "--share", ",".join(map(str, range(seeds)))]],
            # With the allocator's settings of the study's workers: it differs by the study alone.
            "bare": [[*_env(), *script, "--arm", "bare", "--share", share] for share in shares],
            "study": [study],
        }
        return {arm: seconds(*arms[arm]) for arm in order}


def _env() -> list[str]:
    return ["env", *(f"{name}={value}" for name, value in MALLOC.items())]


def told(values: Sequence[float], digits: int = 2) -> str:
    """The median and the range."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8, help="runs in each arm of a round")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--task", default="fashion-mnist")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--arm", choices=("plain", "bare"), help=argparse.SUPPRESS)
    parser.add_argument("--share", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.arm:
        {"plain": plain, "bare": bare}[asked.arm](asked.task, [int(s) for s in asked.share.split(",")], asked.epochs)
        return
    arms, rounds = ["plain", "bare", "study"], []
    for i in range(asked.rounds):
        order = arms[i % 3 :] + arms[: i % 3]  # in turn, so that none is always the first
        rounds.append(measure(asked.task, asked.seeds, asked.epochs, order))
        print({arm: round(value, 1) for arm, value in rounds[-1].items()}, flush=True)
    lines = [
        "# How much faster is a study than a plain loop?",
        "",
        f"{asked.seeds} runs of {asked.epochs} epochs of RAdam on {asked.task}, {len(os.sched_getaffinity(0))} cores "
        f"({platform.machine()}, torch {torch.__version__}).",
        f"Medians of {asked.rounds} rounds (lowest to highest):",
        "",
        f"- plain loop / study: **{told([r['plain'] / r['study'] for r in rounds])}**",
        f"- what the study adds to its bare training: {told([r['study'] - r['bare'] for r in rounds], 1)} s, "
        f"{told([100 * (r['study'] / r['bare'] - 1) for r in rounds], 1)} %",
        *(f"- {arm}: {told([r[arm] for r in rounds], 1)} s" for arm in arms),
        "",
        f"Made by `{' '.join(['python benchmarks/study_throughput.py', *sys.argv[1:]])}`.",
    ]
    print("\n".join(lines))
    if asked.out is not None:
        asked.out.mkdir(parents=True, exist_ok=True)
        found = json.dumps({"rounds": rounds, "versions": versions()}, indent=1)
        write(asked.out / "study_throughput.json", found + "\n")
        write(asked.out / "study_throughput.md", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
