"""Warmups as a torch LRScheduler, and the linear scaling rule of gradual warmup."""

from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from ...warmup import Rectified, Warmup
from ...warmup.interface import OnZero
from ..observe.remembered import observing, refuse_memories
from ..states.clock import refuse_count
from ..step.options import CLOCK, OBSERVED
from .compat import unwrapped
from .scaling import Scaling


class WarmupLR(LRScheduler):
    r"""A warmup as a scheduler, for trainers that take an optimizer and a scheduler.

    .. math:: \gamma_t \leftarrow \gamma_t\,\omega(t; \beta_2)

    As with :func:`rectified.rectify`, lr is multiplied by omega during each step of the optimizer and unchanged
    otherwise. So it does not interfere with other schedulers on the same optimizer, before or after it, recursive or in
    closed form, in a ChainedScheduler or a SequentialLR, whose milestones do not end it. Loggers that read
    ``group["lr"]`` see the lr without omega; ``get_last_lr()`` includes it, and ``group["omega"]`` is omega alone.

    t counts the optimizer's steps, not calls of this scheduler's ``step()``, which some trainers make once per epoch
    and others once per process. It is stored in the groups, and so in the ``state_dict`` of the optimizer as well as of
    this scheduler: either is enough to resume.

    Args:
        optimizer: any torch.optim.Optimizer.
        warmup: as in :mod:`rectified.warmup`; ``None`` is ``Rectified()``.
        beta2: as in :func:`rectified.rectify`.
        on_zero: as in :func:`rectified.rectify`.
        last_epoch: for an optimizer that was resumed without its state, the number of steps it has taken minus one; -1
            for none.

    Raises:
        TypeError, ValueError: as :func:`rectified.rectify`.

    >>> import torch, rectified
    >>> from rectified.warmup import Linear
    >>> p = torch.nn.Parameter(torch.ones(1))
    >>> optimizer = torch.optim.SGD([p], lr=0.4)
    >>> schedulers = [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5), rectified.WarmupLR(optimizer, Linear(4))]
    >>> for _ in range(3):
    ...     before, p.grad = p.item(), torch.ones(1)
    ...     optimizer.step()
    ...     for scheduler in schedulers:
    ...         scheduler.step()
    ...     print(round(before - p.item(), 4))
    0.1
    0.1
    0.075

    Reference: arXiv:1706.02677, section 2.2; arXiv:1910.04209, section 5.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        warmup: Warmup | None = None,
        beta2: float | None = None,
        on_zero: OnZero = "skip",
        last_epoch: int = -1,
    ) -> None:
        warmup = Rectified() if warmup is None else warmup
        self.scaling = Scaling(optimizer, warmup, beta2, on_zero, taken=last_epoch + 1)
        super().__init__(unwrapped(optimizer), last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        """The unchanged lrs, since this scheduler does not change them between steps."""
        return [_copy(group["lr"]) for group in self.optimizer.param_groups]

    def get_last_lr(self) -> list[float | Tensor]:
        """The lrs of the next step, including omega."""
        return [
            _copy(group["lr"]) * omega
            for group, omega in zip(self.optimizer.param_groups, self.scaling.omegas(self.optimizer), strict=True)
        ]

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a copied or pickled state, so that the copy warms up the copy of the optimizer."""
        self.__dict__.update(state)
        self.scaling = self.scaling.copied(self.optimizer)

    def state_dict(self) -> dict[str, Any]:
        """The step counts of the groups, and torch's own entries."""
        kept = {key: x for key, x in super().state_dict().items() if key != "scaling"}
        groups = self.optimizer.param_groups
        saved = {**kept, "counts": [self.scaling.clock(self.optimizer, group) for group in groups]}
        return {**saved, "observed": [group.get(OBSERVED, ()) for group in groups]} if self._observes else saved

    @property
    def _observes(self) -> bool:
        return observing(self.scaling.warmup)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a saved state.

        Raises:
            ValueError: it has no counts, or is for another number of groups, or what a warmup observed is invalid;
                nothing is changed then.
        """
        counts, groups = state_dict.get("counts"), self.optimizer.param_groups
        if not isinstance(counts, list) or len(counts) != len(groups):
            raise ValueError(
                f"the saved counts are {counts}, but the optimizer has {len(groups)} groups: they belong to another "
                "scheduler"
            )
        for index, count in enumerate(counts):
            refuse_count(count, f"group {index}", ValueError)
        # A save without what a warmup observed leaves what the optimizer's own save has.
        observed = state_dict.get("observed", [group.get(OBSERVED, ()) for group in groups])
        if not isinstance(observed, list) or len(observed) != len(groups):
            raise ValueError(
                f"the saved observations are {observed}, but the optimizer has {len(groups)} groups: they belong to "
                "another scheduler"
            )
        for index, memory in enumerate(observed):
            refuse_memories(memory, f"group {index}")
        for group, count, memory in zip(groups, counts, observed, strict=True):
            group[CLOCK] = count
            if self._observes:
                group[OBSERVED] = memory
        super().load_state_dict({key: x for key, x in state_dict.items() if key not in ("counts", "observed")})

    def observe_loss(self, loss: float | Tensor) -> None:
        """Pass the loss to a warmup that observes it, before each step of the optimizer."""
        self.scaling.loss = loss

    def remove(self) -> None:
        """End the warmup: lr is no longer scaled."""
        self.scaling.detach(self.optimizer)


def linear_scaling(lr: float, batch_size: int, base_batch_size: int = 256) -> float:
    r"""The linear scaling rule: the lr for a large batch, to combine with gradual warmup.

    .. math:: \gamma = \gamma_\text{base}\, \frac{B}{256}

    The rule is for SGD. For Adam, the square root of the ratio is often recommended; this package has not measured it.

    Args:
        lr: the lr for the base batch size, at least 0.
        batch_size: the batch size over all processes, including accumulation, at least 1.
        base_batch_size: the batch size for which lr was chosen, at least 1.

    Raises:
        ValueError: a value is out of range.

    >>> linear_scaling(0.1, 8192)
    3.2

    Reference: arXiv:1706.02677, section 2.1.
    """
    if not lr >= 0:
        raise ValueError(f"lr is {lr!r}; it must be 0 or more")
    for name, size in (("batch_size", batch_size), ("base_batch_size", base_batch_size)):
        if not size >= 1:
            raise ValueError(f"{name} is {size!r}; it must be at least 1")
    return lr * batch_size / base_batch_size


def _copy(lr: float | Tensor) -> float | Tensor:
    return lr.detach().clone().reshape(()) if isinstance(lr, Tensor) else lr  # older torch fills in no other shape
