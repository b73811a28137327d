"""A warmup's factor omega as a function that jax can trace."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from ..arrays.rho_and_ratio import known
from ..arrays.traced_omega import is_formula, omega_on
from ..warmup.interface import as_warmup
from .mathematics import JAX

Omega = Callable[[ArrayLike], Array]  # of step counts from 1


def omega(warmup: Any, beta2: ArrayLike, *, steps: int | None = None) -> Omega:
    r"""Make omega(t; beta2) a function of the step count that works under ``jit``, ``vmap`` and in loops.

    .. math:: t \mapsto \omega(t; \beta_2)

    The result has jax's default float dtype. In float32 it is within 5e-7 of the warmup's own omega, relative, for
    beta2 up to 0.99999 and t up to 1e7; under x64 within 2e-15.

    - ``Rectified``: a table of the first 4,096 steps, computed by the warmup in double precision and rounded once. It
      takes 16 KiB, or 32 under x64; with ``variance="ema"`` up to twice that. Beyond it a formula without
      cancellation, or 1 where the warmup is over.
    - The other warmups of this package: a formula, and no table.
    - A warmup of your own: a table of `steps` values, computed once by calling its ``omega``, 256 KiB as a rule. Beyond
      it the last value holds. It has to be a function of t and beta2 alone.

    Args:
        warmup: one of :mod:`rectified.warmup`, or any object with ``omega(t, beta2)``.
        beta2: decay rate of the second moment. If it is an array, which jax may be tracing, there is no table: a
            formula gives omega at the array's own rounding of beta2, which in float32 is off by 7e-6 at 0.999 and by
            7e-4 at 0.99999. A warmup of your own and ``variance="ema"`` need a number.
        steps: the table's length for a warmup of your own. ``None`` is 65,536, or the double of that, and so on, until
            its omega has settled; at most 1,048,576, which take 4 MiB.

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
    if known(beta2) is None and not (found := as_warmup(warmup)).observes and not is_formula(found):
        raise TypeError(
            f"beta2 is an array, and {warmup!r} is computed on the host from a number. With optax.inject_hyperparams, "
            "name it among the static_args: static_args=('b2',)"
        )
    at = omega_on(JAX, warmup, beta2, steps)
    return lambda t: at(jnp.asarray(t))
