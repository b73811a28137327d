"""YellowFin: SGD that tunes its learning rate and momentum."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from .._torch import TensorList
from ..base import BaseOptimizer
from ..step.foreach_ops import gradients, total
from ..step.options import Group, options_from
from ..step.plan import Found

_TINY = 1e-6  # as in the authors' code, added to variances and curvatures


class YellowFin(BaseOptimizer):
    r"""SGD with momentum that tunes its learning rate and momentum by a local quadratic model of the loss.

    .. math::
        \mu, \alpha = \arg\min_\mu\ \mu D^2 + \alpha^2 C \quad\text{where}\quad
        \mu \ge \left(\frac{\sqrt{h_\max / h_\min} - 1}{\sqrt{h_\max / h_\min} + 1}\right)^2, \quad
        \alpha = \frac{(1 - \sqrt\mu)^2}{h_\min}

    h_max and h_min are the largest and smallest squared norm of the last gradients, averaged geometrically; C the
    gradients' variance, D the distance to the optimum, from averages of norms. All averages have decay rate beta and
    bias corrections. alpha and mu are averaged in their turn, from `first_lr` and 0 on, and alpha grows to its size
    over 10 windows (the paper's slow start). All of it is once a group, as lr is. Then

    .. math:: \theta_t = \theta_{t-1} + d_t, \qquad d_t = \mu_t d_{t-1} - \gamma\, \alpha_t g_t.

    Args:
        params, weight_decay, maximize: as in :class:`rectified.Adam`; the decay is in the gradient.
        lr: gamma, a factor in front of the tuned alpha, so that schedulers go on setting lr; at least 0.
        first_lr: alpha_0, above 0.
        beta: decay rate of the averages, in [0, 1).
        window: over how many gradients the curvature range is taken, at least 1.
        clip: scale gradients that are longer than sqrt(h_max) down to it.

    ``group["tuned_lr"]`` and ``group["tuned_momentum"]`` hold alpha and mu.

    Raises:
        ValueError: an option is outside its range.
        RuntimeError: from ``step``, for sparse gradients.

    >>> import torch
    >>> p = torch.nn.Parameter(torch.tensor([1.0, -1.0]))
    >>> optimizer = YellowFin([p])
    >>> for _ in range(200):
    ...     p.grad = p.detach() * torch.tensor([1.0, 10.0])
    ...     optimizer.step()
    >>> bool(p.abs().max() < 1)
    True

    Reference: arXiv:1706.03471, Algorithms 1 to 4; slow start, logarithms and bias corrections: its appendix and code.
    """

    STATES = ("displacement", "grad_avg")
    ELEMENTWISE = False

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1.0,
        first_lr: float = 1e-4,
        beta: float = 0.999,
        window: int = 20,
        weight_decay: float = 0.0,
        *,
        clip: bool = False,
        maximize: bool = False,
    ) -> None:
        measured: dict[str, Any] = {"tuned_lr": first_lr, "tuned_momentum": 0.0, "measured": {}}
        super().__init__(params, {**options_from(locals()), **measured})

    def check(self, group: Group) -> None:
        super().check(group)
        if not group["first_lr"] > 0:
            raise ValueError(f"Invalid first_lr value: {group['first_lr']}; it must be above 0")
        if not group["window"] >= 1:
            raise ValueError(f"Invalid window value: {group['window']}; it must be at least 1")

    def move(self, group: Group, found: list[Found]) -> None:
        grads = [gradients(group, here) for here in found]
        shrink = self._tune(group, found, grads)
        for here, mine in zip(found, grads, strict=True):
            moves, _ = here.states
            torch._foreach_mul_(moves, group["tuned_momentum"])
            torch._foreach_add_(moves, mine, alpha=-float(group["lr"]) * group["tuned_lr"] * shrink)
            torch._foreach_add_(here.params, moves)

    def _tune(self, group: Group, found: list[Found], grads: list[TensorList]) -> float:
        """Measure, set alpha and mu for this step, and return the factor on the gradients."""
        beta, old = float(group["beta"]), group["measured"]
        t = old.get("t", 0) + 1
        debias: float = 1 - beta**t
        for here, mine in zip(found, grads, strict=True):
            torch._foreach_lerp_(here.states[1], mine, 1 - beta)
        square = total(g.double().square() for mine in grads for g in mine)
        recent = [*old.get("recent", []), square][-group["window"] :]
        measured: dict[str, float] = {}

        def averaged(name: str, value: float) -> float:
            measured[name] = beta * old.get(name, 0.0) + (1 - beta) * value
            return measured[name] / debias

        h_min = math.exp(averaged("log_h_min", math.log(min(recent) + _TINY)))
        h_max = math.exp(averaged("log_h_max", math.log(max(recent) + _TINY)))
        mean_square = averaged("square", square)
        distance = averaged("distance", averaged("norm", math.sqrt(square)) / (mean_square + _TINY))
        mean = total(x.double().square() for here in found for x in here.states[1])
        variance = max(mean_square - mean / debias**2, _TINY)
        # Another dict, and not the old one with new values, which a saved state may hold.
        group["measured"] = {"t": t, "recent": recent, **measured}
        if t > 1:
            mu, alpha = single_step(variance, distance, h_min, h_max)
            slow = min(1.0, t / (10 * group["window"]))
            group["tuned_momentum"] = beta * group["tuned_momentum"] + (1 - beta) * mu
            group["tuned_lr"] = beta * group["tuned_lr"] + (1 - beta) * alpha * slow
        return math.sqrt(h_max / square) if group["clip"] and square > h_max else 1.0


def single_step(variance: float, distance: float, h_min: float, h_max: float) -> tuple[float, float]:
    """The mu and alpha that minimize the quadratic model, for arguments above 0.

    With x = sqrt(mu) the model's minimum without its bound solves (1 - x)^3 = p x, p = D^2 h_min^2 / (2 C).

    >>> mu, alpha = single_step(variance=2.0, distance=1.0, h_min=2.0, h_max=2.0)
    >>> round((1 - mu**0.5) ** 3, 12) == round(mu**0.5, 12), round(alpha - (1 - mu**0.5) ** 2 / 2, 12)
    (True, 0.0)
    """
    p = (distance * h_min) ** 2 / (2 * variance)
    z, last = 1.0, 2.0  # z = 1 - x: Newton's method falls to the root of a convex function
    while z < last:
        last, z = z, z - (z**3 + p * z - p) / (3 * z * z + p)
    root = math.sqrt(h_max / h_min)
    x = max(1 - last, (root - 1) / (root + 1))
    return x * x, (1 - x) ** 2 / h_min
