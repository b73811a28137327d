"""jax as the array library of :mod:`rectified.arrays`, and rho."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from ..arrays import rho_and_ratio
from ..arrays.library import Arrays

JAX = Arrays.of(
    jnp,
    floats=lambda x: jnp.asarray(x).astype(float),
    cast=lambda x, dtype: jnp.asarray(x).astype(dtype),
    lookup=lambda table, i: jnp.take(jnp.asarray(table, float), i, mode="clip"),
)


def rho(t: ArrayLike, beta2: ArrayLike) -> Array:
    r"""Length of the simple moving average (SMA) with the same center of mass as the EMA after t steps, in jax.

    .. math:: \rho_t = \rho_\infty - \frac{2 t \beta_2^t}{1 - \beta_2^t}

    The textbook form cancels: in float32, at beta2 = 0.99999 and t = 2, no digit of it is right. This form is within
    4e-7 of :func:`rectified.theory.rho`, relative, for beta2 from 0.5 to 0.99999 and t up to 1e7; under x64 within
    4e-15.

    Args:
        t: step counts from 1, of any shape.
        beta2: decay rate of the second moment, in [0, 1). An array is used with its rounding: a float32 closest to
            0.999 has a 1 - beta2 that is wrong by 1e-5, relative, and rho too.

    Returns:
        An array of jax's default float dtype: float32, or float64 under x64.

    Raises:
        ValueError: beta2 is a number outside [0, 1).

    >>> [round(float(x), 4) for x in rho(jnp.array([1, 4, 5, 6]), 0.999)]
    [1.0, 3.9975, 4.996, 5.9942]

    Reference: arXiv:1908.03265, section 4.1 and Algorithm 2.
    """
    found: Array = rho_and_ratio.rho(JAX, t, beta2)
    return found
