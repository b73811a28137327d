"""The variance of psi under the EMA's own law: a weighted sum of chi-squares, nothing fitted.

After t steps v_hat = sum w_i g_i^2 with w_i proportional to beta2^(t-i), so for g ~ N(0, 1) everything follows from

    M(u) = E exp(-u v_hat) = prod (1 + 2 w_i u)^(-1/2),
    E psi^2 = int_0^inf M(u) du,    E psi = pi^(-1/2) int_0^inf u^(-1/2) M(u) du.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import combinations_with_replacement, count, product
from typing import Any

from .checks import check_beta2, check_steps
from .sma import rho, rho_inf

# From this rho on, the cumulant series to order _ORDER and the integral agree to 1e-11, and the series costs less.
_SERIES_FROM = 300.0
_ORDER = 7
_STEP = 0.125  # of the trapezoidal rule in z, u = scale * exp(z - exp(-z)); it converges exponentially


def variance_ema(t: float, beta2: float) -> float:
    r"""Variance of psi = 1/sqrt(v_hat) after t steps at gradients ~ N(0, 1), v_hat being Adam's own average.

    .. math:: \mathrm{Var}[\psi] = \int_0^\infty M(u)\,du
        - \frac{1}{\pi} \left(\int_0^\infty u^{-1/2} M(u)\,du\right)^2, \qquad
        M(u) = \prod_{i=1}^t (1 + 2 w_i u)^{-1/2}, \quad
        w_i = \frac{(1 - \beta_2) \beta_2^{t-i}}{1 - \beta_2^t}

    The reference for :func:`variance` at rho_t, which is exact for the chi-square law fitted to this average, and for
    :func:`variance_first_order`. The relative error is below 1e-10 for beta2 in [0.1, 1 - 1e-9]. The first call for a
    beta2 makes a table (0.02 s at 0.999, 0.2 s at 0.99); later calls take microseconds.

    Args:
        t: number of steps, whole, from 1; infinity gives the limit.
        beta2: decay rate of the second moment, in [0, 1).

    Returns:
        The variance; infinite for t <= 2 (and always at beta2 = 0), where the second moment of psi diverges.

    Raises:
        ValueError: t or beta2 is outside its range.

    >>> [round(variance_ema(t, 0.999), 4) for t in (2, 3, 6)]
    [inf, 1.0901, 0.1746]

    Reference: docs/mathematics.md, "The exponential average's own variance".
    """
    check_beta2(beta2)
    if t != math.inf:
        check_steps(t)
    if t <= 2 or beta2 == 0:
        return math.inf
    table = _table(beta2)
    if t < 3 + len(table):
        return table[int(t) - 3]
    if rho_inf(beta2) < _SERIES_FROM:
        return table[-1]
    return _by_series(t, beta2)


@lru_cache
def _table(beta2: float) -> tuple[float, ...]:
    """The variance from t = 3 to the step where the series takes over, or where it has converged."""
    last = _settled(beta2)
    values: list[float] = []
    for t, value in zip(count(1), _by_integral(beta2), strict=False):
        if t > 3 and (t > last or rho(t, beta2) >= _SERIES_FROM):
            break
        if t >= 3:
            # It decreases; what would rise here is the last digits of two integrals nearly equal.
            values.append(min(value, values[-1]) if values else value)
    return tuple(values)


def _by_integral(beta2: float) -> Iterator[float]:
    """The variance at t = 1, 2, 3, ...: one more factor of M per step, on fixed nodes; valid from t = 3 on."""
    h = -math.log(beta2)
    # Unnormalized weights beta2^j keep the nodes: u = (sum of weights) * u'. M falls at u' of 1 - beta2 or more.
    scale = 0.1 * (1 - beta2)
    zs = [_STEP * k for k in range(int(-4.5 / _STEP), int((85 - math.log(scale)) / _STEP))]
    nodes = [scale * math.exp(z - math.exp(-z)) for z in zs]
    weights = [_STEP * (1 + math.exp(-z)) * u for z, u in zip(zs, nodes, strict=True)]
    roots = [w / math.sqrt(u) for w, u in zip(weights, nodes, strict=True)]
    products = [1.0] * len(nodes)
    for j in count():
        twice = 2 * math.exp(-h * j)
        products = [p * (1 + twice * u) for p, u in zip(products, nodes, strict=True)]
        values = [1 / math.sqrt(p) for p in products]
        total = math.expm1(-h * (j + 1)) / math.expm1(-h)
        squares = [w * m for w, m in zip(weights, values, strict=True)]
        second = math.fsum(squares)
        first = math.fsum(w * m for w, m in zip(roots, values, strict=True))
        yield total * (second - first * first / math.pi)
        if j >= 2:
            while squares[-1] < 1e-24 * second:  # M falls faster from step to step: the far nodes have done their part
                for column in (squares, nodes, weights, roots, products):
                    column.pop()


def _settled(beta2: float) -> float:
    """The step from which beta2^t is below 1e-18, so that the EMA no longer depends on its start."""
    return -42 / math.log(beta2)


def _by_series(t: float, beta2: float) -> float:
    """The cumulant expansion in 1/rho, from the power sums p_k = sum w_i^k = O(rho^(1-k))."""
    h = -math.log(beta2)
    expm1 = math.expm1
    # t = inf is computed as a step so late that nothing changes any more
    x = h * min(t, _settled(beta2))
    last = expm1(-h) / expm1(-x)  # w_t
    variance: float = series_in(
        [f * last**k * expm1(-k * x) / expm1(-k * h) if f else 0.0 for k, f in enumerate(SERIES_FACTORS)]
    )
    return variance


# f_k such that log M(u) = -u + sum over k >= 2 of a_k u^k, where a_k = f_k w_t^k expm1(-k h t) / expm1(-k h).
SERIES_FACTORS = (0.0, 0.0, *(-((-2) ** (k - 1)) / k for k in range(2, _ORDER + 2)))


def series_in(a: Sequence[Any]) -> Any:
    """The variance of psi from the coefficients a_k of log M, which may be numbers or arrays."""
    a2, total = a[2], 0.0
    for others, coefficients in _expansion():
        value = 0.0
        for coefficient in coefficients:
            value = value * a2 + coefficient
        for k in others:
            value *= a[k]
        total += value
    return total


@lru_cache
def _expansion() -> list[tuple[tuple[int, ...], list[float]]]:
    """E psi^2 - (E psi)^2 as a sum of polynomials in a_2, highest power first, times products of the other a_k.

    M is e^-u times the exponential of a polynomial, so each moment is a sum over products of a_k with a factor
    int u^n e^-u du = n! or pi^(-1/2) int u^(n - 1/2) e^-u du = (1/2)(3/2)...(n - 1/2); the leading one is 1. A product
    such as a_2 a_2 a_3 is of order 1 + 1 + 2.
    """
    from fractions import Fraction  # with decimal a seventh of the time that importing rectified takes

    ks = range(2, _ORDER + 2)
    products = [term for length in range(_ORDER + 1) for term in combinations_with_replacement(ks, length)]
    products = [term for term in products if sum(term) - len(term) <= _ORDER]
    first, second = {}, {}
    for term in products:
        n = sum(term)
        symmetry = math.prod(math.factorial(c) for c in Counter(term).values())
        first[term] = math.prod((Fraction(2 * i - 1, 2) for i in range(1, n + 1)), start=Fraction(1)) / symmetry
        second[term] = Fraction(math.factorial(n), symmetry)
    for (left, a), (right, b) in product(first.items(), repeat=2):
        both = tuple(sorted(left + right))
        if both in second:
            second[both] -= a * b
    polynomials: dict[tuple[int, ...], dict[int, float]] = {}
    for term, coefficient in second.items():
        power = term.count(2)
        polynomials.setdefault(term[power:], {})[power] = float(coefficient)
    return [(others, [by[power] for power in range(max(by), -1, -1)]) for others, by in polynomials.items()]
