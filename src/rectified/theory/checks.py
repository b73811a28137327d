"""Checks of arguments, which raise a ValueError with the value and its range.

Rectification calls them at every step, so each check is one call.
"""

import math
from typing import Any


def check_beta2(beta2: Any) -> None:
    try:
        if 0 <= beta2 < 1:
            return
    except TypeError:
        pass
    raise ValueError(f"beta2 is {beta2!r}; it must be a number in [0, 1)")


def check_step(t: Any) -> None:
    try:
        if 1 <= t < math.inf:
            return
    except TypeError:
        pass
    raise ValueError(f"t is {t!r}; it must be a finite number, and steps are counted from 1")


def check_steps(t: Any) -> None:
    """Check a whole number of steps."""
    check_step(t)
    if t != int(t):
        raise ValueError(f"t is {t!r}; it must be a whole number of steps, from 1")


def check_rho(rho: Any) -> None:
    try:
        if 0 < rho <= math.inf:
            return
    except TypeError:
        pass
    raise ValueError(f"rho is {rho!r}; it must be a positive number of degrees of freedom")
