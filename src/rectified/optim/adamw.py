"""AdamW: Adam with decoupled weight decay."""

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..warmup import Warmup
from .adam import Adam
from .step.low_precision import Rounding


class AdamW(Adam):
    """:class:`Adam` with decoupled weight decay, 0.01 by default.

    >>> import torch
    >>> p = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = AdamW([p], lr=0.1)
    >>> p.grad = torch.tensor([0.5])
    >>> optimizer.step()
    >>> p.data
    tensor([0.8990])

    Reference: arXiv:1711.05101.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        warmup: Warmup | None = None,
        eps_hat: bool = False,
        state_dtype: torch.dtype = torch.float32,
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
            decoupled_weight_decay=True,
            warmup=warmup,
            eps_hat=eps_hat,
            state_dtype=state_dtype,
            rounding=rounding,
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:  # a save of Adam's becomes AdamW's, as in torch
            group["decoupled_weight_decay"] = True
