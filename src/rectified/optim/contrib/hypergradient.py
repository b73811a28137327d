"""Hypergradient descent: SGD and Adam that adapt their learning rate by gradient descent."""

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from .._torch import TensorList
from ..base import BaseOptimizer
from ..step.foreach_ops import adam_directions, gradients, subtract, total
from ..step.options import Group, options_from
from ..step.plan import Found


class _Hypergradient(BaseOptimizer):
    """The base class: theta -= alpha_t u_t, where alpha_t follows the negative hypergradient, g_t . u_(t-1)."""

    ELEMENTWISE = False

    def directions(self, group: Group, found: Found, grads: TensorList) -> TensorList:
        """The directions u of this step, as new tensors."""
        raise NotImplementedError

    def move(self, group: Group, found: list[Found]) -> None:
        grads = [gradients(group, here) for here in found]
        along = total(
            g.double() * u
            for here, mine in zip(found, grads, strict=True)
            for g, u in zip(mine, here.states[0], strict=True)
        )
        group["learned"] += group["hyper_lr"] * along
        group["learned_lr"] = float(group["lr"]) + group["learned"]
        for here, mine in zip(found, grads, strict=True):
            steps = self.directions(group, here, mine)
            for kept, step in zip(here.states[0], steps, strict=True):
                kept.copy_(step)  # as one foreach op DTensors do not know it
            subtract(here.params, steps, group["learned_lr"])


class SGDHD(_Hypergradient):
    r"""SGD with hypergradient descent, optionally with Nesterov momentum.

    .. math::
        \alpha_t = \alpha_{t-1} + \beta\, g_t \cdot u_{t-1}, \qquad \theta_t = \theta_{t-1} - \alpha_t u_t, \qquad
        u_t = g_t \ \text{ or } \ g_t + \mu b_t, \quad b_t = \mu b_{t-1} + g_t

    One alpha for each group. What was learned is kept apart from lr, so that schedulers go on setting lr:
    alpha_t = lr + ``group["learned"]``, which can be read as ``group["learned_lr"]``. Nothing keeps it above 0.

    Args:
        params, weight_decay, maximize: as in :class:`rectified.Adam`; the decay is in the gradient.
        lr: alpha_0, at least 0.
        hyper_lr: beta, at least 0. The gradient's squared norm is in alpha's steps: models differ by orders of
            magnitude in what they bear.
        momentum: mu, at least 0; 0 is SGD-HD, else SGDN-HD.

    Raises:
        ValueError: an option is outside its range.
        RuntimeError: from ``step``, for sparse gradients.

    >>> import torch
    >>> p = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = SGDHD([p], lr=0.1, hyper_lr=0.01)
    >>> for _ in range(2):
    ...     p.grad = torch.tensor([2.0])
    ...     optimizer.step()
    >>> p.data, round(optimizer.param_groups[0]["learned_lr"], 4)
    (tensor([0.5200]), 0.14)

    Reference: arXiv:1703.04782, Algorithms 4 and 5.
    """

    STATES = ("direction", "momentum_buffer")

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        hyper_lr: float = 1e-3,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, {**options_from(locals()), "learned": 0.0, "learned_lr": None})

    def state_names(self, p: Tensor, group: Group) -> tuple[str, ...]:
        return self.STATES if group["momentum"] else self.STATES[:1]

    def required_states(self) -> tuple[str, ...]:
        return ("step", "direction")

    def directions(self, group: Group, found: Found, grads: TensorList) -> TensorList:
        if not group["momentum"]:
            return grads
        _, buffers = found.states
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_add_(buffers, grads)
        return torch._foreach_add(grads, buffers, alpha=group["momentum"])


class AdamHD(_Hypergradient):
    r"""Adam with hypergradient descent.

    .. math::
        \alpha_t = \alpha_{t-1} + \beta\, g_t \cdot u_{t-1}, \qquad \theta_t = \theta_{t-1} - \alpha_t u_t, \qquad
        u_t = \frac{\hat m_t}{\sqrt{\hat v_t} + \epsilon}

    alpha and what can be read of it are as in :class:`SGDHD`.

    Args:
        params, betas, eps, weight_decay, maximize: as in :class:`rectified.Adam`; the decay is in the gradient.
        lr: alpha_0, at least 0.
        hyper_lr: beta, at least 0.

    Raises:
        ValueError: an option is outside its range.
        RuntimeError: from ``step``, for sparse gradients.

    >>> import torch
    >>> p = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = AdamHD([p], lr=0.1, hyper_lr=0.01)
    >>> for _ in range(2):
    ...     p.grad = torch.tensor([2.0])
    ...     optimizer.step()
    >>> p.data, round(optimizer.param_groups[0]["learned_lr"], 4)
    (tensor([0.7800]), 0.12)

    Reference: arXiv:1703.04782, Algorithm 6.
    """

    STATES = ("direction", "exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        hyper_lr: float = 1e-7,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, {**options_from(locals()), "learned": 0.0, "learned_lr": None})

    def directions(self, group: Group, found: Found, grads: TensorList) -> TensorList:
        _, m, v = found.states
        return adam_directions(group, found.t, found.bucket.kernel, m, v, grads)
