"""A warmup's factor omega as a function that jax can trace."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from numpy.typing import NDArray

from ..theory.checks import check_beta2
from ..theory.rectification_term import limiting_variance
from ..warmup import Constant, Linear, Rectified, SecondMomentOnly, UntunedExponential, UntunedLinear, Warmup
from ..warmup.interface import as_warmup
from .mathematics import LIFTS, ema_ratio, exact_ratio, first_order_ratio, known, rate, rho, rho_inf

Omega = Callable[[ArrayLike], Array]  # of step counts from 1

# First steps of a rectification that are in a table: 16 KiB in float32.
_FIRST = 4096
# Those of a warmup of a user's, beyond which its last value holds: 256 KiB.
_STEPS = 65_536
_SETTLED = 42.0  # the -t log(beta2) from which beta2^t is less than round-off in float64


def omega(warmup: Any, beta2: ArrayLike, *, steps: int = _STEPS) -> Omega:
    r"""Make omega(t; beta2) a function of the step count that works under ``jit``, ``vmap`` and in loops.

    .. math:: t \mapsto \omega(t; \beta_2)

    The result has jax's default float dtype. In float32 it is within 5e-7 of the warmup's own omega, relative, for
    beta2 up to 0.99999 and t up to 1e7; under x64 within 2e-15.

    - ``Rectified``: a table of the first 4,096 steps, computed by the warmup in double precision and rounded once. It
      takes 16 KiB, or 32 under x64; with ``variance="ema"`` up to twice that. Beyond it a formula without
      cancellation, or 1 where the warmup is over.
    - The other warmups of this package: a formula, and no table.
    - A warmup of your own: a table of `steps` values, 256 KiB by default, computed once by calling its ``omega``.
      Beyond it the last value holds. It has to be a function of t and beta2 alone.

    Args:
        warmup: one of :mod:`rectified.warmup`, or any object with ``omega(t, beta2)``.
        beta2: decay rate of the second moment. If it is an array, which jax may be tracing, there is no table: a
            formula gives omega at the array's own rounding of beta2, which in float32 is off by 7e-6 at 0.999 and by
            7e-4 at 0.99999. A warmup of your own and ``variance="ema"`` need a number.
        steps: the table's length for a warmup of your own.

    Returns:
        A function of step counts t = 1, 2, ..., of any shape.

    Raises:
        TypeError: the warmup has no omega; it observes the run (``GuardedLinear``), which a function of t cannot; or it
            needs a beta2 that is a number.
        ValueError: beta2 is outside [0, 1), the warmup never starts at it, your own omega is outside [0, 1], or `steps`
            is below 1.

    >>> import jax
    >>> from rectified.warmup import Rectified
    >>> factor = jax.jit(omega(Rectified(), 0.999))
    >>> [round(float(x), 4) for x in factor(jnp.array([5, 6, 100, 100_000]))]
    [0.0, 0.0258, 0.2153, 1.0]

    Reference: arXiv:1908.03265, Algorithm 2; for the other warmups see :mod:`rectified.warmup`.
    """
    found = as_warmup(warmup)
    if found.observes:
        raise TypeError(
            f"{warmup!r} observes {' and '.join(found.observes)} of a run, so that its omega is not a function of t "
            "and beta2: it works in rectified's optimizers for torch only. Use Linear or another formula"
        )
    number = known(beta2)
    if number is not None:
        check_beta2(number)
        found.check(number)
    if (formula := _FORMULAS.get(type(found))) is not None:
        return lambda t: formula(found, beta2, jnp.asarray(t))
    if number is None:
        if type(found) is Rectified and found.variance != "ema":
            return lambda t: _rectified(found, beta2, jnp.asarray(t))
        raise TypeError(
            f"beta2 is an array, and {warmup!r} is computed on the host from a number. With optax.inject_hyperparams, "
            "name it among the static_args: static_args=('b2',)"
        )
    if type(found) is not Rectified:
        if steps < 1:
            raise ValueError(f"steps is {steps!r}; the table needs at least 1")
        return _lookup(_table(found, number, steps))
    table = _rectified_table(found, number)
    if len(table) * rate(number) >= _SETTLED:
        return _lookup(table)
    first = _lookup(table)

    def at(t: ArrayLike) -> Array:
        t = jnp.asarray(t)
        return jnp.where(t <= len(table), first(t), _rectified(found, number, jnp.maximum(t, len(table))))

    return at


def _lookup(table: NDArray[np.float64]) -> Omega:
    """A function that reads a table of t = 1, 2, ..., whose last value holds beyond it."""
    return lambda t: jnp.take(jnp.asarray(table, float), jnp.asarray(t) - 1, mode="clip")


@lru_cache(maxsize=32)
def _rectified_table(warmup: Rectified, beta2: float) -> NDArray[np.float64]:
    """omega of the first steps, until it is settled at the longest."""
    settled = math.ceil(_SETTLED / rate(beta2))
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


def _rectified(warmup: Rectified, beta2: Any, t: Array) -> Array:
    """omega by formula, at any beta2 for which omega is ever positive."""
    length = rho(t, beta2)
    end = jnp.asarray(rho_inf(beta2), length.dtype)
    over = length > warmup.rho_min
    safe = jnp.where(over, length, jnp.maximum(end, warmup.rho_min + 1))
    if warmup.variance == "ema":
        factor = ema_ratio(t, beta2, limiting_variance(beta2, "ema"))
    elif warmup.variance == "exact":
        factor = exact_ratio(safe, end, LIFTS if known(beta2) is None else 0)  # beyond a table rho is above 190
    else:
        factor = first_order_ratio(safe, end)
    factor = jnp.where(rate(beta2) * t.astype(float) < _SETTLED, jnp.minimum(factor, 1), 1)
    return jnp.where(over, factor, 0)


def _constant(warmup: Any, beta2: Any, t: Array) -> Array:
    return jnp.ones_like(t, dtype=float)


def _linear(warmup: Any, beta2: Any, t: Array) -> Array:
    return jnp.minimum(t.astype(float) / warmup.steps, 1)


def _untuned_linear(warmup: Any, beta2: Any, t: Array) -> Array:
    return jnp.minimum((1 - beta2) / 2 * t.astype(float), 1)


def _untuned_exponential(warmup: Any, beta2: Any, t: Array) -> Array:
    return -jnp.expm1(-(1 - beta2) * t.astype(float))


def _second_moment_only(warmup: Any, beta2: Any, t: Array) -> Array:
    return jnp.where(t <= warmup.steps, 0, 1).astype(float)


_FORMULAS: dict[type, Callable[[Any, Any, Array], Array]] = {
    Constant: _constant,
    Linear: _linear,
    UntunedLinear: _untuned_linear,
    UntunedExponential: _untuned_exponential,
    SecondMomentOnly: _second_moment_only,
}
