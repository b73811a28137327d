"""The rectification term r_t: the factor that gives psi the same variance at every step."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

from . import psi
from .ema import variance_ema
from .sma import rho, rho_inf

Variance = Literal["first-order", "exact", "ema"]

# variance -> the rho_t above which it is finite. "ema" asks for t >= 3 instead, which for beta2 above 0.45 is the same.
VARIANCES: dict[str, float] = {"first-order": 4.0, "exact": 2.0, "ema": 2.0}


def rectification(t: float, beta2: float, variance: Variance = "first-order") -> float:
    r"""Factor r_t that brings the variance of psi at step t down to its limit for large t.

    .. math:: r_t = \sqrt{\mathrm{Var}[\psi]|_{\rho_\infty} / \mathrm{Var}[\psi]|_{\rho_t}}

    With the first-order variance this is the paper's
    sqrt((rho_t - 4)(rho_t - 2) rho_inf / ((rho_inf - 4)(rho_inf - 2) rho_t)).

    Args:
        t: step count, from 1.
        beta2: decay rate of the second moment, in [0, 1), such that the variance is finite for large t:
            above 0.6 for ``"first-order"``, above 1/3 for the others.
        variance: ``"first-order"``, the paper's approximation; ``"exact"``, the closed form, exact for the chi-square
            law that the paper fits to the EMA; ``"ema"``, the EMA's own variance (:func:`variance_ema`), for whole t.

    Returns:
        r_t in [0, 1]; 0.0 while the variance is infinite: for rho_t <= 4, or 2 for ``"exact"`` and ``"ema"``.

    Raises:
        ValueError: t or beta2 is outside its range, or variance is unknown.

    >>> [round(rectification(t, 0.999), 4) for t in (4, 5, 6, 1000)]
    [0.0, 0.0173, 0.0258, 0.6453]
    >>> [round(rectification(t, 0.999, variance="exact"), 4) for t in (2, 3, 5, 1000)]
    [0.0, 0.0151, 0.0315, 0.6458]
    >>> [round(rectification(t, 0.999, variance="ema"), 4) for t in (2, 3, 5, 1000)]
    [0.0, 0.0152, 0.0315, 0.679]

    Reference: arXiv:1908.03265, section 4.2 and Algorithm 2.
    """
    limiting_variance(beta2, variance)  # refuses a variance or a beta2 at any t
    return rectification_at(rho(t, beta2), t, beta2, variance)


def rectification_at(length: float, t: float, beta2: float, variance: Variance) -> float:
    """The rectification term for a known rho_t, `length`, and arguments that were checked."""
    if length <= VARIANCES[variance]:
        return 0.0
    here = variance_ema(t, beta2) if variance == "ema" else _OF_RHO[variance](length)
    return min(1.0, math.sqrt(limiting_variance(beta2, variance) / here))


_OF_RHO: dict[str, Callable[[float], float]] = {"first-order": psi.variance_first_order, "exact": psi.variance}


@lru_cache
def limiting_variance(beta2: float, variance: Variance = "first-order") -> float:
    r"""Variance of psi for large t: what :func:`rectification` brings every step's down to.

    .. math:: C_\mathrm{var} = \mathrm{Var}[\psi]|_{\rho_\infty}

    Args:
        beta2: decay rate of the second moment, as in :func:`rectification`.
        variance: which one, as in :func:`rectification`.

    Raises:
        ValueError: beta2 is outside its range, at which it would be infinite, or variance is unknown.

    >>> limiting_variance(0.999) == psi.variance_first_order(rho_inf(0.999))
    True

    Reference: arXiv:1908.03265, section 4.2.
    """
    if variance not in VARIANCES:
        raise ValueError(f"variance is {variance!r}; it must be one of {', '.join(map(repr, VARIANCES))}")
    least = VARIANCES[variance]
    end = rho_inf(beta2)
    if end <= least:
        raise ValueError(
            f"beta2 is {beta2!r}, at which rho never exceeds {end:.4g}: {variance!r} needs more than {least:g}, "
            f"that is, a beta2 above {(least - 1) / (least + 1):.4g}"
        )
    return variance_ema(math.inf, beta2) if variance == "ema" else _OF_RHO[variance](end)
