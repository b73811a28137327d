"""NAdam with a warmup."""

import math
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ...warmup import Warmup
from .._torch import version_of
from ..step.foreach_ops import adam_step, average, average_squares, decay, gradients
from ..step.kernels import Tensors
from ..step.options import Group, options_from
from ..step.plan import Bucket, Found, Plan
from .variant import States, Variant, incoming, moves


class _Numbers(NamedTuple):
    omega: Any
    moves: Any  # 1 where omega is above 0, else 0
    lr: Any
    root_c2: Any  # sqrt(1 - beta2^t)
    mu: Any
    of_g: Any  # (1 - mu_t) / (1 - product up to t)
    of_m: Any  # mu_(t+1) / (1 - product up to t + 1)


class NAdam(Variant):
    r"""NAdam, Adam with Nesterov momentum, with a built-in warmup.

    .. math::
        \mu_t &= \beta_1 (1 - 0.5 \cdot 0.96^{t \psi_\mu}), \qquad \hat v_t = v_t / (1 - \beta_2^t) \\
        \theta_t &= \theta_{t-1} - \gamma\, \frac{\omega(t; \beta_2)}{\sqrt{\hat v_t} + \epsilon} \left(
            \frac{(1 - \mu_t)\, g_t}{1 - \prod_{i=1}^{t} \mu_i}
            + \frac{\mu_{t+1}\, m_t}{1 - \prod_{i=1}^{t+1} \mu_i} \right)

    m and v are Adam's, and so are psi = 1/sqrt(v_hat), rho_t and r_t: only the numerator is another.

    Without a warmup it takes torch.optim.NAdam's steps, and continues its checkpoints (the product of the mu, which
    torch keeps in a float32 whatever the parameters are, is kept in a float64).

    Args:
        params, lr, betas, eps, weight_decay, decoupled_weight_decay, foreach, maximize, capturable, differentiable: as
            in :class:`rectified.Adam`.
        momentum_decay: psi_mu, at least 0.
        warmup: an object with ``omega(t, beta2)``; ``None`` for no warmup.

    Raises:
        ValueError: an option is outside its range, or the warmup never starts at this beta2.
        RuntimeError: from ``step``, for sparse gradients.

    >>> import torch
    >>> from rectified.warmup import Rectified
    >>> p = torch.nn.Parameter(torch.tensor([1.0, -1.0]))
    >>> optimizer = NAdam([p], lr=0.1, warmup=Rectified("exact"))
    >>> for _ in range(3):
    ...     p.grad = torch.tensor([0.5, 2.0])
    ...     optimizer.step()
    >>> p.data, round(optimizer.param_groups[0]["omega"], 4)
    (tensor([ 0.9989, -1.0011]), 0.0151)

    Reference: Dozat, "Incorporating Nesterov Momentum into Adam", ICLR workshop 2016; arXiv:1908.03265.
    """

    STATES = ("exp_avg", "exp_avg_sq")
    SCALARS: ClassVar = {"mu_product": 1.0}

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        warmup: Warmup | None = None,
    ) -> None:
        super().__init__(params, options_from(locals()))

    def numbers(self, group: Group, t: Any, omega: Any, scalars: list[Any]) -> _Numbers:
        beta2 = float(group["betas"][1])
        mu, mu_next = _mu(group, t), _mu(group, t + 1)
        product = scalars[0] * mu
        return _Numbers(
            omega=omega,
            moves=moves(omega),
            lr=group["lr"],
            root_c2=(1 - beta2**t) ** 0.5,
            mu=mu,
            of_g=(1 - mu) / (1 - product),
            of_m=mu_next / (1 - product * mu_next),
        )

    def equation(self, group: Group, theta: Tensor, g: Tensor, states: States, n: _Numbers) -> tuple[Tensor, States]:
        (beta1, beta2), g = map(float, group["betas"]), incoming(group, theta, g)
        m = beta1 * states["exp_avg"] + (1 - beta1) * g
        v = beta2 * states["exp_avg_sq"] + (1 - beta2) * g * g
        if group["decoupled_weight_decay"]:
            theta = theta * (1 - n.lr * n.moves * group["weight_decay"])
        eps = group["eps"] * n.root_c2 if group["eps"] else torch.finfo(v.dtype).tiny
        psi = n.root_c2 / (v.sqrt() + eps)
        theta = theta - n.lr * n.omega * psi * (n.of_g * g + n.of_m * m)
        return theta, {"exp_avg": m, "exp_avg_sq": v}

    def update(self, group: Group, found: Found, n: _Numbers) -> None:
        grads, (m, v), (beta1, beta2) = gradients(group, found), found.states, map(float, group["betas"])
        if n.omega:
            if group["decoupled_weight_decay"]:
                decay(group, found.params)
            # of_g g + of_m m_t = (of_g + of_m) (x m_(t-1) + (1 - x) g): Adam's step, with x in place of beta1.
            adam_step(
                found.bucket.kernel,
                Tensors(found.params, [x.clone() for x in m], v),
                grads,
                scale=float(n.lr) * n.omega * n.root_c2 * (n.of_g + n.of_m),
                betas=(n.of_m * beta1 / (n.of_g + n.of_m), beta2),
                eps=group["eps"] * n.root_c2,
            )
        else:
            average_squares(v, grads, beta2)
        average(m, grads, beta1)

    def scalars(self, group: Group, bucket: Bucket) -> list[Any]:
        """The product of all mu so far; for a parameter that is listed twice, including its previous step."""
        (product,) = bucket.scalars
        return [math.prod((_mu(group, bucket.t - j) for j in range(bucket.again)), start=product)]

    def advance_scalars(self, group: Group, plan: Plan, found: Found, n: _Numbers) -> None:
        bucket = found.bucket
        if not group["capturable"]:
            steps = range(bucket.t + 1 - bucket.again, bucket.t + 1 - bucket.again + bucket.times)
            bucket.scalars = [math.prod((_mu(group, t) for t in steps), start=bucket.scalars[0])]
        if bucket.indices is None and len(plan.clocks) == 1:
            (clock,) = plan.clocks.values()
            clock.others["mu_product"].values.mul_(n.mu)
        else:
            torch._foreach_mul_([self.state[p]["mu_product"] for p in found.owners], n.mu)
        for clock in plan.clocks.values():
            products = clock.others["mu_product"]
            products.version = version_of(products.values)


def _mu(group: Group, t: Any) -> Any:
    return float(group["betas"][0]) * (1 - 0.5 * 0.96 ** (t * group["momentum_decay"]))
