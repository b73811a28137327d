"""Keras as the array library of :mod:`rectified.arrays`, whichever backend it runs on."""

from typing import Any

import keras
from keras import ops

from ..arrays.library import Arrays
from ..arrays.traced_omega import Omega, omega_on
from ..theory.checks import check_beta2
from ..warmup.interface import as_warmup


def _lookup(table: Any, i: Any) -> Any:
    # Counts may be floats: a user's, or Keras's own with a floatx of 16 bits.
    places = ops.cast(ops.clip(i, 0, len(table) - 1), "int32")
    return ops.take(ops.convert_to_tensor(table, _float_dtype()), places)


def _float_dtype() -> str:
    """The dtype of a step's numbers: floatx, or float32 if that is shorter, which counts above 256 would not fit."""
    return "float64" if keras.config.floatx() == "float64" else "float32"


KERAS = Arrays.of(
    ops,
    floats=lambda x: ops.cast(x, _float_dtype()),
    cast=ops.cast,
    lookup=_lookup,
)


def omega_in_keras(warmup: Any, beta2: float) -> Omega:
    """omega as a function of step counts in tensors; on the torch backend of those that are known.

    Raises:
        TypeError, ValueError: as :func:`rectified.arrays.traced_omega.omega_on`.
    """
    on_host = as_warmup(warmup)
    check_beta2(beta2)
    beta2 = float(beta2)
    on_device = omega_on(KERAS, on_host, beta2)
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
