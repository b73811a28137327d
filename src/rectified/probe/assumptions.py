"""What a probe assumes of a run, measured: gradients reach the step as backward left them, and the step is Adam's."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from ..optim._torch import after_backward
from ..optim.states.dtensor import local_of
from ..optim.states.eight_bit import is_coded
from ..optim.states.low_precision import EIGHT_BIT
from .adam_state import Factors, Watched, before_step, flat_copy

_AMBIGUOUS = 1024.0  # a GradScaler's scale, or a gradient clipped to a thousandth of its norm
_LARGE = 2**16  # elements of a parameter that is not copied
_UNLIKE = 0.03  # of a step


class Clipping:
    """The factor by which gradients became smaller between backward and the step.

    A gain ratio compares a loss with the slope of that loss, and clipping changes the slope, but not the loss. All
    gradients are clipped by one factor, so the largest parameter shows it.

    Attributes:
        is_due: whether the gradient of the next backward pass is needed.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        trained = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad and p.is_leaf]
        self._p = max(trained, key=Tensor.numel, default=None)
        self.is_due = True
        self._norm: Tensor | None = None
        self._hook = None if self._p is None else self._p.register_post_accumulate_grad_hook(self._note)

    def remove(self) -> None:
        """Look at gradients no more."""
        if self._hook is not None:
            self._hook.remove()

    def _note(self, p: Tensor) -> None:
        """Measure the norm at the end of this backward pass; the last one has the sum of all."""
        self._norm = None
        if self.is_due:
            after_backward(self._measure)

    def _measure(self) -> None:
        if self._p is not None and self._p.grad is not None:  # a step in backward frees it
            self._norm = _norm(self._p)

    def factor(self) -> float:
        """The norm after backward over the norm now; 1 after a GradScaler alone, NaN after one that also clipped."""
        before, self._norm = self._norm, None
        if before is None or self._p is None or self._p.grad is None:
            return 1.0
        ratio = float(before) / now if (now := float(_norm(self._p))) else 1.0
        if not math.isfinite(ratio) or ratio <= 0:
            return 1.0
        exponent = math.log2(ratio)
        if abs(exponent - round(exponent)) < 1e-4:  # a GradScaler's scales are powers of two
            return 1.0
        return ratio if ratio < _AMBIGUOUS else math.nan


@torch.no_grad()
def _norm(p: Tensor) -> Tensor:
    assert p.grad is not None
    grad = p.grad.coalesce().values() if p.grad.is_sparse else local_of(p.grad)
    norm: Tensor = torch.linalg.vector_norm(grad.to(torch.promote_types(grad.dtype, torch.float32)))
    return norm


class StepCheck:
    """Whether steps are theta <- theta - a d - decay theta, by the smallest parameter of each group."""

    def __init__(self) -> None:
        self._copies: list[tuple[Tensor, Tensor]] = []

    def before(self, optimizer: torch.optim.Optimizer) -> None:
        """Copy a small parameter of each group."""
        self._copies = []
        for group in optimizer.param_groups:
            stepped = [p for p in group["params"] if p.grad is not None and 0 < p.numel() <= _LARGE]
            # Moments of 8 bits are not those of the step, which was taken before they were rounded.
            if group.get("state_dtype") == EIGHT_BIT:
                stepped = [p for p in stepped if not is_coded(p)]
            if stepped:
                p = min(stepped, key=Tensor.numel)
                self._copies.append((p, flat_copy(p)))

    def is_like(self, several: Iterable[tuple[Watched, Factors]]) -> bool:
        """Whether the copied parameters moved as their moments say."""
        copies = {id(p): copy for p, copy in self._copies}
        self._copies = []
        return all(_moved_so(one, f, copies[id(one.p)]) for one, f in several if id(one.p) in copies)


def _moved_so(one: Watched, f: Factors, before: Tensor) -> bool:
    if not before.numel():  # this rank has none of it
        return True
    expected, now = before_step(one, f), flat_copy(one.p)
    step = torch.maximum((now - before).abs().max().double(), (expected - now).abs().max().double())
    rounding = 8 * torch.finfo(before.dtype).eps * before.abs().max().double()
    error = (expected - before).abs().max().double()
    return not bool(error > _UNLIKE * step + rounding)  # NaN: the run has diverged, and nothing is known
