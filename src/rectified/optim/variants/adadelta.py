"""Adadelta with a warmup."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ...warmup import Warmup
from ..step.foreach_ops import average_squares, gradients, subtract
from ..step.options import Group, options_from
from ..step.plan import Found
from .variant import States, Variant, incoming


class _Numbers(NamedTuple):
    omega: Any
    lr: Any


class Adadelta(Variant):
    r"""Adadelta with a built-in warmup.

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
        params, lr, weight_decay, foreach, capturable, maximize, differentiable: as in :class:`rectified.Adam`.
        rho: decay rate of v and u, in [0, 1).
        eps: added under both roots, at least 0; with 0 nothing ever moves.
        warmup: an object with ``omega(t, rho)``; ``None`` for no warmup.

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
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
        warmup: Warmup | None = None,
    ) -> None:
        super().__init__(params, options_from(locals()))

    def beta2(self, group: Group) -> Any:
        return group["rho"]

    def numbers(self, group: Group, t: Any, omega: Any, scalars: list[Any]) -> _Numbers:
        return _Numbers(omega, group["lr"])

    def equation(self, group: Group, theta: Tensor, g: Tensor, states: States, n: _Numbers) -> tuple[Tensor, States]:
        rho, g, v, u = float(group["rho"]), incoming(group, theta, g), states["square_avg"], states["acc_delta"]
        eps = group["eps"] or torch.finfo(v.dtype).tiny  # with eps = 0 both roots begin at 0
        v = rho * v + (1 - rho) * g * g
        delta = ((u + eps) / (v + eps)).sqrt() * g
        u = rho * u + (1 - rho) * delta * delta
        return theta - n.lr * n.omega * delta, {"square_avg": v, "acc_delta": u}

    def update(self, group: Group, found: Found, n: _Numbers) -> None:
        grads, (v, u), rho = gradients(group, found), found.states, float(group["rho"])
        eps = group["eps"] or torch.finfo(v[0].dtype).tiny
        average_squares(v, grads, rho)
        steps, below = torch._foreach_add(u, eps), torch._foreach_add(v, eps)
        torch._foreach_div_(steps, below)
        torch._foreach_sqrt_(steps)
        torch._foreach_mul_(steps, grads)
        average_squares(u, steps, rho)
        if n.omega:
            subtract(found.params, steps, float(n.lr) * n.omega)
