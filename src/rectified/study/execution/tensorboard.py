"""A run's TensorBoard events: epochs, first steps and hyperparameters."""

import math
from collections.abc import Iterable
from typing import Any

import torch

from ..config.runs import RunKey
from ..storage.records import Row
from .first_steps import StepRecord


def draw_epoch(board: Any, row: Row, omega: float, model: torch.nn.Module) -> None:
    """Add an epoch's metrics, omega at its end, and histograms of the weights."""
    step = int(row["step"])
    for name, value in row.items():
        if name not in ("epoch", "step"):
            board.add_scalar(name, value, step)
    board.add_scalar("omega", omega, step)
    for name, weights in model.named_parameters():
        board.add_histogram(name, weights.detach(), step)


def draw_steps(board: Any, found: Iterable[StepRecord]) -> None:
    """Add loss and omega of single steps."""
    for each in found:
        board.add_scalar("step/loss", each.loss, each.step)
        board.add_scalar("step/omega", each.omega, each.step)


def draw_hyperparameters(board: Any, key: RunKey, row: Row, metric: str) -> None:
    """Add the hyperparameters that TensorBoard's HPARAMS page shows to distinguish runs."""
    from torch.utils.tensorboard.summary import hparams

    values = {"task": key.task, "method": key.method, "lr": key.lr, "seed": key.seed, "batch_size": key.batch_size}
    for summary in hparams(values, {metric: row.get(metric, math.nan)}):  # type: ignore[no-untyped-call]
        board.file_writer.add_summary(summary)
