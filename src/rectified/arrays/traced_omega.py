"""A warmup's omega as a function of step counts in arrays, which may be traced or compiled."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..theory.checks import check_beta2
from ..theory.rectification_term import limiting_variance
from ..warmup import Constant, Linear, Rectified, SecondMomentOnly, UntunedExponential, UntunedLinear, Warmup
from ..warmup.interface import as_warmup
from ..warmup.period import first_at
from .library import Arrays
from .rho_and_ratio import LIFTS, ema_ratio, exact_ratio, first_order_ratio, known, rate, rho, rho_inf

Omega = Callable[[Any], Any]  # of step counts from 1

# First steps of a rectification that are in a table: 16 KiB in float32.
_FIRST = 4096
# Those of a warmup of a user's, beyond which its last value holds: 256 KiB in float32, or up to 4 MiB if it is longer.
_SHORTEST, _LONGEST = 2**16, 2**20
_SETTLED = 42.0  # the -t log(beta2) from which beta2^t is less than round-off in float64


def omega_on(xp: Arrays, given: Any, beta2: Any, steps: int | None = None) -> Omega:
    """Make omega(t; beta2) a function of step counts in this library's arrays.

    Of a rectification the first 4,096 steps are in a table, computed by the warmup in double precision and rounded
    once, and the steps beyond it follow a formula without cancellation; with ``variance="ema"`` the table is up to
    twice as long. The other warmups of this package are formulas. One of a user's is a table.

    Args:
        xp: the array library.
        given: a warmup, or any object with ``omega(t, beta2)``.
        beta2: decay rate of the second moment. An array is for warmups that :func:`is_formula`.
        steps: the table's length for a warmup of a user's; beyond it the last value holds. ``None``: 65,536, or the
            double of that, and so on, until omega has settled; at most 1,048,576.

    Raises:
        TypeError: the warmup has no omega; it observes the run, which a function of t cannot; or beta2 is an array, and
            the warmup needs a number.
        ValueError: beta2 is outside [0, 1), the warmup never starts at it, a user's own omega is outside [0, 1], or
            `steps` is below 1.
    """
    found = as_warmup(given)
    if found.observes:
        raise TypeError(
            f"{given!r} observes {' and '.join(found.observes)} of a run, so that its omega is not a function of t "
            "and beta2: it works in rectified's optimizers for torch only. Use Linear or another formula"
        )
    number = known(beta2)
    if number is not None:
        check_beta2(number)
        found.check(number)
    if (formula := _FORMULAS.get(type(found))) is not None:
        return lambda t: formula(xp, found, beta2, t)
    if number is None:
        if is_formula(found):
            return lambda t: _rectified(xp, found, beta2, t)
        raise TypeError(f"beta2 is an array, and {given!r} is computed on the host from a number")
    if type(found) is not Rectified:
        if steps is not None and steps < 1:
            raise ValueError(f"steps is {steps!r}; the table needs at least 1")
        return _lookup(xp, _table(found, number, _length(found, number) if steps is None else steps))
    table = _rectified_table(found, number)
    first = _lookup(xp, table)
    if len(table) * rate(xp, number) >= _SETTLED:
        return first
    return lambda t: xp.where(t <= len(table), first(t), _rectified(xp, found, number, xp.maximum(t, len(table))))


def is_formula(warmup: Warmup) -> bool:
    """Whether omega can be computed from a beta2 whose value is not known."""
    return type(warmup) in _FORMULAS or (type(warmup) is Rectified and warmup.variance != "ema")


def first_steps(warmup: Warmup, beta2: float) -> int:
    """The number of first steps in which omega is 0.

    >>> from rectified.warmup import Rectified, Linear
    >>> first_steps(Rectified(), 0.999), first_steps(Linear(10), 0.999)
    (5, 0)
    """
    if type(warmup) in (Constant, Linear, UntunedLinear, UntunedExponential):
        return 0
    first = first_at(lambda t: float(warmup.omega(t, beta2) > 0), 1)
    return 0 if first is None else first - 1


def _length(warmup: Warmup, beta2: float) -> int:
    """The steps after which omega of a user's warmup has settled, as far as a table can hold them."""
    steps = _SHORTEST
    while steps < _LONGEST and abs(warmup.omega(2 * steps, beta2) - warmup.omega(steps, beta2)) > 1e-6:
        steps *= 2
    return steps


def _lookup(xp: Arrays, table: NDArray[np.float64]) -> Omega:
    """A function that reads a table of t = 1, 2, ..., whose last value holds beyond it."""
    return lambda t: xp.lookup(table, t - 1)


@lru_cache(maxsize=32)
def _rectified_table(warmup: Rectified, beta2: float) -> NDArray[np.float64]:
    """omega of the first steps, until it is settled at the longest."""
    settled = math.ceil(_SETTLED / -math.log(beta2))
    # The series of the EMA's variance is for a rho of at least 300, which a smaller rho_inf never reaches.
    needed = settled if warmup.variance == "ema" and rho_inf(beta2) < 350 else _FIRST
    return _table(warmup, beta2, min(settled, needed))


def _table(warmup: Warmup, beta2: float, steps: int) -> NDArray[np.float64]:
    table = np.array([warmup.omega(t, beta2) for t in range(1, steps + 1)], dtype=np.float64)
    wrong = np.flatnonzero(~((table >= 0) & (table <= 1)))
    if len(wrong):
        t = int(wrong[0]) + 1
        raise ValueError(f"{warmup!r} gave omega = {float(table[t - 1])!r} at t = {t}, which is not in [0, 1]")
    return table


def _rectified(xp: Arrays, warmup: Any, beta2: Any, t: Any) -> Any:
    """omega by formula, at any beta2 for which omega is ever positive."""
    length = rho(xp, t, beta2)
    end = 0 * length + rho_inf(beta2)
    over = length > warmup.rho_min
    safe = xp.where(over, length, xp.maximum(end, warmup.rho_min + 1))
    if warmup.variance == "ema":
        factor = ema_ratio(xp, t, beta2, limiting_variance(beta2, "ema"))
    elif warmup.variance == "exact":
        factor = exact_ratio(xp, safe, end, LIFTS if known(beta2) is None else 0)  # beyond a table rho is above 190
    else:
        factor = first_order_ratio(xp, safe, end)
    factor = xp.where(rate(xp, beta2) * xp.floats(t) < _SETTLED, xp.minimum(factor, 1), 0 * factor + 1)
    return xp.where(over, factor, 0 * factor)


def _constant(xp: Arrays, warmup: Any, beta2: Any, t: Any) -> Any:
    return 0 * xp.floats(t) + 1


def _linear(xp: Arrays, warmup: Any, beta2: Any, t: Any) -> Any:
    return xp.minimum(xp.floats(t) / warmup.steps, 1)


def _untuned_linear(xp: Arrays, warmup: Any, beta2: Any, t: Any) -> Any:
    return xp.minimum((1 - beta2) / 2 * xp.floats(t), 1)


def _untuned_exponential(xp: Arrays, warmup: Any, beta2: Any, t: Any) -> Any:
    return -xp.expm1(-(1 - beta2) * xp.floats(t))


def _second_moment_only(xp: Arrays, warmup: Any, beta2: Any, t: Any) -> Any:
    return xp.floats(t > warmup.steps)


_FORMULAS: dict[type, Callable[[Arrays, Any, Any, Any], Any]] = {
    Constant: _constant,
    Linear: _linear,
    UntunedLinear: _untuned_linear,
    UntunedExponential: _untuned_exponential,
    SecondMomentOnly: _second_moment_only,
}
