"""COCOB-Backprop."""

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..base import BaseOptimizer
from ..step.foreach_ops import gradients
from ..step.options import Group, options_from
from ..step.plan import Found


class COCOB(BaseOptimizer):
    r"""COCOB-Backprop, which needs no learning rate: each weight is a bet on the sign of its next gradient.

    .. math::
        L &\leftarrow \max(L, |g|), \quad G \leftarrow G + |g|, \quad
            R \leftarrow \max(R - g\,(\theta - \theta_0), 0), \quad s \leftarrow s - g \\
        \theta &\leftarrow \theta_0 + \frac{s}{L \max(G + L, \alpha L)} (L + R)

    element by element. The first step is 1/alpha in every element with a gradient, whatever its size.

    Args:
        params, weight_decay, maximize: as in :class:`rectified.Adam`; the decay is in the gradient.
        alpha: above 0; 1/alpha is the first step. The paper has 100 throughout.

    Raises:
        ValueError: an option is outside its range.
        RuntimeError: from ``step``, for sparse gradients.

    >>> import torch
    >>> p = torch.nn.Parameter(torch.tensor([1.0, -1.0]))
    >>> optimizer = COCOB([p])
    >>> p.grad = torch.tensor([0.5, 2.0])
    >>> optimizer.step()
    >>> p.data
    tensor([ 0.9900, -1.0100])

    Reference: arXiv:1705.07795, Algorithm 2.
    """

    STATES = ("largest", "sum_abs", "reward", "sum_negative", "bet")

    def __init__(
        self, params: ParamsT, alpha: float = 100.0, weight_decay: float = 0.0, *, maximize: bool = False
    ) -> None:
        super().__init__(params, options_from(locals()))

    def check(self, group: Group) -> None:
        super().check({name: x for name, x in group.items() if name != "alpha"})  # which is no decay rate here
        if not group["alpha"] > 0:
            raise ValueError(f"Invalid alpha value: {group['alpha']}; it must be above 0")

    def move(self, group: Group, found: list[Found]) -> None:
        for here in found:
            for column in zip(here.params, gradients(group, here), *here.states, strict=True):
                _bet(group["alpha"], *column)


def _bet(alpha: float, p: Tensor, g: Tensor, L: Tensor, G: Tensor, R: Tensor, s: Tensor, bet: Tensor) -> None:
    torch.maximum(L, g.abs(), out=L)
    G += g.abs()
    R.addcmul_(g, bet, value=-1).clamp_(min=0)
    s -= g
    # Where there was no gradient yet L and s are 0, and the bet as well.
    stake = s * (L + R) / (L * torch.maximum(G + L, alpha * L)).clamp(min=torch.finfo(p.dtype).tiny)
    p += stake - bet
    bet.copy_(stake)
