"""RMSprop with a warmup."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ...warmup import Warmup
from ..step.foreach_ops import adam_step, average, average_squares, gradients, root, subtract
from ..step.kernels import Tensors
from ..step.options import Group, options_from
from ..step.plan import Found
from .variant import States, Variant, incoming, moves


class _Numbers(NamedTuple):
    omega: Any
    moves: Any  # 1 where omega is above 0, else 0
    lr: Any


class RMSprop(Variant):
    r"""RMSprop, plain, centered or with momentum, with a built-in warmup.

    .. math::
        v_t &= \alpha v_{t-1} + (1 - \alpha) g_t^2 \\
        b_t &= \mu b_{t-1} + \omega_t\, \frac{g_t}{\sqrt{v_t - \bar g_t^2} + \epsilon} \\
        \theta_t &= \theta_{t-1} - \gamma\, b_t

    with :math:`\bar g_t = \alpha \bar g_{t-1} + (1 - \alpha) g_t` where centered, else 0. psi = 1/sqrt(v), rho and
    rho_inf are Adam's with beta2 = alpha. v has no bias correction here, while r_t is derived for one that has, so that
    a rectification is multiplied by it:

    .. math:: \omega_t = r_t(\alpha)\, \sqrt{1 - \alpha^t}

    which makes ``RMSprop(params, alpha=a, warmup=Rectified())`` RAdam without momentum,
    ``RAdam(params, betas=(0, a), start="hold")``. Other warmups are used without this factor. omega scales what the
    momentum accumulates, not the step: otherwise the terms of the first steps, whose variance is infinite, would
    resurface from b once omega has grown.

    Without a warmup it takes torch.optim.RMSprop's steps, and continues its checkpoints; but for gradients that are
    constant, where a centered torch.optim.RMSprop may take the root of a rounding error below 0, and gives NaN.

    Args:
        params, lr, weight_decay, maximize, capturable, foreach, differentiable: as in :class:`rectified.Adam`.
        alpha: decay rate of v, in [0, 1).
        eps: added to the root, at least 0.
        momentum: mu, at least 0.
        centered: divide by the estimated standard deviation instead of the root mean square.
        warmup: an object with ``omega(t, alpha)``; ``None`` for no warmup.

    Raises:
        ValueError: an option is outside its range, or the warmup never starts at this alpha.
        RuntimeError: from ``step``, for sparse gradients.

    >>> import torch
    >>> from rectified.warmup import Rectified
    >>> p = torch.nn.Parameter(torch.tensor([1.0, -1.0]))
    >>> optimizer = RMSprop([p], lr=0.1, warmup=Rectified())
    >>> for _ in range(6):
    ...     p.grad = torch.tensor([0.5, 2.0])
    ...     optimizer.step()
    >>> p.data, round(optimizer.param_groups[0]["omega"], 4)
    (tensor([ 0.9918, -1.0082]), 0.0198)

    Reference: Hinton's lecture 6e; centered: arXiv:1308.0850, section 4.2.
    """

    STATES = ("square_avg", "momentum_buffer", "grad_avg")
    DEBIASED = False

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        *,
        warmup: Warmup | None = None,
    ) -> None:
        super().__init__(params, options_from(locals()))

    def beta2(self, group: Group) -> Any:
        return group["alpha"]

    def state_names(self, p: Tensor, group: Group) -> list[str]:
        square, buffer, mean = self.STATES
        momentum = isinstance(group["momentum"], Tensor) or group["momentum"] > 0
        return [square, *[buffer] * momentum, *[mean] * bool(group["centered"])]

    def required_states(self) -> tuple[str, ...]:
        return ("step", "square_avg")

    def numbers(self, group: Group, t: Any, omega: Any, scalars: list[Any]) -> _Numbers:
        return _Numbers(omega, moves(omega), group["lr"])

    def equation(self, group: Group, theta: Tensor, g: Tensor, states: States, n: _Numbers) -> tuple[Tensor, States]:
        alpha, g = float(group["alpha"]), incoming(group, theta, g)
        v = alpha * states["square_avg"] + (1 - alpha) * g * g
        new, variance = {"square_avg": v}, v
        if "grad_avg" in states:
            mean = new["grad_avg"] = alpha * states["grad_avg"] + (1 - alpha) * g
            variance = (v - mean * mean).clamp(min=0)
        d = n.omega * g / (variance.sqrt() + (group["eps"] or torch.finfo(v.dtype).tiny))
        if "momentum_buffer" in states:
            b = states["momentum_buffer"]
            d = new["momentum_buffer"] = b + n.moves * (group["momentum"] * b + d - b)
        return theta - n.lr * n.moves * d, new

    def update(self, group: Group, found: Found, n: _Numbers) -> None:
        grads, alpha = gradients(group, found), float(group["alpha"])
        v, buffers, means = found.states
        if means:
            average(means, grads, alpha)
        if means or not n.omega:
            average_squares(v, grads, alpha)
        if not n.omega:
            return
        moves, scale = found.params, float(n.lr) * n.omega
        if buffers:
            moves, scale = buffers, -n.omega
            torch._foreach_mul_(moves, float(group["momentum"]))
        if means:
            variance = torch._foreach_addcmul(v, means, means, -1)
            torch._foreach_clamp_min_(variance, 0)  # alike gradients leave a rounding error, of either sign
            torch._foreach_addcdiv_(moves, grads, root(variance, group["eps"]), -scale)
        else:  # Adam's step with beta1 = 0, whose m is g
            m = [torch.zeros_like(x) for x in v]
            adam_step(found.bucket.kernel, Tensors(moves, m, v), grads, scale, (0.0, alpha), group["eps"])
        if buffers:
            subtract(found.params, buffers, n.lr)
