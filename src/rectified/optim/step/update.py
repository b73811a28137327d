"""The reference update: Adam's equation with omega as one pure function, and the numbers that it takes.

Every kernel (:mod:`.kernels`, :mod:`.capturable`) computes this step, and is tested against :func:`update`.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...warmup import Warmup
from .options import Group, omega_at, value_of


class Numbers(NamedTuple):
    """The numbers of a step, which are the same for all parameters that share a group and a count."""

    omega: float
    scale: Any  # lr omega sqrt(1 - beta2^t) / (1 - beta1^t): of m / (sqrt(v) + eps)
    momentum: Any  # lr / (1 - beta1^t) in a momentum start, else 0: of m alone
    beta1: Any
    beta2: Any
    eps: Any  # added to sqrt(v), where v is not debiased
    l2: Any  # times theta, is added to the gradient
    decay: Any  # of theta itself, before the step
    maximize: bool
    m_moves: bool  # if not, v alone takes in the gradient
    is_first: bool  # whether it is the first step in which m moves
    grad_scale: Tensor | None  # what a GradScaler has multiplied the gradients by
    t: int = 0  # the number of the step, by which codes of 8 bits are rounded


def update(
    theta: Tensor, m: Tensor, v: Tensor, g: Tensor, n: Numbers, v_max: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    r"""One step of one real parameter, as a pure function: returns new theta, m, v and v_max (None without AMSGrad).

    .. math::
        g &\leftarrow \pm g / \text{grad\_scale} + \lambda_\text{L2}\, \theta \\
        m &\leftarrow \beta_1 m + (1 - \beta_1) g, \qquad v \leftarrow \beta_2 v + (1 - \beta_2) g^2 \\
        \theta &\leftarrow (1 - \text{decay})\, \theta - \text{scale}\, \frac{m}{\sqrt{v} + \epsilon}
            - \text{momentum}\, m

    >>> import torch
    >>> from rectified import Adam
    >>> theta, g, zero = torch.tensor([1.0, -1.0]), torch.tensor([0.5, 2.0]), torch.zeros(2)
    >>> (group,) = Adam([torch.nn.Parameter(theta.clone())], lr=0.1).param_groups
    >>> update(theta, zero, zero, g, numbers(group, warmup=None, t=1))[0]
    tensor([ 0.9000, -1.1000])
    """
    g = g if n.grad_scale is None else g / n.grad_scale
    g = -g if n.maximize else g
    g = g if is_zero(n.l2) else g + n.l2 * theta
    theta = theta if is_zero(n.decay) else theta * (1 - n.decay)
    v = n.beta2 * v + (1 - n.beta2) * g * g
    v_max = None if v_max is None else torch.maximum(v_max, v)
    if n.m_moves:
        m = n.beta1 * m + (1 - n.beta1) * g
    root = (v if v_max is None else v_max).sqrt() + (n.eps or torch.finfo(v.dtype).tiny)  # m and v of 0: no 0/0
    if not is_zero(n.scale):
        theta = theta - n.scale * m / root
    if not is_zero(n.momentum):
        theta = theta - n.momentum * m
    return theta, m, v, v_max


class Coefficients(NamedTuple):
    """The numbers that depend only on the count and omega; one-element tensors if capturable."""

    scale: Any  # of m / (sqrt(v) + eps), but for lr
    momentum: Any  # of m alone, but for lr
    moves: Any  # 1 where the parameters may move, else 0
    m_moves: Any  # 1 where m does
    root_c2: Any  # sqrt(1 - beta2^t)
    omega: Any


def coefficients(warmup: Warmup | None, betas: tuple[Any, Any], t: int, omega: float) -> Coefficients:
    """The coefficients of step t at this omega; the betas may be tensors, for autograd to see."""
    beta1, beta2 = betas
    root_c2 = correction(beta2, t) ** 0.5
    m_steps = t if warmup is None else t - warmup.m_delay
    c1 = correction(beta1, m_steps) if m_steps > 0 else 1.0
    starts = not omega and m_steps > 0 and warmup is not None and warmup.start == "momentum"
    return Coefficients(
        scale=omega * root_c2 / c1,
        momentum=1 / c1 if starts else 0.0,
        moves=float(omega > 0 or starts),
        m_moves=float(m_steps > 0),
        root_c2=root_c2,
        omega=omega,
    )


def correction(beta: Any, t: int) -> Any:
    """The bias correction 1 - beta^t, without the power if it is 1 to the last bit, since underflow is slow."""
    return 1.0 if t * (1 - beta) > 40 else 1 - beta**t


def numbers(group: Group, warmup: Warmup | None, t: int, grad_scale: Tensor | None = None) -> Numbers:
    """The numbers of a group's step t, counted on the host; floats, but with differentiable what the user gave."""
    omega = omega_of(warmup, t, value_of(group["betas"][1]))  # itself not differentiated
    number = _scalar if group["differentiable"] else float
    lr, weight_decay = number(group["lr"]), number(group["weight_decay"])
    betas = beta1, beta2 = tuple(map(number, group["betas"]))
    at = coefficients(warmup, betas, t, omega)
    decoupled = group["decoupled_weight_decay"]
    return Numbers(
        omega=omega,
        scale=lr * at.scale,
        momentum=lr * at.momentum,
        beta1=beta1,
        beta2=beta2,
        eps=group["eps"] if group["eps_hat"] else group["eps"] * at.root_c2,
        l2=0.0 if decoupled else weight_decay,
        decay=lr * weight_decay * at.moves if decoupled else 0.0,
        maximize=group["maximize"],
        m_moves=bool(at.m_moves),
        is_first=t == 1 + (0 if warmup is None else warmup.m_delay),
        grad_scale=grad_scale,
        t=t,
    )


def omega_of(warmup: Warmup | None, t: int, beta2: float) -> float:
    """The factor of step t: 1 without a warmup, 0 while only v moves."""
    if warmup is None:
        return 1.0
    return 0.0 if t <= warmup.m_delay else omega_at(warmup, t, beta2)


def is_zero(x: Any) -> bool:
    """Whether a value is the number 0; False for a tensor, which must not be read here."""
    return not isinstance(x, Tensor) and not x


def _scalar(x: float | Tensor) -> Any:
    """Remove the dimensions of a one-element tensor, since a parameter may have none."""
    return x.reshape(()) if isinstance(x, Tensor) else x
