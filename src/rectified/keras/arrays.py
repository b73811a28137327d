"""Keras as the array library of :mod:`rectified.arrays`, whichever backend it runs on."""

from typing import Any

import keras
from keras import ops

from ..arrays.library import Arrays
from ..arrays.omega import Omega, omega_on
from ..warmup.interface import as_warmup


def _lookup(table: Any, i: Any) -> Any:
    return ops.take(ops.convert_to_tensor(table, keras.config.floatx()), ops.clip(i, 0, len(table) - 1))


KERAS = Arrays(
    floats=lambda x: ops.cast(x, keras.config.floatx()),
    cast=ops.cast,
    lookup=_lookup,
    where=ops.where,
    minimum=ops.minimum,
    maximum=ops.maximum,
    sqrt=ops.sqrt,
    expm1=ops.expm1,
    log1p=ops.log1p,
)


def omega_in_keras(warmup: Any, beta2: float) -> Omega:
    """omega as a function of step counts in tensors; on the torch backend of those that are known.

    Raises:
        TypeError, ValueError: as :func:`rectified.arrays.omega.omega_on`.
    """
    on_device = omega_on(KERAS, warmup, beta2)
    on_host = as_warmup(warmup)
    return lambda t: on_host.omega(int(t), beta2) if is_eager_torch() and is_one(t) else on_device(t)


def is_eager_torch() -> bool:
    """Whether a step is computed by torch now, so that its numbers can be read, and none is traced."""
    if keras.backend.backend() != "torch":
        return False
    import torch

    return not torch.compiler.is_compiling()


def is_one(t: Any) -> bool:
    """Whether a step count is one number."""
    return not getattr(t, "shape", ())
