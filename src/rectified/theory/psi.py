"""The law of psi = 1/sqrt(x), x ~ Scale-inv-chi2(rho, 1): Adam's adaptive learning rate at unit gradients."""

import math

# Euler numbers E_2, E_4, ..., E_20. The series below is asymptotic; from rho = 20 on, ten terms are exact to round-off.
_EULER = (
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


def variance(rho: float) -> float:
    r"""Variance of psi in closed form, stable at every rho (sigma = 1; divide by sigma^2 otherwise).

    .. math:: \mathrm{Var}[\psi] = \frac{\rho}{\rho - 2}
        - \frac{\rho}{2} \left(\frac{\Gamma((\rho - 1)/2)}{\Gamma(\rho/2)}\right)^2

    The paper leaves this form for a first-order one because, as written, it cancels. It need not: with
    y = 2 rho - 3 and Euler's numbers E_k, the squared ratio is (4/y) e^S, S = sum over even k of E_k / (k y^k),
    so that for large rho

    .. math:: \mathrm{Var} = \frac{\rho}{y} \left(\frac{1}{\rho - 2} - 2 (e^S - 1)\right),

    a sum of positive terms, since S < 0; and Gamma's recurrence leads down from there, positive again:

    .. math:: \mathrm{Var}(\rho) = \frac{\rho}{(\rho - 2)(\rho - 1)^2}
        + \frac{\rho^3}{(\rho + 2)(\rho - 1)^2} \mathrm{Var}(\rho + 2).

    Args:
        rho: degrees of freedom, above 0. Up to 2 the variance is infinite; at infinity it is 0.

    Raises:
        ValueError: rho is not a positive number.

    >>> round(variance(rho=5.99417), 4), variance(2.0), variance(math.inf)
    (0.175, inf, 0.0)

    Reference: arXiv:1908.03265, Eq. 2.
    """
    if not rho > 0:
        raise ValueError(f"rho is {rho!r}; it must be a positive number of degrees of freedom")
    if rho <= 2:
        return math.inf
    if rho == math.inf:
        return 0.0
    steps = max(0, math.ceil((_SERIES_FROM - rho) / 2))
    top = rho + 2 * steps
    y = 2 * top - 3
    s = 0.0
    for k in range(len(_EULER), 0, -1):
        s = (_EULER[k - 1] / (2 * k) + s) / (y * y)
    value = top / y * (1 / (top - 2) - 2 * math.expm1(s))
    for k in range(steps - 1, -1, -1):
        low = rho + 2 * k
        shared = low / (low - 1) ** 2
        value = shared / (low - 2) + shared * low * low / (low + 2) * value
    return value


def variance_first_order(rho: float) -> float:
    r"""The paper's approximation to :func:`variance`, by the delta method (sigma = 1).

    .. math:: \mathrm{Var}[\psi] \approx \frac{\rho}{2 (\rho - 2)(\rho - 4)}

    Args:
        rho: degrees of freedom, above 4; the approximation has no meaning below.

    Raises:
        ValueError: rho is not above 4.

    >>> round(variance_first_order(5.99417), 3)  # more than twice the exact 0.175
    0.376

    Reference: arXiv:1908.03265, section 4.2.
    """
    if not rho > 4:
        raise ValueError(f"rho is {rho!r}; the first-order variance exists for rho above 4 only")
    if rho == math.inf:
        return 0.0
    return rho / (2 * (rho - 2) * (rho - 4))
