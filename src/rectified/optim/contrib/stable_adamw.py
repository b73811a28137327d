"""StableAdamW: AdamW with update clipping per tensor."""

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ...warmup import Warmup
from ..base import BaseOptimizer, Work
from ..step.foreach_ops import adam_directions, gradients, subtract
from ..step.options import Group, options_from
from ..step.plan import Found, as_real


class StableAdamW(BaseOptimizer):
    r"""AdamW whose step is shortened, tensor by tensor, where gradients outgrow v.

    .. math::
        \mathrm{RMS}_t &= \sqrt{\mathrm{mean}\big(g_t^2 / \max(\hat v_t, \epsilon^2)\big)}, \qquad
        \gamma_t = \gamma\, \omega(t; \beta_2) / \max(1, \mathrm{RMS}_t) \\
        \theta_t &= \theta_{t-1} - \gamma_t \Big(\lambda \theta_{t-1}
            + \frac{\hat m_t}{\sqrt{\hat v_t} + \epsilon}\Big)

    with Adam's moments and bias corrections. The clipping is Adafactor's; at t = 1 RMS is 1, so that it is no warmup.

    Args:
        params, lr, betas, eps, weight_decay, maximize, warmup: as in :class:`rectified.AdamW`; gamma_t scales the
            decay too.

    Raises:
        ValueError: an option is outside its range, or the warmup never starts at this beta2.
        RuntimeError: from ``step``, for sparse gradients.

    >>> import torch
    >>> p = torch.nn.Parameter(torch.tensor([1.0, -1.0]))
    >>> optimizer = StableAdamW([p], lr=0.1, weight_decay=0.0)
    >>> for g in (0.01, 1.0):
    ...     p.grad = torch.full((2,), g)
    ...     optimizer.step()
    >>> p.data
    tensor([ 0.8469, -1.1531])

    Reference: arXiv:2304.13013, Algorithm 2.
    """

    STATES = ("exp_avg", "exp_avg_sq")
    ELEMENTWISE = False

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-6,
        weight_decay: float = 1e-2,
        *,
        maximize: bool = False,
        warmup: Warmup | None = None,
    ) -> None:
        super().__init__(params, {**options_from(locals()), "decoupled_weight_decay": True})

    def take(self, work: list[Work]) -> None:
        omegas = [[self.omega(group, here.t) for here in found] for group, _, found in work]
        for (group, plan, found), factors in zip(work, omegas, strict=True):
            for here, omega in zip(found, factors, strict=True):
                self.update(group, as_real(here), omega)
            plan.advance()
            if factors:
                group["omega"] = factors[0]

    def update(self, group: Group, found: Found, omega: float) -> None:
        """Step a bucket at this omega."""
        grads, (m, v) = gradients(group, found), found.states
        steps = adam_directions(group, found.t, found.bucket.kernel, m, v, grads)
        if not omega:
            return
        if group["weight_decay"]:
            torch._foreach_add_(steps, found.params, alpha=float(group["weight_decay"]))
        v_hat = torch._foreach_div(v, 1 - float(group["betas"][1]) ** found.t)
        torch._foreach_clamp_min_(v_hat, max(group["eps"] ** 2, torch.finfo(steps[0].dtype).tiny))
        shares = torch._foreach_mul(grads, grads)
        torch._foreach_div_(shares, v_hat)
        for step, share in zip(steps, shares, strict=True):
            if share.numel():
                step.div_(share.mean().sqrt().clamp(min=1))
        subtract(found.params, steps, float(group["lr"]) * omega)
