"""How long a warmup is: its effective period, and the step at which omega reaches a level."""

import math
from collections.abc import Callable

from ..theory.checks import check_beta2
from .interface import Warmup, as_warmup


def steps_until(warmup: Warmup, beta2: float, level: float = 0.9, after: int = 0) -> int | None:
    """First step t > after at which omega >= level, for an omega that does not decrease; None if not within 1e12.

    >>> from rectified.warmup import Linear, Rectified
    >>> steps_until(Linear(1000), beta2=0.999), steps_until(Rectified(), beta2=0.999, level=1e-9)
    (900, 6)
    """
    return first_at(lambda t: warmup.omega(t, beta2), level, after)


def first_at(omega: Callable[[int], float], level: float, after: int = 0) -> int | None:
    """The first step t > after at which omega(t) >= level; None if not within 1e12."""
    low, high = after, after + 1
    while omega(high) < level:
        if high > 10**12:
            return None
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if omega(middle) < level:
            low = middle
        else:
            high = middle
    return high


def effective_period(warmup: Warmup, beta2: float) -> float:
    r"""The effective warmup period: the number of full steps that a warmup costs.

    .. math:: T(\omega) = \sum_{t=1}^\infty (1 - \omega_t)

    In closed form where the warmup has one (its ``period``); else summed, by extrapolation from every 64th, 32nd, ...
    step where omega is smooth.

    Args:
        warmup: any object with ``omega(t, beta2)``.
        beta2: decay rate of the second moment, in [0, 1).

    Returns:
        Steps; infinite where the sum diverges: omega does not reach 1, or approaches it as slowly as 1/t.

    Raises:
        TypeError: the warmup has no ``omega``.
        ValueError: beta2 is outside its range, also the one that the warmup itself allows.

    >>> from rectified.warmup import Linear, Rectified, SecondMomentOnly, UntunedExponential
    >>> effective_period(Linear(100), beta2=0.999), effective_period(SecondMomentOnly(2000), beta2=0.999)
    (49.5, 2000.0)
    >>> round(effective_period(UntunedExponential(), beta2=0.999)), round(effective_period(Rectified(), beta2=0.999))
    (1000, 1033)

    Reference: arXiv:1910.04209, section 5.
    """
    check_beta2(beta2)
    warmup = as_warmup(warmup)
    warmup.check(beta2)
    closed = warmup.period(beta2)
    if closed is not None:
        return float(closed)

    def missing(t: int) -> float:
        return 1.0 - warmup.omega(t, beta2)

    # Dyadic blocks: where the sum converges they end in a geometric series, or at 0.
    total, block = 0.0, math.inf
    for exponent in range(60):
        before, block = block, _sum(missing, 2**exponent, 2 ** (exponent + 1))
        total += block
        if exponent > 10 and block <= 1e-13 * total and missing(2 ** (exponent + 2)) <= 1e-13:
            return total
        if exponent > 50 and block > 0.99 * before:
            return math.inf
    ratio = block / before
    return total + block * ratio / (1 - ratio)


def _sum(f: Callable[[int], float], start: int, stop: int) -> float:
    """The sum of f over start <= t < stop, a power of two of steps, from few evaluations where f is smooth.

    Trapezoidal sums of stride s differ from the one of stride 1 by a polynomial in s^2 (Euler and Maclaurin), which
    Neville's scheme takes to s = 1. Where two extrapolations differ there is a kink: halve.
    """
    length = stop - start
    if length <= 128:
        return math.fsum(f(t) for t in range(start, stop))
    finest = length // 64
    values = [f(t) for t in range(start, stop + 1, finest)]
    squares, column = [], []
    for every in (64, 32, 16, 8, 4, 2, 1):
        stride = every * finest
        squares.append(stride * stride)
        column.append(stride * (math.fsum(values[::every]) - (values[0] + values[-1]) / 2))
    for gap in range(1, len(squares)):
        last = column[-1]
        column = [
            ((1 - squares[i]) * column[i + 1] - (1 - squares[i + gap]) * column[i]) / (squares[i + gap] - squares[i])
            for i in range(len(squares) - gap)
        ]
    if abs(column[0] - last) <= 1e-11 * abs(column[0]) + 1e-14 * length:
        return column[0] + (values[0] - values[-1]) / 2
    middle = start + length // 2
    return _sum(f, start, middle) + _sum(f, middle, stop)
