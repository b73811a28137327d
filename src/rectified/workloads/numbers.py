"""Parsing numbers that a user writes: in a flag, a column, a file or Python."""

import math
import re
from typing import Any

from ..messages import shown

LARGEST = 1e100
"""No number of a study is larger in size: of larger ones, sums, squares and ratios would not be finite."""

_WHOLE = re.compile(r"[+-]?[0-9]{1,100}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?(inf|infinity|nan)", re.IGNORECASE)


def number(text: str) -> float:
    """Parse a number: ASCII digits, a point, an exponent; or inf or nan.

    Raises:
        ValueError: it is something else, including what only Python's ``float`` accepts, such as 1_000.

    >>> number(" 1e-3"), number("-inf")
    (0.001, -inf)
    """
    if not _NUMBER.fullmatch(text.strip()):
        raise ValueError(f"{shown(text)} is not a number")
    return float(text)


def whole_number(text: str) -> int:
    """Parse a whole number, without a point or an exponent.

    Raises:
        ValueError: it is something else, or has more than 100 digits.

    >>> whole_number("-7")
    -7
    """
    if not _WHOLE.fullmatch(text.strip()):
        raise ValueError(f"{shown(text)} is not a whole number")
    return int(text)


def learning_rate(value: Any) -> float:
    """Check a value that is used as a learning rate, and convert it to float.

    Raises:
        ValueError: it is not a number, or not between 1e-100 and 1e100.

    >>> learning_rate(1)
    1.0
    """
    if isinstance(value, bool | str | bytes):
        raise ValueError("it must be a number")
    try:
        lr = float(value)
    except OverflowError:
        lr = math.inf
    except Exception:  # float() of an arbitrary object may raise anything
        raise ValueError("it must be a number") from None
    if not lr > 0:
        raise ValueError("a learning rate must be a positive number")
    if not 1 / LARGEST <= lr <= LARGEST:
        raise ValueError(f"a learning rate must be a positive number, from {1 / LARGEST:g} to {LARGEST:g}")
    return lr


def is_finite(value: float) -> bool:
    """Whether a number is at most 1e100 in magnitude, so that its squares and their sums are finite.

    >>> is_finite(-1e100), is_finite(1e101), is_finite(float("nan")), is_finite(10**400)
    (True, False, False, False)
    """
    return abs(value) <= LARGEST
