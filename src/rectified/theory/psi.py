"""The law of psi = sqrt(x), x ~ Scale-inv-chi2(rho, 1): Adam's adaptive learning rate 1/sqrt(v) at unit gradients.

That is, v is the mean of rho squared standard normals, and psi = 1/sqrt(v). For gradients of standard deviation sigma
divide means by sigma, variances by sigma^2.
"""

import math

from .checks import check_rho

# Euler numbers E_2, E_4, ..., E_20. The series below is asymptotic; from rho = 20 on, ten terms are exact to round-off.
EULER = (
    -1.0,
    5.0,
    -61.0,
    1385.0,
    -50521.0,
    2702765.0,
    -199360981.0,
    19391512145.0,
    -2404879675441.0,
    370371188237525.0,
)
_SERIES_FROM = 20.0


def mean(rho: float) -> float:
    r"""Mean of psi.

    .. math:: \mathrm{E}[\psi] = \sqrt{\frac{\rho}{2}} \frac{\Gamma((\rho - 1)/2)}{\Gamma(\rho/2)}

    Args:
        rho: degrees of freedom, above 0. Up to 1 the mean is infinite; at infinity it is 1.

    Raises:
        ValueError: rho is not a positive number.

    >>> round(mean(3.0), 6), mean(1.0)
    (1.381977, inf)

    Reference: arXiv:1908.03265, Eq. 2, whose second term is the square of this.
    """
    check_rho(rho)
    if rho <= 1:
        return math.inf
    if rho == math.inf:
        return 1.0
    steps, top = _lift(rho)
    y = 2 * top - 3
    value = math.sqrt(2 * top / y) * math.exp(_series(y) / 2)
    for k in range(steps - 1, -1, -1):
        low = rho + 2 * k
        value *= math.sqrt(low / (low + 2)) * low / (low - 1)
    return value


def variance(rho: float) -> float:
    r"""Variance of psi in closed form, stable at every rho.

    .. math:: \mathrm{Var}[\psi] = \frac{\rho}{\rho - 2}
        - \frac{\rho}{2} \left(\frac{\Gamma((\rho - 1)/2)}{\Gamma(\rho/2)}\right)^2

    The paper leaves this form for a first-order one because, as written, it cancels. It need not: with
    y = 2 rho - 3 and Euler's numbers E_k, the squared ratio is (4/y) e^S, S = sum over even k of E_k / (k y^k),
    so that for large rho

    .. math:: \mathrm{Var} = \frac{\rho}{y} \left(\frac{1}{\rho - 2} - 2 (e^S - 1)\right),

    a sum of positive terms, since S < 0; and Gamma's recurrence leads down from there, positive again:

    .. math:: \mathrm{Var}(\rho) = A + B\, \mathrm{Var}(\rho + 2), \qquad A = \frac{\rho}{(\rho - 2)(\rho - 1)^2},
        \quad B = \frac{\rho^3}{(\rho + 2)(\rho - 1)^2}.

    Args:
        rho: degrees of freedom, above 0. Up to 2 the variance is infinite; at infinity it is 0.

    Raises:
        ValueError: rho is not a positive number.

    >>> round(variance(rho=5.99417), 4), variance(2.0), variance(math.inf)
    (0.175, inf, 0.0)

    Reference: arXiv:1908.03265, Eq. 2.
    """
    check_rho(rho)
    if rho <= 2:
        return math.inf
    if rho == math.inf:
        return 0.0
    steps, top = _lift(rho)
    value = _variance_by_series(top)
    for k in range(steps - 1, -1, -1):
        low = rho + 2 * k
        value = _A(low) + _B(low) * value
    return value


def variance_slope(rho: float) -> float:
    r"""Derivative of :func:`variance` in rho: negative everywhere, which is the paper's theorem.

    .. math:: \frac{d\,\mathrm{Var}}{d\rho} = -\frac{2}{(\rho - 2)^2} - \frac{R^2}{2} \left(1
        + \rho\,\psi_0\Big(\frac{\rho - 1}{2}\Big) - \rho\,\psi_0\Big(\frac{\rho}{2}\Big)\right), \qquad
        R = \frac{\Gamma((\rho - 1)/2)}{\Gamma(\rho/2)}

    With a digamma psi_0 in float64 this has the wrong sign from about rho = 1e7 on. Here it is the derivative of the
    series and of the recurrence of :func:`variance`, in which every term is negative: that proves the theorem, for
    every rho > 2 (docs/mathematics.md).

    Args:
        rho: degrees of freedom, above 2. At infinity the slope is 0.

    Raises:
        ValueError: rho is not above 2; the variance is infinite there.

    >>> variance_slope(3.0) < 0, variance_slope(1e12) < 0
    (True, True)

    Reference: arXiv:1908.03265, Theorem 1 (Theorem 2 of the report).
    """
    check_rho(rho)
    if not rho > 2:
        raise ValueError(f"rho is {rho!r}; the variance is finite, and so has a slope, for rho above 2 only")
    if rho == math.inf:
        return 0.0
    steps, top = _lift(rho)
    y = 2 * top - 3
    s = _series(y)
    value = _variance_by_series(top)
    slope = -3 / (y * y) * (1 / (top - 2) - 2 * math.expm1(s))
    slope -= top / y * (1 / (top - 2) ** 2 + 2 * math.exp(s) * _series_slope(y))
    for k in range(steps - 1, -1, -1):
        low = rho + 2 * k
        slope_of_a = _A(low) * (1 / low - 1 / (low - 2) - 2 / (low - 1))
        slope_of_b = -6 * _B(low) / (low * (low + 2) * (low - 1))
        slope = slope_of_a + slope_of_b * value + _B(low) * slope
        value = _A(low) + _B(low) * value
    return slope


def variance_first_order(rho: float) -> float:
    r"""The paper's approximation to :func:`variance`, by the delta method.

    .. math:: \mathrm{Var}[\psi] \approx \frac{\rho}{2 (\rho - 2)(\rho - 4)}

    Args:
        rho: degrees of freedom, above 4; the approximation has no meaning below.

    Raises:
        ValueError: rho is not above 4.

    >>> round(variance_first_order(5.99417), 3)  # more than twice the exact 0.175
    0.376

    Reference: arXiv:1908.03265, section 4.2.
    """
    check_rho(rho)
    if not rho > 4:
        raise ValueError(f"rho is {rho!r}; the first-order variance exists for rho above 4 only")
    if rho == math.inf:
        return 0.0
    return rho / (2 * (rho - 2) * (rho - 4))


def truncated_variance(bound: float) -> float:
    r"""Variance of psi at the first step (rho = 1), had values above a bound counted as 0: it grows like the bound.

    .. math:: \mathrm{E}[\psi^2; \psi \le b] = \sqrt{\frac{2}{\pi}} \int_{1/b}^\infty g^{-2} e^{-g^2/2}\,dg
        = \sqrt{\frac{2}{\pi}}\, b\, e^{-1/(2 b^2)} - \mathrm{erfc}\frac{1}{\sqrt{2}\, b}, \qquad
        \mathrm{E}[\psi; \psi \le b] = \frac{1}{\sqrt{2 \pi}} E_1\Big(\frac{1}{2 b^2}\Big)

    So the variance of Adam's first adaptive learning rate, 1 / abs(g_1), is infinite: sqrt(2/pi) b - O(log(b)^2) has
    no limit.

    Args:
        bound: the largest psi that counts, at least 1.

    Raises:
        ValueError: bound is below 1 or infinite.

    >>> [round(truncated_variance(b) / (math.sqrt(2 / math.pi) * b), 2) for b in (1e2, 1e4, 1e6)]
    [0.81, 0.99, 1.0]

    Reference: arXiv:1908.03265, section 3.1 (Theorem 1 of the report).
    """
    if not 1 <= bound < math.inf:
        raise ValueError(f"bound is {bound!r}; it must be a number from 1 on")
    z = 1 / (2 * bound * bound)
    second = math.sqrt(2 / math.pi) * bound * math.exp(-z) - math.erfc(math.sqrt(z))
    first = _exponential_integral(z) / math.sqrt(2 * math.pi)
    return second - first * first


def _variance_by_series(rho: float) -> float:
    y = 2 * rho - 3
    return rho / y * (1 / (rho - 2) - 2 * math.expm1(_series(y)))


def _A(rho: float) -> float:  # noqa: N802
    return rho / ((rho - 2) * (rho - 1) ** 2)


def _B(rho: float) -> float:  # noqa: N802
    return rho**3 / ((rho + 2) * (rho - 1) ** 2)


def _lift(rho: float) -> tuple[int, float]:
    """The number of times to add 2 to rho to reach the range of the series, and the result."""
    steps = max(0, math.ceil((_SERIES_FROM - rho) / 2))
    return steps, rho + 2 * steps


def _series(y: float) -> float:
    """The series S = sum over even k of E_k / (k y^k)."""
    s = 0.0
    for k in range(len(EULER), 0, -1):
        s = (EULER[k - 1] / (2 * k) + s) / (y * y)
    return s


def _series_slope(y: float) -> float:
    """The derivative dS/drho = -2 sum over even k of E_k / y^(k + 1)."""
    s = 0.0
    for euler in reversed(EULER):
        s = (euler + s) / (y * y)
    return -2 * s / y


def _exponential_integral(z: float) -> float:
    """The exponential integral E_1(z) for 0 < z <= 1/2, by its power series."""
    total, term = -0.5772156649015329 - math.log(z), 1.0
    for k in range(1, 20):
        term *= -z / k
        total -= term / k
    return total
