"""LAMB with a warmup."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ...warmup import Warmup
from .._torch import TensorList
from ..step.foreach_ops import adam_directions, gradients
from ..step.options import Group, options_from
from ..step.plan import Found
from .variant import States, Variant, incoming


class _Numbers(NamedTuple):
    omega: Any
    lr: Any
    c1: Any  # 1 - beta1^t
    root_c2: Any  # sqrt(1 - beta2^t)
    t: Any


class LAMB(Variant):
    r"""LAMB with a built-in warmup: Adam's update, scaled for each tensor to the tensor's norm.

    .. math::
        d_t &= \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon} + \lambda \theta_{t-1} \\
        \theta_t &= \theta_{t-1} - \gamma\, \omega(t; \beta_2)\,
            \frac{\lVert \theta_{t-1} \rVert}{\lVert d_t \rVert}\, d_t

    The factor is 1 where one of the norms is 0. omega is in front of all of it: within d the norm would divide it out.
    m, v, psi and rho_t are Adam's, but **a rectification does not make the update's variance the same at every t**,
    and is not needed for that: a tensor's step has the length gamma ||theta|| at every t, whatever psi is. What omega
    does here is a plain warmup (docs/mathematics.md has the simulation).

    Args:
        params, lr, betas, foreach, maximize, capturable, differentiable: as in :class:`rectified.Adam`.
        eps: added to the denominator, at least 0.
        weight_decay: lambda, part of what is normalized.
        warmup: an object with ``omega(t, beta2)``; ``None`` for no warmup.

    Raises:
        ValueError: an option is outside its range, or the warmup never starts at this beta2.
        RuntimeError: from ``step``, for sparse gradients.

    >>> import torch
    >>> p = torch.nn.Parameter(torch.tensor([3.0, -4.0]))
    >>> optimizer = LAMB([p], lr=0.1)
    >>> p.grad = torch.tensor([0.5, 2.0])
    >>> optimizer.step()
    >>> p.data
    tensor([ 2.6464, -4.3536])

    Reference: arXiv:1904.00962, Algorithm 2, with phi the identity.
    """

    STATES = ("exp_avg", "exp_avg_sq")
    ELEMENTWISE = False

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        warmup: Warmup | None = None,
    ) -> None:
        super().__init__(params, {**options_from(locals()), "decoupled_weight_decay": True})

    def numbers(self, group: Group, t: Any, omega: Any, scalars: list[Any]) -> _Numbers:
        beta1, beta2 = map(float, group["betas"])
        return _Numbers(omega, group["lr"], 1 - beta1**t, (1 - beta2**t) ** 0.5, t)

    def equation(self, group: Group, theta: Tensor, g: Tensor, states: States, n: _Numbers) -> tuple[Tensor, States]:
        (beta1, beta2), g = map(float, group["betas"]), incoming(group, theta, g)
        m = beta1 * states["exp_avg"] + (1 - beta1) * g
        v = beta2 * states["exp_avg_sq"] + (1 - beta2) * g * g
        d = m / n.c1 / (v.sqrt() / n.root_c2 + (group["eps"] or torch.finfo(v.dtype).tiny))
        d = d + group["weight_decay"] * theta
        length, norm = torch.linalg.vector_norm(theta), torch.linalg.vector_norm(d)
        both = (length > 0) & (norm > 0)
        ratio = torch.where(both, length, 1) / torch.where(both, norm, 1)
        return theta - n.lr * n.omega * ratio * d, {"exp_avg": m, "exp_avg_sq": v}

    def update(self, group: Group, found: Found, n: _Numbers) -> None:
        m, v = found.states
        steps = adam_directions(group, n.t, found.bucket.kernel, m, v, gradients(group, found))
        if not n.omega:
            return
        if group["weight_decay"]:
            torch._foreach_add_(steps, found.params, alpha=float(group["weight_decay"]))
        _subtract(found.params, steps, float(n.lr) * n.omega)


def _subtract(params: TensorList, steps: TensorList, lr: float) -> None:
    """theta -= lr (||theta|| / ||d||) d, and lr d where one of the norms is 0."""
    norms = torch._foreach_norm([*params, *steps])
    lengths = norms[: len(params)]
    if type(norms[0]) is Tensor and norms[0].is_cpu:  # numbers cost less there than tensors of one element
        values = [x.item() for x in norms]
        if all(x > 0 for x in values):
            torch._foreach_addcmul_(params, steps, lengths, [-lr / norm for norm in values[len(params) :]])
            return
    length, norm = torch.stack(norms).chunk(2)
    ratios = torch.where((length > 0) & (norm > 0), length / norm, 1.0)
    torch._foreach_addcmul_(params, steps, ratios.unbind(), value=-lr)
