"""Adam's state in Keras 3: read from an optimizer that is built like keras.optimizers.Adam, and assigned to one."""

from typing import Any

from .fitting import Wanted, check_amsgrad, check_fit, same_count
from .moments import AdamState, Array, listed, repeated

_ONE_COUNT = (
    "to let all have one, which changes the bias correction of the others: "
    "dataclasses.replace(state, counts=dict.fromkeys(state.counts, state.steps))"
)


def from_keras(optimizer: Any) -> AdamState:
    """Read the state of an Adam or AdamW of Keras 3, or of an optimizer of ``rectified.keras``.

    A parameter is named by its variable's path, such as ``sequential/dense/kernel``. The arrays are copies. Keras
    counts steps once for all variables; with ``gradient_accumulation_steps`` the count is of steps, not of batches. Of
    a ``LossScaleOptimizer``, the optimizer that it wraps is read.

    Not in the state: the weights, the options, and the average of the weights that ``use_ema`` keeps.

    Args:
        optimizer: the optimizer, which is built: it has taken a step, or ``optimizer.build(variables)`` was called.

    Returns:
        The state of every variable that it trains.

    Raises:
        TypeError: the optimizer is of another kind.
        ValueError: it is not built, two variables have the same path, or a gradient accumulation is not finished.

    >>> import keras
    >>> w = keras.Variable([1.0, 2.0], name="w")
    >>> optimizer = keras.optimizers.Adam(0.1)
    >>> optimizer.apply([keras.ops.ones(2)], [w])
    >>> state = from_keras(optimizer)
    >>> state.counts, round(float(state.m["w"][0]), 4)
    ({'w': 1}, 0.1)
    """
    adam = _adam(optimizer)
    every = adam.gradient_accumulation_steps or 1
    batches = int(_to_numpy(adam._iterations))
    if batches % every:
        raise ValueError(
            f"the optimizer has accumulated {batches % every} of {every} gradients since the last step, which no "
            "AdamState holds: convert the state after a multiple of gradient_accumulation_steps batches"
        )
    places = _places(adam)
    v_max = {name: _to_numpy(adam._velocity_hats[i]) for name, i in places.items()} if adam.amsgrad else {}
    return AdamState(
        m={name: _to_numpy(adam._momentums[i]) for name, i in places.items()},
        v={name: _to_numpy(adam._velocities[i]) for name, i in places.items()},
        counts=dict.fromkeys(places, batches // every),
        v_max=v_max,
    )


def to_keras(state: AdamState, optimizer: Any) -> None:
    """Assign a state to an Adam or AdamW of Keras 3, or to an optimizer of ``rectified.keras``.

    Its moments and its count are replaced, so that a learning rate schedule continues, too. A gradient accumulation
    starts again. Moments keep the dtype that the optimizer gives them.

    These options must agree with the run that the state is from, and nothing checks them: the learning rate and its
    schedule, beta_1, beta_2, epsilon, weight decay, warmup. Keras' Adam adds epsilon before the bias correction,
    torch's and optax's after it, see :mod:`rectified.interchange`.

    Args:
        state: the state of every variable that the optimizer trains, in Keras' layout, under the variables' paths.
        optimizer: the optimizer, which is built: it has taken a step, or ``optimizer.build(variables)`` was called.

    Raises:
        TypeError: the optimizer is of another kind.
        ValueError: the names or shapes do not fit, the counts differ, amsgrad is on in one of the two only, or as
            :func:`from_keras`. The optimizer is unchanged then.

    >>> import keras, numpy as np
    >>> w = keras.Variable([1.0, 2.0], name="w")
    >>> optimizer = keras.optimizers.Adam(0.1)
    >>> optimizer.build([w])
    >>> to_keras(AdamState(m={"w": np.ones(2)}, v={"w": np.ones(2)}, counts={"w": 30}), optimizer)
    >>> int(optimizer.iterations)
    30
    """
    import keras

    adam = _adam(optimizer)
    whose = f"the optimizer ({type(adam).__name__})"
    places = _places(adam)
    check_fit(state, {name: Wanted(tuple(adam._momentums[i].shape)) for name, i in places.items()}, whose)
    check_amsgrad(state, list(places) if adam.amsgrad else [], whose)
    count = same_count(state, list(places), "Keras", _ONE_COUNT)
    batches = count * (adam.gradient_accumulation_steps or 1)
    if batches >= 2**31:
        raise ValueError(f"the run has taken {count:,} steps, which is more than Keras counts: {2**31 - 1:,} batches")
    for name, i in places.items():
        adam._momentums[i].assign(state.m[name].copy())  # jax may use the memory of an array that it is given
        adam._velocities[i].assign(state.v[name].copy())
        if adam.amsgrad:
            adam._velocity_hats[i].assign(state.v_max[name].copy())
    for gradient in adam._accumulated_gradients if adam.gradient_accumulation_steps else ():
        if gradient is not None:
            gradient.assign(keras.ops.zeros_like(gradient))
    adam._iterations.assign(batches)


def _adam(optimizer: Any) -> Any:
    """The optimizer that has the moments, itself or the one that a LossScaleOptimizer wraps."""
    import keras

    found = optimizer.inner_optimizer if isinstance(optimizer, keras.optimizers.LossScaleOptimizer) else optimizer
    ours = any(kind.__module__ == "rectified.keras.keras_adam" for kind in type(found).__mro__)
    if not (ours or isinstance(found, keras.optimizers.Adam)):
        raise TypeError(
            f"{type(found).__name__} is not an Adam or AdamW of keras.optimizers, or an optimizer of rectified.keras"
        )
    if not found.built:
        raise ValueError(
            "the optimizer is not built, and has no variables yet: call optimizer.build(model.trainable_variables)"
        )
    return found


def _places(adam: Any) -> dict[str, int]:
    """The index of every variable that has moments, by its path."""
    there = [i for i, m in enumerate(adam._momentums) if m is not None]  # None for scales of float8
    paths = [adam._trainable_variables[i].path for i in there]
    if twice := repeated(paths):
        raise ValueError(f"several variables have the path {listed(twice)}: give the layers names of their own")
    return dict(zip(paths, there, strict=True))


def _to_numpy(variable: Any) -> Array:
    """A copy of a variable's value."""
    import keras
    import numpy as np

    if keras.backend.backend() == "torch":  # Keras' own conversion warns of numpy's future
        from .torch_state import to_numpy

        return to_numpy(variable.value)
    return np.array(keras.ops.convert_to_numpy(variable.value))
