"""Numbers and names formatted for people: used by the verdict, the report and exports."""

import math
from collections.abc import Sequence


def number(value: float, digits: int = 2, sign: str = "") -> str:
    """Format a number for a reader; in scientific notation if fixed digits would hide it or make it long.

    >>> number(81.4), number(0.57289, 4), number(123456.7), number(0.00001234, 4), number(-2.5), number(float("nan"))
    ('81.40', '0.5729', '1.2e5', '1.2e-5', '−2.50', '–')
    >>> number(0.5, sign="+"), number(0.0, sign="+")
    ('+0.50', '+0.00')
    """
    if not math.isfinite(value):
        return "–"
    text = f"{value:{sign}.{digits}f}"
    if abs(value) >= 1e5 or (value and not float(text)):
        mantissa, exponent = f"{value:{sign}.1e}".split("e")
        text = f"{mantissa}e{int(exponent)}"
    return text.replace("-", "−") if text.startswith("-") else text


def listing(names: Sequence[str], last: str = "and") -> str:
    """Join names in a sentence: commas, and a word before the last.

    >>> listing(["adam"]), listing(["adam", "radam", "sgd"]), listing(["0.1", "1"], "or")
    ('adam', 'adam, radam and sgd', '0.1 or 1')
    """
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + f" {last} " + names[-1]


def some(names: Sequence[str], last: str = "and", most: int = 8) -> str:
    """Join names in a sentence, with a count in place of the last ones if there are many.

    >>> some(["adam", "radam", "sgd"]), some(["adam", "radam", "sgd", "lamb"], "or", most=3)
    ('adam, radam and sgd', 'adam, radam or 2 others')
    """
    return listing(names if len(names) <= most else [*names[: most - 1], f"{len(names) - most + 1} others"], last)


def count(n: int, noun: str) -> str:
    """A number with its noun, in the plural unless it is 1.

    >>> count(1, "seed"), count(1200, "run"), count(0, "run")
    ('1 seed', '1,200 runs', '0 runs')
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
