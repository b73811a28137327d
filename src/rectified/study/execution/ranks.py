"""The interface between a run and the processes that train it, for a single process.

:mod:`..executors.ddp_worker` implements it for several processes.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ...workloads.batches import moved
from ...workloads.tasks import BaseTask

T = TypeVar("T")


class Ranks:
    """The processes that train a run together; here, a single process.

    Several ranks take the same steps and the same decisions; the first one reads the clock, evaluates, writes and
    reports.

    Attributes:
        count: the number of ranks.
        first: whether this is the first rank.
    """

    count = 1
    first = True

    def part_ways(self) -> None:
        """Give each rank its own random numbers, after all of them have built the same model."""

    def loss(self, task: BaseTask, model: nn.Module, batch: Any) -> tuple[Tensor, float]:
        """The loss that this rank differentiates to get the gradient of the full batch, and the full batch's loss."""
        loss = task.loss(model, moved(batch, device_of(model)))
        return loss, loss.item()

    def from_first(self, compute: Callable[[], T]) -> T:
        """The result of ``compute`` on the first rank, for which the other ranks wait."""
        return compute()

    def agreed(self, ask: Callable[[], bool]) -> Callable[[], bool]:
        """A question whose answer all ranks share: the first rank's answer when a loss was last shared."""
        return ask

    def gather(self, mine: Tensor) -> Tensor:
        """Gather each rank's tensor on the first rank, for a checkpoint."""
        return mine

    def own(self, gathered: Tensor) -> Tensor:
        """This rank's part of what :meth:`gather` gathered."""
        return gathered


ALONE = Ranks()


def device_of(model: nn.Module) -> torch.device:
    """The device of a model's parameters."""
    return next(model.parameters()).device
