"""The theory's formulas on arrays: functions of a step count, or of rho, without cancellation in float32.

A decay rate may be a number, whose constants are computed in double precision on the host, or an array.
"""

import math
from numbers import Real
from typing import Any

from ..theory.checks import check_beta2
from ..theory.ema import SERIES_FACTORS, series_in
from ..theory.psi import EULER
from ..theory.sma import G_COEFFICIENTS
from .library import Arrays

_LARGE = 80.0  # e^80 is finite in float32, so that derivatives are too
LIFTS = 9  # from 2 to 20, where the series of the variance is exact to round-off, in steps of 2


def known(beta: Any) -> float | None:
    """The value of a decay rate that is a number; None for an array, whose value may not be known yet."""
    return float(beta) if isinstance(beta, Real) else None


def rho(xp: Arrays, t: Any, beta2: Any) -> Any:
    """rho_t as in :func:`rectified.theory.rho`, with the error that the library's round-off allows.

    Args:
        xp: the array library.
        t: step counts from 1, of any shape.
        beta2: decay rate of the second moment, in [0, 1).

    Raises:
        ValueError: beta2 is a number outside [0, 1).
    """
    t = xp.floats(t)
    if (number := known(beta2)) is not None:
        check_beta2(number)
        if number == 0:
            return 0 * t + 1
    h = rate(xp, beta2)
    x = h * t
    # rho_inf - 2t/(e^x - 1), whose terms are both near 2/h while x is small. Their difference is then taken term by
    # term: 2t/(e^x - 1) = 2/h - t + 2t g(x)/x, and rho_inf = 2/h + 2 g(h)/h.
    early = t * (1 - 2 * _g_over(x)) + 2 * _g_over(h)
    late = rho_inf(beta2) - 2 * t / xp.expm1(xp.minimum(x, _LARGE))
    return xp.where(x < 1, early, late)


def rho_inf(beta2: Any) -> Any:
    """The largest rho: a number for a number, an array for an array."""
    return (1 + beta2) / (1 - beta2)


def rate(xp: Arrays, beta: Any) -> Any:
    """-log(beta): a number for a number; for an array from 1 - beta, which is exact from 1/2 on."""
    if (number := known(beta)) is not None:
        return -math.log(number) if number > 0 else math.inf
    return -xp.log1p(beta - 1)


def correction(xp: Arrays, beta: Any, t: Any) -> Any:
    """The bias correction 1 - beta^t, without cancellation."""
    return -xp.expm1(-rate(xp, beta) * xp.floats(t))


def first_order_ratio(xp: Arrays, rho: Any, end: Any) -> Any:
    """r_t by the first-order variance for a rho above 4, `end` being rho_inf."""
    return xp.sqrt((rho - 4) / (end - 4) * ((rho - 2) / (end - 2)) * (end / rho))


def exact_ratio(xp: Arrays, rho: Any, end: Any, lifts: int = LIFTS) -> Any:
    """r_t by the closed form of the variance for a rho above 2, `end` being rho_inf; from 20 on without lifts."""
    return xp.sqrt(variance(xp, end, lifts) / variance(xp, rho, lifts))


def variance(xp: Arrays, rho: Any, lifts: int = LIFTS) -> Any:
    """Var[psi] in closed form for a rho above 2, see :func:`rectified.theory.variance`: a sum of positive terms."""
    top = rho + 2 * lifts
    y = 2 * top - 3
    s = 0 * y
    for k in range(len(EULER), 0, -1):
        s = (EULER[k - 1] / (2 * k) + s) / (y * y)
    value = top / y * (1 / (top - 2) - 2 * xp.expm1(s))
    for k in range(lifts - 1, -1, -1):
        low = rho + 2 * k
        square = (low - 1) * (low - 1)
        value = low / ((low - 2) * square) + low / (low + 2) * (low * low / square) * value
    return value


def ema_ratio(xp: Arrays, t: Any, beta2: float, limit: float) -> Any:
    """r_t by the EMA's own variance for a rho_t from 300 on, `limit` being the variance for large t."""
    h = rate(xp, beta2)
    x = h * xp.floats(t)
    last = math.expm1(-h) / xp.expm1(-x)  # w_t
    a = [f * last**k * xp.expm1(-k * x) / math.expm1(-k * h) if f else 0.0 for k, f in enumerate(SERIES_FACTORS)]
    return xp.sqrt(limit / series_in(a))


def _g_over(y: Any) -> Any:
    """g(y)/y for g(y) = y/(e^y - 1) - 1 + y/2, by its series: y below 1."""
    square = y * y
    total = 0.0
    for coefficient in G_COEFFICIENTS:
        total = coefficient + square * total
    return y * total
