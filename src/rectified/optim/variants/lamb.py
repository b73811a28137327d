"""LAMB."""

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ...warmup import Warmup
from ..base import Bucket, adam_directions, gradients, subtract
from ..step.options import Group
from .member import Member


class LAMB(Member):
    r"""LAMB: Adam's update for each tensor at the length of the tensor, with a warmup in front.

    .. math::
        d_t &= \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon} + \lambda \theta_{t-1} \\
        \theta_t &= \theta_{t-1} - \gamma\, \omega(t; \beta_2)\,
            \frac{\lVert \theta_{t-1} \rVert}{\lVert d_t \rVert}\, d_t

    The factor is 1 where one of the norms is 0. omega is in front of all of it: within d the norm would divide it out.
    m, v, psi and rho_t are Adam's, but **a rectification does not make the update's variance the same at every t**,
    and is not needed for that: a tensor's step has the length gamma ||theta|| at every t, whatever psi is. What omega
    does here is a plain warmup (docs/mathematics.md has the simulation).

    Args:
        params, lr, betas, maximize: as in :class:`rectified.Adam`.
        eps: added to the denominator, at least 0.
        weight_decay: lambda, part of what is normalised.
        warmup: an object with ``omega(t, beta2)``; ``None`` is LAMB as it is.

    Raises:
        ValueError: an option is outside its range, or the warmup never starts at this beta2.
        RuntimeError: from ``step``, for sparse gradients.

    >>> import torch
    >>> p = torch.nn.Parameter(torch.tensor([3.0, -4.0]))
    >>> optimizer = LAMB([p], lr=0.1)
    >>> p.grad = torch.tensor([0.5, 2.0])
    >>> optimizer.step()
    >>> p.data
    tensor([ 2.6464, -4.3536])

    Reference: arXiv:1904.00962, Algorithm 2, with phi the identity.
    """

    STATES = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        warmup: Warmup | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "decoupled_weight_decay": True,
                "maximize": maximize,
                "warmup": warmup,
                "omega": None,
            },
        )

    def update(self, group: Group, bucket: Bucket, omega: float) -> None:
        steps = adam_directions(group, bucket, gradients(group, bucket))
        if not omega:
            return
        if group["weight_decay"]:
            torch._foreach_add_(steps, bucket.params, alpha=group["weight_decay"])
        lengths, norms = torch._foreach_norm(bucket.params), torch._foreach_norm(steps)
        ratios = [
            torch.where((length > 0) & (norm > 0), length / norm, 1.0)
            for length, norm in zip(lengths, norms, strict=True)
        ]
        torch._foreach_mul_(steps, ratios)
        subtract(bucket.params, steps, float(group["lr"]) * omega)
