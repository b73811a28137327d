"""AdamW: Adam with decoupled weight decay."""

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..warmup import Warmup
from .adam import Adam
from .states.low_precision import Rounding, StateDtype
from .step.options import Group


class AdamW(Adam):
    r"""Adam with decoupled weight decay, 0.01 by default, and a built-in warmup.

    .. math::
        \theta_t = (1 - \gamma \lambda)\, \theta_{t-1} - \gamma\,\omega(t; \beta_2)\,
            \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    with :class:`rectified.Adam`'s moments m and v. The decay is not scaled by omega.

    Args:
        params: parameters, named parameters, or dicts of parameter groups.
        lr: learning rate gamma; a number or a one-element tensor, at least 0.
        betas: decay rates of the first and the second moment, each in [0, 1).
        eps: added to the denominator, at least 0.
        weight_decay: lambda, at least 0.
        amsgrad: divide by the largest v so far.
        maximize, foreach, capturable, differentiable, fused: as in :class:`rectified.Adam`.
        decoupled_weight_decay: True; it is among torch's defaults too.
        warmup: the factor omega(t; beta2), such as ``Linear(500)`` or ``UntunedLinear()``, see
            :mod:`rectified.warmup`; ``None`` is plain AdamW.
        eps_hat, state_dtype, rounding: as in :class:`rectified.Adam`.

    Raises:
        TypeError, ValueError, RuntimeError: as :class:`rectified.Adam`.

    >>> import torch
    >>> from rectified.warmup import Linear
    >>> p = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = AdamW([p], lr=0.1, warmup=Linear(10))
    >>> p.grad = torch.tensor([0.5])
    >>> optimizer.step()
    >>> p.data
    tensor([0.9890])

    Reference: arXiv:1711.05101.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float | Tensor = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = True,
        warmup: Warmup | None = None,
        eps_hat: bool = False,
        state_dtype: StateDtype = torch.float32,
        rounding: Rounding = "nearest",
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=decoupled_weight_decay,
            warmup=warmup,
            eps_hat=eps_hat,
            state_dtype=state_dtype,
            rounding=rounding,
        )

    def check(self, group: Group) -> None:
        if not group["decoupled_weight_decay"]:
            raise ValueError("decoupled_weight_decay is False, and AdamW is Adam with True: use Adam for L2 decay")
        super().check(group)

    def adopt(self, options: Group) -> Group:
        # A state saved by Adam becomes one of AdamW, as in torch.
        return {**super().adopt(options), "decoupled_weight_decay": True}
