"""RAdam: Adam whose warmup is the rectification."""

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..theory.rectify import Variance
from ..warmup import Rectified, Start
from .adam import Adam
from .step.low_precision import Rounding


class RAdam(Adam):
    r"""RAdam: Adam with ``warmup=Rectified(variance, threshold, start)`` and ``eps_hat=True``.

    .. math::
        \theta_t = \theta_{t-1} - \gamma\,r_t\,
            \frac{m_t}{1 - \beta_1^t}\,\frac{\sqrt{1 - \beta_2^t}}{\sqrt{v_t} + \epsilon}
        \quad\text{once } \rho_t > \text{threshold, before that}\quad
        \theta_t = \theta_{t-1} - \gamma\,\frac{m_t}{1 - \beta_1^t}

    With its defaults it takes torch.optim.RAdam's steps, and continues its checkpoints.

    Args:
        params, lr, betas, eps, weight_decay, foreach, maximize, capturable, differentiable, fused: as in :class:`Adam`.
        decoupled_weight_decay: as the authors' code does it; torch's default, L2, is the default here.
        variance: ``"first-order"``, the paper's r_t; ``"exact"``, from the closed form of the variance, or ``"ema"``,
            from the EMA's own: both rectify from t = 3 on, so that two momentum steps are left of five.
        threshold: rho_t that must be exceeded; ``None`` is 5 for ``"first-order"`` (the paper's Algorithm 2 has 4),
            else 2.
        start: what happens before. ``"momentum"``: the step above, which can do harm where raw gradients are large.
            ``"hold"``: only m and v move, as in the authors' code.
        eps_hat, state_dtype, rounding: as in :class:`Adam`.

    Raises:
        ValueError: an option is outside its range, or this beta2 never leaves the start.

    >>> import torch, rectified
    >>> p = torch.nn.Parameter(torch.tensor([1.0, -1.0]))
    >>> optimizer = RAdam([p], lr=0.1, start="hold")
    >>> for _ in range(6):
    ...     p.grad = torch.tensor([0.5, 2.0])
    ...     optimizer.step()
    >>> p.data, round(optimizer.param_groups[0]["omega"], 4)
    (tensor([ 0.9974, -1.0026]), 0.0258)

    Reference: arXiv:1908.03265, Algorithm 2.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        *,
        variance: Variance = "first-order",
        threshold: float | None = None,
        start: Start = "momentum",
        eps_hat: bool = True,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        state_dtype: torch.dtype = torch.float32,
        rounding: Rounding = "nearest",
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=decoupled_weight_decay,
            warmup=Rectified(variance, threshold, start),
            eps_hat=eps_hat,
            state_dtype=state_dtype,
            rounding=rounding,
        )
