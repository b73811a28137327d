"""RAdam: Adam with rectification as its warmup."""

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..theory.rectification_term import Variance
from ..warmup import Rectified, Start
from .adam import Adam
from .base import BaseOptimizer
from .states.low_precision import Rounding, StateDtype
from .step.options import Group, options_from


class RAdam(Adam):
    r"""RAdam: Adam with a rectified adaptive learning rate.

    .. math::
        \theta_t = \theta_{t-1} - \gamma\,r_t\,
            \frac{m_t}{1 - \beta_1^t}\,\frac{\sqrt{1 - \beta_2^t}}{\sqrt{v_t} + \epsilon}
        \quad\text{once } \rho_t > \text{threshold, before that}\quad
        \theta_t = \theta_{t-1} - \gamma\,\frac{m_t}{1 - \beta_1^t}

    It is :class:`rectified.Adam` with ``warmup=Rectified(variance, threshold, start)`` and ``eps_hat=True``. With the
    defaults it takes torch.optim.RAdam's steps and continues its checkpoints.

    Args:
        params: parameters, named parameters, or dicts of parameter groups. Every option can be set per group; groups
            store variance, threshold and start as ``group["warmup"]``, a :class:`rectified.warmup.Rectified`.
        lr: learning rate gamma; a number or a one-element tensor, at least 0.
        betas: decay rates of the first and the second moment, each in [0, 1).
        eps: added to the denominator, at least 0.
        weight_decay: lambda, at least 0.
        decoupled_weight_decay: decouple the weight decay, as the authors' code does; the default is L2, as in torch.
        variance: ``"first-order"``, the paper's r_t; ``"exact"``, from the closed form of the variance, or ``"ema"``,
            from the EMA's own. The latter two rectify from t = 3 on, so only two of five momentum steps remain.
        threshold: the rho_t that must be exceeded; ``None`` is 5 for ``"first-order"`` (the paper's Algorithm 2 has 4)
            and 2 otherwise.
        start: the steps before that. ``"momentum"``: the second equation, which can do harm if raw gradients are large.
            ``"hold"``: only m and v change, as in the authors' code.
        eps_hat, foreach, maximize, capturable, differentiable, fused, state_dtype, rounding: as in
            :class:`rectified.Adam`.

    Raises:
        TypeError: an option is not a number where one is required.
        ValueError: an option is out of range, or the warmup never leaves its start at this beta2.
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
        state_dtype: StateDtype = torch.float32,
        rounding: Rounding = "nearest",
    ) -> None:
        # Not Adam's constructor, since these three options make the warmup.
        BaseOptimizer.__init__(self, params, {**options_from(locals()), "amsgrad": False})

    def check(self, group: Group) -> None:
        super().check(_folded(group))

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, with the constructor's options as defaults; an invalid group raises and changes nothing."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        folded = _folded(group)
        group.clear()
        group.update(folded)


def _folded(group: Group) -> Group:
    """Replace a group's rectification options by the warmup that they make.

    >>> _folded({"lr": 0.1, "variance": "exact", "threshold": None, "start": "hold"})
    {'lr': 0.1, 'warmup': Rectified(variance='exact', threshold=2.0, start='hold')}
    """
    rest = {name: x for name, x in group.items() if name not in ("variance", "threshold", "start")}
    if "warmup" not in rest:
        rest["warmup"] = Rectified(group["variance"], group["threshold"], group["start"])
    return rest
