"""Adadelta."""

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ...warmup import Warmup
from ..base import Bucket, average_squares, gradients, subtract
from ..step.options import Group
from .member import Member, check_rate


class Adadelta(Member):
    r"""Adadelta with a warmup in front of its update.

    .. math::
        v_t &= \rho v_{t-1} + (1 - \rho) g_t^2 \\
        \Delta_t &= \frac{\sqrt{u_{t-1} + \epsilon}}{\sqrt{v_t + \epsilon}}\, g_t, \qquad
        u_t = \rho u_{t-1} + (1 - \rho) \Delta_t^2 \\
        \theta_t &= \theta_{t-1} - \gamma\, \omega_t\, \Delta_t

    The psi of v is 1/sqrt(v_t + eps), rho_t and rho_inf are Adam's with beta2 = rho (Adadelta's own, the decay rate),
    and v has no bias correction, so that a rectification is omega_t = r_t sqrt(1 - rho^t). **It does not make the
    update's variance the same at every t**: sqrt(u), which is made of the steps before, begins at sqrt(eps) and grows
    over many times 1 / (1 - rho) steps, a warmup that Adadelta has by itself (docs/mathematics.md has the simulation).

    Without a warmup it takes torch.optim.Adadelta's steps, and continues its checkpoints.

    Args:
        params, lr, weight_decay, maximize: as in :class:`rectified.Adam`.
        rho: decay rate of v and u, in [0, 1).
        eps: added under both roots, at least 0; with 0 nothing ever moves.
        warmup: an object with ``omega(t, rho)``; ``None`` is Adadelta as it is.

    Raises:
        ValueError: an option is outside its range, or the warmup never starts at this rho.
        RuntimeError: from ``step``, for sparse gradients.

    >>> import torch
    >>> p = torch.nn.Parameter(torch.tensor([1.0, -1.0]))
    >>> optimizer = Adadelta([p])
    >>> p.grad = torch.tensor([0.5, 2.0])
    >>> optimizer.step()
    >>> p.data
    tensor([ 0.9968, -1.0032])

    Reference: arXiv:1212.5701, Algorithm 1.
    """

    STATES = ("square_avg", "acc_delta")
    DEBIASED = False

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1.0,
        rho: float = 0.9,
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
                "rho": rho,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "warmup": warmup,
                "omega": None,
            },
        )

    def rate(self, group: Group) -> float:
        return float(group["rho"])

    def check(self, group: Group) -> None:
        check_rate("rho", group["rho"])
        super().check(group)

    def update(self, group: Group, bucket: Bucket, omega: float) -> None:
        grads, (v, u) = gradients(group, bucket), map(bucket.state, self.STATES)
        tiny = torch.finfo(v[0].dtype).tiny  # with eps = 0 both roots begin at 0
        average_squares(v, grads, group["rho"])
        roots = [torch._foreach_add(x, group["eps"] or tiny) for x in (u, v)]
        steps = torch._foreach_mul(torch._foreach_sqrt(torch._foreach_div(roots[0], list(roots[1]))), grads)
        average_squares(u, list(steps), group["rho"])
        if omega:
            torch._foreach_mul_(steps, omega)
            subtract(bucket.params, list(steps), group["lr"])
