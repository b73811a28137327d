"""Adam's step with omega as pure functions of arrays: the numbers of a step, and the update of one parameter.

The same in torch is :mod:`rectified.optim.step.update`.
"""

from typing import Any, NamedTuple

import numpy as np

from ..warmup import Warmup
from .library import Arrays
from .rho_and_ratio import correction
from .traced_omega import Omega


class Options(NamedTuple):
    """What an optimizer was given; numbers, or arrays that were injected."""

    warmup: Warmup
    omega: Omega
    b1: Any
    b2: Any
    eps: Any
    eps_hat: bool
    weight_decay: Any = 0.0  # also a function of the count from 0
    eps_root: Any = 0.0


class Numbers(NamedTuple):
    """The numbers of a step, which are the same for all parameters that share a count."""

    scale: Any  # omega sqrt(1 - beta2^t) / (1 - beta1^t): of m / (sqrt(v) + eps)
    momentum: Any  # 1 / (1 - beta1^t) in a momentum start, else 0: of m alone
    decay: Any  # lambda where the parameters may move, else 0: of theta
    m_moves: Any  # whether m does; if not, v alone takes in the gradient
    c2: Any  # 1 - beta2^t


def numbers(xp: Arrays, o: Options, count: Any) -> Numbers:
    """The numbers of the steps with these counts, from 1."""
    delay = o.warmup.m_delay
    c1, c2 = correction(xp, o.b1, xp.maximum(count - delay, 1)), correction(xp, o.b2, count)
    m_moves = count > delay
    omega = xp.where(m_moves, o.omega(count), 0.0)
    starts = m_moves & (omega == 0) & (o.warmup.start == "momentum")
    weight_decay = o.weight_decay(count - 1) if callable(o.weight_decay) else o.weight_decay
    return Numbers(
        scale=omega * xp.sqrt(c2) / c1,
        momentum=xp.where(starts, 1 / c1, 0.0),
        decay=xp.where((omega > 0) | starts, weight_decay, 0.0),
        m_moves=m_moves,
        c2=c2,
    )


def step(
    xp: Arrays, o: Options, n: Numbers, g: Any, m: Any, v: Any, theta: Any, v_max: Any = None
) -> tuple[Any, Any, Any, Any]:
    r"""One parameter's update u in v's dtype, and new m, v and v_max.

    .. math::
        m &\leftarrow \beta_1 m + (1 - \beta_1) g, \qquad v \leftarrow \beta_2 v + (1 - \beta_2) g^2 \\
        u &= \text{scale}\, \frac{m}{\sqrt{v} + \epsilon} + \text{momentum}\, m + \text{decay}\, \theta

    Args:
        theta: the parameter; None where nothing decays.
        v_max: the largest v so far, which takes the place of v in u (AMSGrad); None without it.
    """
    dtype = v.dtype
    scale, momentum, decay, c2 = (xp.cast(x, dtype) for x in (n.scale, n.momentum, n.decay, n.c2))
    g, old = xp.cast(g, dtype), xp.cast(m, dtype)
    m_new: Any = o.b1 * old + (1 - o.b1) * g
    if o.warmup.m_delay:
        m_new = xp.where(n.m_moves, m_new, old)
    v_new: Any = o.b2 * v + (1 - o.b2) * g * g
    largest = v_new if v_max is None else xp.maximum(v_max, v_new)
    root = xp.sqrt(largest + o.eps_root * c2) + (o.eps if o.eps_hat else o.eps * xp.sqrt(c2))
    u = scale * m_new / xp.maximum(root, float(np.finfo(str(dtype)).tiny))  # m and v of 0: no 0/0
    if o.warmup.start == "momentum":
        u = u + momentum * m_new
    if theta is not None:
        u = u + decay * theta
    return xp.cast(u, dtype), xp.cast(m_new, m.dtype), xp.cast(v_new, dtype), None if v_max is None else largest
