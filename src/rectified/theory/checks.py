"""What the arguments may be: everything else is a ValueError that names the value and the range."""

import math
from typing import Any


def check_beta2(beta2: Any) -> None:
    if not _lies(beta2, 0, 1) or beta2 == 1:
        raise ValueError(f"beta2 is {beta2!r}; it must be a number in [0, 1)")


def check_step(t: Any) -> None:
    if not _lies(t, 1, math.inf) or t == math.inf:
        raise ValueError(f"t is {t!r}; it must be a finite number, and steps are counted from 1")


def check_steps(t: Any) -> None:
    """For what is defined at whole steps only."""
    check_step(t)
    if t != int(t):
        raise ValueError(f"t is {t!r}; it must be a whole number of steps, from 1")


def check_rho(rho: Any) -> None:
    if not _lies(rho, 0, math.inf) or rho == 0:
        raise ValueError(f"rho is {rho!r}; it must be a positive number of degrees of freedom")


def _lies(value: Any, low: float, high: float) -> bool:
    try:
        return bool(low <= value <= high)
    except TypeError:
        return False
