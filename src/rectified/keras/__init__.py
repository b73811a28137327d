"""Warmups and optimizers for Keras 3 (``pip install 'rectified[keras]'``).

    theta <- theta - lr * omega(t; beta2) * m_hat / (sqrt(v_hat) + eps)

The warmups are those of :mod:`rectified.warmup`. After this import ``compile(optimizer="radam")`` finds
:class:`RAdam`, and a saved model that was compiled with one of these optimizers loads.

>>> import keras
>>> from rectified.warmup import Linear
>>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
>>> model.compile(optimizer=AdamW(1e-3, weight_decay=0.01, warmup=Linear(500)), loss="mse")
"""

from .keras_adam import Adam, AdamW, RAdam
from .warmup_schedule import WarmupSchedule

__all__ = ["Adam", "AdamW", "RAdam", "WarmupSchedule"]
