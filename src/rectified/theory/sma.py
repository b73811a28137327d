"""The effective number of samples in v_t: the length rho of the SMA that approximates Adam's EMA."""

import math
from functools import lru_cache

from .checks import check_beta2, check_step, check_steps

# B_2k / (2k)!, the coefficients of g(y) = y/(e^y - 1) - 1 + y/2, highest first. Eleven terms leave less than 2e-17 for
# y < 1.
G_COEFFICIENTS = (
    77683 / 14101100039391805440000,
    -174611 / 802857662698291200000,
    43867 / 5109094217170944000,
    -3617 / 10670622842880000,
    1 / 74724249600,
    -691 / 1307674368000,
    1 / 47900160,
    -1 / 1209600,
    1 / 30240,
    -1 / 720,
    1 / 12,
)


def rho_inf(beta2: float) -> float:
    r"""Largest length of the approximated simple moving average (SMA), reached as t grows.

    .. math:: \rho_\infty = \frac{2}{1 - \beta_2} - 1

    Args:
        beta2: decay rate of the second moment, in [0, 1).

    Raises:
        ValueError: beta2 is outside [0, 1).

    >>> round(rho_inf(0.999), 9)
    1999.0

    Reference: arXiv:1908.03265, section 4.1.
    """
    check_beta2(beta2)
    return (1 + beta2) / (1 - beta2)  # the same, without cancellation for small beta2


def rho(t: float, beta2: float) -> float:
    r"""Length of the simple moving average (SMA) with the same center of mass as the EMA after t steps.

    .. math:: \rho_t = \rho_\infty - \frac{2 t \beta_2^t}{1 - \beta_2^t}

    The textbook form cancels: at beta2 = 0.99999 and t = 2 it keeps eight digits of sixteen. Here the relative error
    stays below 1e-15 for beta2 from 0.1 to 1 - 1e-9 and t up to 1e12, and rho decreases in t by no more than that.

    Args:
        t: step count, from 1.
        beta2: decay rate of the second moment, in [0, 1).

    Raises:
        ValueError: t is below 1, or beta2 outside [0, 1).

    >>> [round(rho(t, 0.999), 4) for t in (1, 4, 5, 6)]
    [1.0, 3.9975, 4.996, 5.9942]

    Reference: arXiv:1908.03265, section 4.1 and Algorithm 2.
    """
    try:
        usual = 1 <= t < math.inf and 0 < beta2 < 1
    except TypeError:
        usual = False
    if not usual:  # asked for at every step of a rectified optimizer, so that the checks are not calls
        check_step(t)
        check_beta2(beta2)
        return 1.0  # beta2 is 0
    h, g_h = _rate(beta2)
    x = h * t
    if x < 1:
        # Both ends of rho_inf - 2t/(e^x - 1) are near 2/h here, so their difference is taken term by term.
        return t + 2 / h * (g_h - _g(x))
    tail = 2 * t / math.expm1(x) if x < 700 else 0.0
    return rho_inf(beta2) - tail


def center_of_mass(t: int, beta2: float) -> float:
    r"""Weighted mean of the step numbers 1 ... t under the EMA's weights: what rho_t is made to match.

    .. math:: \frac{(1 - \beta_2) \sum_{i=1}^t \beta_2^{t-i}\, i}{1 - \beta_2^t}
        = \frac{\sum_{i=1}^{f} (t + 1 - i)}{f} = t - \frac{f - 1}{2} \quad\text{for}\quad f = \rho_t

    Summed as it stands, in O(t), and so a check on :func:`rho`. The arXiv version of the paper prints (t + 1 - i) in
    place of i in the first sum too; rho_t does not solve that equation, and the OpenReview version has i.

    Args:
        t: number of steps, whole, from 1.
        beta2: decay rate of the second moment, in [0, 1).

    Raises:
        ValueError: t or beta2 is outside its range.

    >>> center_of_mass(2, 0.5)  # weights 1/3 and 2/3
    1.6666666666666667

    Reference: arXiv:1908.03265, Eq. 4.
    """
    check_steps(t)
    check_beta2(beta2)
    weights = [beta2 ** (t - i) for i in range(1, t + 1)]
    return math.fsum(i * w for i, w in enumerate(weights, 1)) / math.fsum(weights)


def sma_length(t: float, center: float) -> float:
    r"""Length f of the simple moving average of the last steps up to t whose center of mass lies at `center`.

    .. math:: \frac{1}{f} \sum_{i=1}^{f} (t + 1 - i) = t - \frac{f - 1}{2}
        \quad\Longrightarrow\quad f = 2 (t - \text{center}) + 1

    Args:
        t: step count, from 1.
        center: a center of mass, in steps, at most t and, for there to be so many steps, at least (t + 1)/2.

    Raises:
        ValueError: t is below 1, or center outside its range.

    >>> sma_length(100, center_of_mass(100, 0.999)) - rho(100, 0.999) < 1e-9
    True

    Reference: arXiv:1908.03265, Eq. 4.
    """
    check_step(t)
    if not (t + 1) / 2 <= center <= t:
        raise ValueError(f"center is {center!r}; at step {t} it must lie in [{(t + 1) / 2:g}, {t:g}]")
    return 2 * (t - center) + 1


@lru_cache
def _rate(beta2: float) -> tuple[float, float]:
    h = -math.log(beta2)
    return h, _g(h)


def _g(y: float) -> float:
    square = y * y
    total = 0.0
    for coefficient in G_COEFFICIENTS:
        total = coefficient + square * total
    return square * total
