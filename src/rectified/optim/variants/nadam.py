"""NAdam."""

import math

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ...warmup import Warmup
from ..base import Bucket, adam_step, average, average_squares, decay, gradients
from ..step.kernels import Tensors
from ..step.options import Group
from .member import Member


class NAdam(Member):
    r"""Adam with Nesterov's momentum, and a warmup in front of its update.

    .. math::
        \mu_t &= \beta_1 (1 - 0.5 \cdot 0.96^{t \psi_\mu}), \qquad \hat v_t = v_t / (1 - \beta_2^t) \\
        \theta_t &= \theta_{t-1} - \gamma\, \frac{\omega(t; \beta_2)}{\sqrt{\hat v_t} + \epsilon} \left(
            \frac{(1 - \mu_t)\, g_t}{1 - \prod_{i=1}^{t} \mu_i}
            + \frac{\mu_{t+1}\, m_t}{1 - \prod_{i=1}^{t+1} \mu_i} \right)

    m and v are Adam's, and so are psi = 1/sqrt(v_hat), rho_t and r_t: only the numerator is another.

    Without a warmup it takes torch.optim.NAdam's steps, and continues its checkpoints (the product of the mu, which
    torch keeps in a float32 whatever the parameters are, is kept in a float64).

    Args:
        params, lr, betas, eps, weight_decay, decoupled_weight_decay, maximize: as in :class:`rectified.Adam`.
        momentum_decay: psi_mu, at least 0.
        warmup: an object with ``omega(t, beta2)``; ``None`` is NAdam as it is.

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
                "momentum_decay": momentum_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "maximize": maximize,
                "warmup": warmup,
                "omega": None,
            },
        )

    def check(self, group: Group) -> None:
        if not group["momentum_decay"] >= 0:
            raise ValueError(f"Invalid momentum_decay value: {group['momentum_decay']}; it must be 0 or more")
        super().check(group)

    def update(self, group: Group, bucket: Bucket, omega: float) -> None:
        grads, m, v = gradients(group, bucket), bucket.state("exp_avg"), bucket.state("exp_avg_sq")
        beta1, beta2 = map(float, group["betas"])
        mu, mu_next = _mu(group, bucket.t), _mu(group, bucket.t + 1)
        products = [float(entry.get("mu_product", 1.0)) * mu for entry in bucket.entries]
        for entry, product in zip(bucket.entries, products, strict=True):
            entry["mu_product"] = torch.tensor(product, dtype=torch.float64)
        if omega:
            decay(group, bucket)
            root_c2 = math.sqrt(1 - beta2**bucket.t)
            for product in set(products):  # one, unless mu was changed while some had no gradient
                of_g, of_m = (1 - mu) / (1 - product), mu_next / (1 - product * mu_next)
                # of_g g + of_m m_t = (of_g + of_m) (x m_(t-1) + (1 - x) g): Adam's step, with x in place of beta1.
                mine = [i for i, each in enumerate(products) if each == product]
                adam_step(
                    Tensors(
                        [bucket.params[i] for i in mine], [m[i].clone() for i in mine], [v[i] for i in mine], [], []
                    ),
                    [grads[i] for i in mine],
                    scale=float(group["lr"]) * omega * root_c2 * (of_g + of_m),
                    betas=(of_m * beta1 / (of_g + of_m), beta2),
                    eps=group["eps"] * root_c2,
                )
        else:
            average_squares(v, grads, beta2)
        average(m, grads, beta1)


def _mu(group: Group, t: int) -> float:
    return float(group["betas"][0] * (1 - 0.5 * 0.96 ** (t * group["momentum_decay"])))
