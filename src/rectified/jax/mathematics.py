"""The theory's formulas in jax: functions of a step count, or of rho, without cancellation in float32.

A decay rate may be a number, whose constants are computed in double precision on the host, or an array, such as one
that ``optax.inject_hyperparams`` injects.
"""

import math
from numbers import Real
from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from ..theory.checks import check_beta2
from ..theory.ema import SERIES_FACTORS, series_in
from ..theory.psi import EULER
from ..theory.sma import G_COEFFICIENTS

_LARGE = 80.0  # e^80 is finite in float32, so that derivatives are too
LIFTS = 9  # from 2 to 20, where the series of the variance is exact to round-off, in steps of 2


def known(beta: Any) -> float | None:
    """The value of a decay rate that is a number; None for an array, which jax may be tracing."""
    return float(beta) if isinstance(beta, Real) else None


def rho(t: ArrayLike, beta2: ArrayLike) -> Array:
    r"""Length of the simple moving average (SMA) with the same center of mass as the EMA after t steps, in jax.

    .. math:: \rho_t = \rho_\infty - \frac{2 t \beta_2^t}{1 - \beta_2^t}

    The textbook form cancels: in float32, at beta2 = 0.99999 and t = 2, no digit of it is right. This form is within
    4e-7 of :func:`rectified.theory.rho`, relative, for beta2 from 0.5 to 0.99999 and t up to 1e7; under x64 within
    4e-15.

    Args:
        t: step counts from 1, of any shape.
        beta2: decay rate of the second moment, in [0, 1). An array is used with its rounding: a float32 closest to
            0.999 has a 1 - beta2 that is wrong by 1e-5, relative, and rho too.

    Returns:
        An array of jax's default float dtype: float32, or float64 under x64.

    Raises:
        ValueError: beta2 is a number outside [0, 1).

    >>> [round(float(x), 4) for x in rho(jnp.array([1, 4, 5, 6]), 0.999)]
    [1.0, 3.9975, 4.996, 5.9942]

    Reference: arXiv:1908.03265, section 4.1 and Algorithm 2.
    """
    if (number := known(beta2)) is not None:
        check_beta2(number)
        if number == 0:
            return jnp.ones_like(jnp.asarray(t), dtype=float)
    t = jnp.asarray(t).astype(float)
    h = rate(beta2)
    x = h * t
    # rho_inf - 2t/(e^x - 1), whose terms are both near 2/h while x is small. Their difference is then taken term by
    # term: 2t/(e^x - 1) = 2/h - t + 2t g(x)/x, and rho_inf = 2/h + 2 g(h)/h.
    early = t * (1 - 2 * _g_over(x)) + 2 * _g_over(h)
    late = rho_inf(beta2) - 2 * t / jnp.expm1(jnp.minimum(x, _LARGE))
    return jnp.where(x < 1, early, late)


def rho_inf(beta2: Any) -> Any:
    """The largest rho: a number for a number, an array for an array."""
    return (1 + beta2) / (1 - beta2)


def rate(beta: Any) -> Any:
    """-log(beta): a number for a number; for an array from 1 - beta, which is exact from 1/2 on."""
    if (number := known(beta)) is not None:
        return -math.log(number) if number > 0 else math.inf
    return -jnp.log1p(beta - 1)


def correction(beta: Any, t: Array) -> Array:
    """The bias correction 1 - beta^t, without cancellation."""
    return -jnp.expm1(-rate(beta) * t.astype(float))


def first_order_ratio(rho: Array, end: Array) -> Array:
    """r_t by the first-order variance for a rho above 4, `end` being rho_inf."""
    return jnp.sqrt((rho - 4) / (end - 4) * ((rho - 2) / (end - 2)) * (end / rho))


def exact_ratio(rho: Array, end: Array, lifts: int = LIFTS) -> Array:
    """r_t by the closed form of the variance for a rho above 2, `end` being rho_inf; from 20 on without lifts."""
    return jnp.sqrt(variance(end, lifts) / variance(rho, lifts))


def variance(rho: Array, lifts: int = LIFTS) -> Array:
    """Var[psi] in closed form for a rho above 2, see :func:`rectified.theory.variance`: a sum of positive terms."""
    top = rho + 2 * lifts
    y = 2 * top - 3
    s = jnp.zeros_like(y)
    for k in range(len(EULER), 0, -1):
        s = (EULER[k - 1] / (2 * k) + s) / (y * y)
    value = top / y * (1 / (top - 2) - 2 * jnp.expm1(s))
    for k in range(lifts - 1, -1, -1):
        low = rho + 2 * k
        square = (low - 1) * (low - 1)
        value = low / ((low - 2) * square) + low / (low + 2) * (low * low / square) * value
    return value


def ema_ratio(t: Array, beta2: float, limit: float) -> Array:
    """r_t by the EMA's own variance for a rho_t from 300 on, `limit` being the variance for large t."""
    h = rate(beta2)
    x = h * t.astype(float)
    last = math.expm1(-h) / jnp.expm1(-x)  # w_t
    a = [f * last**k * jnp.expm1(-k * x) / math.expm1(-k * h) if f else 0.0 for k, f in enumerate(SERIES_FACTORS)]
    return jnp.sqrt(limit / series_in(a))


def _g_over(y: Any) -> Any:
    """g(y)/y for g(y) = y/(e^y - 1) - 1 + y/2, by its series: y below 1."""
    square = y * y
    total = 0.0
    for coefficient in G_COEFFICIENTS:
        total = coefficient + square * total
    return y * total
