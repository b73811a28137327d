"""The processes that train one run together, as one of them sees it.

Here there is one of them; several are in :mod:`..executors.ddp_worker`.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ...workloads.batches import moved
from ...workloads.tasks import BaseTask

T = TypeVar("T")


class Ranks:
    """One process that trains a run alone.

    Several take the same steps and decide alike; the first of them reads the clock, evaluates, writes and reports.

    Attributes:
        count: how many they are.
        first: whether this is the one that measures.
    """

    count = 1
    first = True

    def part_ways(self) -> None:
        """Once the model is made, which is alike everywhere, let each rank draw random numbers of its own."""

    def loss(self, task: BaseTask, model: nn.Module, batch: Any) -> tuple[Tensor, float]:
        """The loss that this rank differentiates, so that gradients are the whole batch's, and the batch's loss."""
        loss = task.loss(model, moved(batch, device_of(model)))
        return loss, loss.item()

    def from_first(self, compute: Callable[[], T]) -> T:
        """What ``compute`` returns on the first rank, for which the others wait."""
        return compute()

    def agreed(self, ask: Callable[[], bool]) -> Callable[[], bool]:
        """The same question, answered alike everywhere: as the first rank answered it when a loss was last shared."""
        return ask

    def gather(self, mine: Tensor) -> Tensor:
        """On the first rank, what each of them has, for a checkpoint."""
        return mine

    def own(self, gathered: Tensor) -> Tensor:
        """What this rank had when it was gathered."""
        return gathered


ALONE = Ranks()


def device_of(model: nn.Module) -> torch.device:
    """Where the model is."""
    return next(model.parameters()).device
