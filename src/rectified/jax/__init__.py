"""Warmups and optimizers for jax, as optax's gradient transformations (``pip install 'rectified[jax]'``).

    theta <- theta - lr * omega(t; beta2) * m_hat / (sqrt(v_hat) + eps)

The warmups are those of :mod:`rectified.warmup`. Importing this package imports jax and optax, and no torch.

>>> import jax.numpy as jnp, optax
>>> from rectified.warmup import Linear
>>> optimizer = adamw(1e-3, weight_decay=0.01, warmup=Linear(500))
>>> params = {"w": jnp.ones((2, 2)), "b": jnp.zeros(2)}
>>> state = optimizer.init(params)
>>> updates, state = optimizer.update(params, state, params)  # gradients, state, parameters
>>> params = optax.apply_updates(params, updates)
"""

from .mathematics import rho
from .omega import omega
from .optimizers import adam, adamw, radam
from .transforms import scale_by_adam, scale_by_warmup

__all__ = ["adam", "adamw", "omega", "radam", "rho", "scale_by_adam", "scale_by_warmup"]
