"""Runs for tests that ask what a run comes to."""

from pathlib import Path
from typing import Any

from rectified.study.config.methods import parse
from rectified.study.config.runs import Run
from rectified.study.execution.execute import execute
from rectified.study.execution.limits import ANY, Limits
from rectified.workloads.tasks import BaseTask


def run_of(task: BaseTask, method: str, lr: float, seed: int = 0, epochs: int = 1, batch_size: int = 100) -> Run:
    """A run, its method by name."""
    run = Run(task, parse(method), lr, seed, epochs, batch_size)
    return Run(task, run.method.over(run.steps), lr, seed, epochs, batch_size)


def run_to_end(run: Run, data: Any, folder: Path, limits: Limits = ANY) -> str:
    """Execute the run in its folder, from its checkpoint if there is one; how it ended."""
    return [progress.kind for progress in execute(run, data, folder, limits=limits)][-1]
