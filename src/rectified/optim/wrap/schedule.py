"""The warmups as a torch LRScheduler, and the rule that goes with gradual warmup."""

from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from ...warmup import Rectified, Warmup
from ..step.clock import refuse_count
from ..step.options import CLOCK
from .compat import unwrapped
from .scaling import OnZero, Scaling


class WarmupLR(LRScheduler):
    r"""A warmup for trainers that take an optimizer as it is, and a scheduler.

    .. math:: \gamma_t \leftarrow \gamma_t\,\omega(t; \beta_2)

    As with :func:`rectified.rectify`, lr is multiplied by omega for as long as each step of the optimizer takes, and is
    otherwise what it was. So there is nothing that another scheduler could undo, or that it would have to undo: this
    one stands before or after any other on the same optimizer, recursive or in closed form, in a ChainedScheduler or a
    SequentialLR, whose milestones do not end it. Loggers that read ``group["lr"]`` see the lr without omega; with it it
    is in ``get_last_lr()``, and omega alone in ``group["omega"]``.

    t counts the optimizer's steps, and not how often ``step()`` of this is called, which some trainers do once an epoch
    and others once a process. It lies in the groups, and so in the optimizer's ``state_dict`` as well as in this one's:
    either is enough to go on.

    Args:
        optimizer: any torch.optim.Optimizer.
        warmup: as in :mod:`rectified.warmup`; ``None`` is ``Rectified()``.
        beta2: as in :func:`rectified.rectify`.
        on_zero: as in :func:`rectified.rectify`.
        last_epoch: of an optimizer that was resumed without its state, the steps it has taken, less one; -1 is none.

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
        """The lrs as they are: what this scheduler sets between steps."""
        return [_copy(group["lr"]) for group in self.optimizer.param_groups]

    def get_last_lr(self) -> list[float | Tensor]:
        """The lrs of the step to come, with omega."""
        return [
            _copy(group["lr"]) * omega
            for group, omega in zip(self.optimizer.param_groups, self.scaling.omegas(self.optimizer), strict=True)
        ]

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a copied or pickled state: the copy warms up the copy of the optimizer."""
        self.__dict__.update(state)
        self.scaling = self.scaling.copied(self.optimizer)

    def state_dict(self) -> dict[str, Any]:
        """The counts of the groups, and torch's own entries."""
        kept = {key: x for key, x in super().state_dict().items() if key != "scaling"}
        return {**kept, "counts": [self.scaling.clock(self.optimizer, group) for group in self.optimizer.param_groups]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a save.

        Raises:
            ValueError: it has counts for another number of groups, or none; nothing is changed then.
        """
        counts, groups = state_dict.get("counts"), self.optimizer.param_groups
        if not isinstance(counts, list) or len(counts) != len(groups):
            raise ValueError(
                f"the save has counts {counts}, but the optimizer {len(groups)} groups: it is another scheduler's"
            )
        for index, count in enumerate(counts):
            refuse_count(count, f"group {index}", ValueError)
        for group, count in zip(groups, counts, strict=True):
            group[CLOCK] = count
        super().load_state_dict({key: x for key, x in state_dict.items() if key != "counts"})

    def remove(self) -> None:
        """End the warmup here: lr is scaled no more."""
        self.scaling.detach(self.optimizer)


def linear_scaling(lr: float, batch_size: int, base_batch_size: int = 256) -> float:
    r"""The lr for a large batch, to go with gradual warmup: ``WarmupLR(optimizer, Linear(steps))``.

    .. math:: \gamma = \gamma_\text{base}\, \frac{B}{256}

    For SGD. That with Adam a root of the ratio serves better is often said; this package has not measured it.

    Args:
        lr: found with the base batch size, at least 0.
        batch_size: over all processes, with accumulation, at least 1.
        base_batch_size: at least 1.

    Raises:
        ValueError: one is outside its range.

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
