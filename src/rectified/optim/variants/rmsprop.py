"""RMSprop."""

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ...warmup import Warmup
from ..base import Bucket, adam_step, average, average_squares, gradients, root, subtract
from ..step.kernels import Tensors
from ..step.options import Group
from .member import Member, check_rate


class RMSprop(Member):
    r"""RMSprop, plain, centered or with momentum, with a warmup in front of its normalised gradient.

    .. math::
        v_t &= \alpha v_{t-1} + (1 - \alpha) g_t^2 \\
        b_t &= \mu b_{t-1} + \omega_t\, \frac{g_t}{\sqrt{v_t - \bar g_t^2} + \epsilon} \\
        \theta_t &= \theta_{t-1} - \gamma\, b_t

    with :math:`\bar g_t = \alpha \bar g_{t-1} + (1 - \alpha) g_t` where centered, else 0. psi = 1/sqrt(v), rho and
    rho_inf are Adam's with beta2 = alpha. v has no bias correction here, while r_t is derived for one that has, so that
    a rectification is multiplied by it:

    .. math:: \omega_t = r_t(\alpha)\, \sqrt{1 - \alpha^t}

    which makes ``RMSprop(params, alpha=a, warmup=Rectified())`` RAdam without momentum,
    ``RAdam(params, betas=(0, a), start="hold")``. Other warmups are taken as they are. omega is in front of what the
    momentum adds up, and not of the step: else the terms of the first steps, whose variance is infinite, would come
    back out of b when omega has grown.

    Without a warmup it takes torch.optim.RMSprop's steps, and continues its checkpoints; but for gradients that are
    constant, where a centered torch.optim.RMSprop may take the root of a rounding error below 0, and gives NaN.

    Args:
        params, lr, weight_decay, maximize: as in :class:`rectified.Adam`.
        alpha: decay rate of v, in [0, 1).
        eps: added to the root, at least 0.
        momentum: mu, at least 0.
        centered: divide by the estimated standard deviation instead of the root mean square.
        warmup: an object with ``omega(t, alpha)``; ``None`` is RMSprop as it is.

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
        *,
        maximize: bool = False,
        warmup: Warmup | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "alpha": alpha,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "centered": centered,
                "maximize": maximize,
                "warmup": warmup,
                "omega": None,
            },
        )

    def rate(self, group: Group) -> float:
        return float(group["alpha"])

    def check(self, group: Group) -> None:
        check_rate("alpha", group["alpha"])
        if not group["momentum"] >= 0:
            raise ValueError(f"Invalid momentum value: {group['momentum']}; it must be 0 or more")
        super().check(group)

    def names(self, group: Group) -> list[str]:
        square, buffer, mean = self.STATES
        return [square, *[buffer] * (group["momentum"] > 0), *[mean] * group["centered"]]

    def update(self, group: Group, bucket: Bucket, omega: float) -> None:
        grads, v, alpha = gradients(group, bucket), bucket.state("square_avg"), float(group["alpha"])
        if group["centered"]:
            average(bucket.state("grad_avg"), grads, alpha)
        if group["centered"] or not omega:
            average_squares(v, grads, alpha)
        if not omega:
            return
        moves, scale = bucket.params, float(group["lr"]) * omega
        if group["momentum"]:
            moves, scale = bucket.state("momentum_buffer"), -omega
            torch._foreach_mul_(moves, group["momentum"])
        if group["centered"]:
            mean = bucket.state("grad_avg")
            variance = list(torch._foreach_addcmul(v, mean, mean, -1))
            torch._foreach_clamp_min_(variance, 0)  # alike gradients leave a rounding error, of either sign
            torch._foreach_addcdiv_(moves, grads, root(variance, group["eps"]), -scale)
        else:  # Adam's step with beta1 = 0, whose m is g
            m = [torch.zeros_like(x) for x in v]
            adam_step(Tensors(moves, m, v, [], []), grads, scale, (0.0, alpha), group["eps"])
        if group["momentum"]:
            subtract(bucket.params, moves, group["lr"])
