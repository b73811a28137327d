"""Checks of arguments, which raise a ValueError with the value and its range."""

import math
from typing import Any

import keras


def check_learning_rate(learning_rate: Any, otherwise: str) -> Any:
    """Return a schedule, function or configuration unchanged, and a number of any type as a float.

    Args:
        otherwise: what else it may be, for the error.

    Raises:
        ValueError: it is none of these, or negative.
    """
    if isinstance(learning_rate, dict) or callable(learning_rate):
        return learning_rate
    check_number("learning_rate", learning_rate, f"a number, 0 or more, {otherwise}")
    return float(learning_rate)


def check_number(name: str, value: Any, range_in_words: str, below: float = math.inf) -> None:
    """Raise ValueError for a value that is not a number in [0, below).

    A Variable is none, because a step that is compiled would keep its first value.
    """
    try:
        if not isinstance(value, keras.Variable) and 0 <= value < below:
            return
    except (TypeError, ValueError, RuntimeError):  # no number, or several
        pass
    raise ValueError(f"{name} is {value!r}; it must be {range_in_words}")
