"""Adam's step with omega as pure functions of arrays: the numbers of a step, and the update of one leaf.

The same in torch is :mod:`rectified.optim.step.update`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from ..warmup import Warmup
from .mathematics import correction
from .omega import Omega


class Options(NamedTuple):
    """What an optimizer was given; numbers, or arrays that were injected."""

    warmup: Warmup
    omega: Omega
    b1: Any
    b2: Any
    eps: Any
    eps_root: Any
    eps_hat: bool
    weight_decay: ArrayLike | Callable[[Array], ArrayLike]


class Numbers(NamedTuple):
    """The numbers of a step, which are the same for all leaves that share a count."""

    scale: Array  # omega sqrt(1 - beta2^t) / (1 - beta1^t): of m / (sqrt(v) + eps)
    momentum: Array  # 1 / (1 - beta1^t) in a momentum start, else 0: of m alone
    decay: Array  # lambda where the parameters may move, else 0: of theta
    m_moves: Array  # whether m does; if not, v alone takes in the gradient
    c2: Array  # 1 - beta2^t


def numbers(o: Options, count: Array) -> Numbers:
    """The numbers of the steps with these counts, from 1."""
    delay = o.warmup.m_delay
    c1, c2 = correction(o.b1, jnp.maximum(count - delay, 1)), correction(o.b2, count)
    m_moves = count > delay
    omega = jnp.where(m_moves, o.omega(count), 0)
    starts = m_moves & (omega == 0) & (o.warmup.start == "momentum")
    weight_decay = o.weight_decay(count - 1) if callable(o.weight_decay) else o.weight_decay
    return Numbers(
        scale=omega * jnp.sqrt(c2) / c1,
        momentum=jnp.where(starts, 1 / c1, 0),
        decay=jnp.where((omega > 0) | starts, weight_decay, 0),
        m_moves=m_moves,
        c2=c2,
    )


def step(
    o: Options, n: Numbers, g: ArrayLike, m: Array, v: Array, theta: ArrayLike | None
) -> tuple[Array, Array, Array]:
    r"""One leaf's update, m and v, in v's dtype; theta is None where nothing decays.

    .. math::
        m &\leftarrow \beta_1 m + (1 - \beta_1) g, \qquad v \leftarrow \beta_2 v + (1 - \beta_2) g^2 \\
        u &= \text{scale}\, \frac{m}{\sqrt{v} + \epsilon} + \text{momentum}\, m + \text{decay}\, \theta
    """
    dtype = v.dtype
    scale, momentum, decay, c2 = (x.astype(dtype) for x in (n.scale, n.momentum, n.decay, n.c2))
    g, old = jnp.asarray(g).astype(dtype), m.astype(dtype)
    m_new: Any = o.b1 * old + (1 - o.b1) * g
    if o.warmup.m_delay:
        m_new = jnp.where(n.m_moves, m_new, old)
    v_new: Any = o.b2 * v + (1 - o.b2) * g * g
    root = jnp.sqrt(v_new + o.eps_root * c2) + (o.eps if o.eps_hat else o.eps * jnp.sqrt(c2))
    u = scale * m_new / jnp.maximum(root, np.finfo(dtype).tiny)  # m and v of 0: no 0/0
    if o.warmup.start == "momentum":
        u = u + momentum * m_new
    if theta is not None:
        u = u + decay * theta
    return u.astype(dtype), m_new.astype(m.dtype), v_new.astype(dtype)
