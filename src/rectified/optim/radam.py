"""RAdam: Adam whose warmup is the rectification."""

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..theory.rectification_term import Variance
from ..warmup import Rectified, Start
from .adam import Adam
from .base import BaseOptimizer
from .step.low_precision import Rounding
from .step.options import Group, options_from


class RAdam(Adam):
    r"""RAdam: Adam with ``warmup=Rectified(variance, threshold, start)`` and ``eps_hat=True``.

    .. math::
        \theta_t = \theta_{t-1} - \gamma\,r_t\,
            \frac{m_t}{1 - \beta_1^t}\,\frac{\sqrt{1 - \beta_2^t}}{\sqrt{v_t} + \epsilon}
        \quad\text{once } \rho_t > \text{threshold, before that}\quad
        \theta_t = \theta_{t-1} - \gamma\,\frac{m_t}{1 - \beta_1^t}

    With its defaults it takes torch.optim.RAdam's steps, and continues its checkpoints.

    Args:
        params: parameters, named parameters, or dicts of parameter groups. Every option can be set per group; in the
            groups variance, threshold and start are ``group["warmup"]``, a :class:`rectified.warmup.Rectified`.
        lr: learning rate gamma; a number or a one-element tensor, at least 0.
        betas: decay rates of the first and the second moment, each in [0, 1).
        eps: added to the denominator, at least 0.
        weight_decay: lambda, at least 0.
        decoupled_weight_decay: as the authors' code does it; torch's default, L2, is the default here.
        variance: ``"first-order"``, the paper's r_t; ``"exact"``, from the closed form of the variance, or ``"ema"``,
            from the EMA's own: both rectify from t = 3 on, so that two momentum steps are left of five.
        threshold: rho_t that must be exceeded; ``None`` is 5 for ``"first-order"`` (the paper's Algorithm 2 has 4),
            else 2.
        start: what happens before. ``"momentum"``: the step above, which can do harm where raw gradients are large.
            ``"hold"``: only m and v move, as in the authors' code.
        eps_hat, foreach, maximize, capturable, differentiable, fused, state_dtype, rounding: as in
            :class:`rectified.Adam`.

    Raises:
        TypeError: an option is no number where one is needed.
        ValueError: an option is outside its range, or this beta2 never leaves the start.
        RuntimeError: as :class:`rectified.Adam`.

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
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float | Tensor = 0.0,
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
        # Not Adam's constructor: these three options are the warmup.
        BaseOptimizer.__init__(self, params, {**options_from(locals()), "amsgrad": False})

    def check(self, group: Group) -> None:
        super().check(_folded(group))

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; its missing options are the constructor's. Raises as the constructor does, changing nothing."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        folded = _folded(group)
        group.clear()
        group.update(folded)


def _folded(group: Group) -> Group:
    """A group with the rectification as its warmup, instead of the options that it is made of.

    >>> _folded({"lr": 0.1, "variance": "exact", "threshold": None, "start": "hold"})
    {'lr': 0.1, 'warmup': Rectified(variance='exact', threshold=2.0, start='hold')}
    """
    rest = {name: x for name, x in group.items() if name not in ("variance", "threshold", "start")}
    if "warmup" not in rest:
        rest["warmup"] = Rectified(group["variance"], group["threshold"], group["start"])
    return rest
