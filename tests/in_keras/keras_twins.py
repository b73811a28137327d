"""Every method of rectified.keras with its twin in torch, and its trajectory on the backend that Keras runs on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import torch
from keras import ops

import rectified
import rectified.keras as ours
from rectified.warmup import Constant, Linear, Rectified, SecondMomentOnly, UntunedExponential, UntunedLinear
from roster import OwnMomentum, OwnWarmup

LR = 0.01
BACKEND = keras.backend.backend()


@dataclass(frozen=True)
class Pair:
    in_torch: Callable[..., Any]
    in_keras: Callable[..., Any]

    def torch(self, params, b1=0.9, b2=0.999):
        return self.in_torch(params, b1, b2)

    def keras(self, b1=0.9, b2=0.999, **options):
        return self.in_keras(b1, b2, **options)


def _pair(name, *, in_torch=None, eps=1e-7, eps_hat=True, **options):
    """An optimizer with the defaults of Keras in both; `in_torch`: what torch calls otherwise."""
    return Pair(
        lambda params, *betas: getattr(rectified, name)(
            params, lr=LR, betas=betas, eps=eps, eps_hat=eps_hat, **{**options, **(in_torch or {})}
        ),
        lambda b1, b2, **more: getattr(ours, name)(
            LR, beta_1=b1, beta_2=b2, epsilon=eps, eps_hat=eps_hat, **options, **more
        ),
    )


def _adamw(**options):
    return _pair("AdamW", weight_decay=0.1, **options)


PAIRS = {
    "adam": _pair("Adam"),
    "adam+constant": _pair("Adam", warmup=Constant()),
    "adam-eps": _pair("Adam", eps=1e-4),
    "adam-eps-after": _pair("Adam", eps=1e-8, eps_hat=False, warmup=Linear(50)),
    "adam-amsgrad": _pair("Adam", amsgrad=True, warmup=UntunedLinear()),
    "adam-decay": _pair("Adam", weight_decay=0.1, warmup=Linear(50), in_torch={"decoupled_weight_decay": True}),
    "adam+linear": _pair("Adam", warmup=Linear(200)),
    "adam+untuned-linear": _pair("Adam", warmup=UntunedLinear()),
    "adam+untuned-exponential": _pair("Adam", warmup=UntunedExponential()),
    "adam+rectified-hold": _pair("Adam", warmup=Rectified(start="hold")),
    "adam-2k": _pair("Adam", warmup=SecondMomentOnly(20)),
    "adam+own": _pair("Adam", warmup=OwnWarmup()),
    "adam+own-momentum": _pair("Adam", warmup=OwnMomentum()),
    "adamw": _adamw(),
    "adamw+untuned-linear": _adamw(warmup=UntunedLinear()),
    "adamw-amsgrad": _adamw(amsgrad=True),
    "adamw-2k": _adamw(warmup=SecondMomentOnly(20)),
    "adamw+rectified-hold": _adamw(warmup=Rectified("exact", start="hold")),
    "adamw+rectified": _adamw(warmup=Rectified()),
    "radam": _pair("RAdam"),
    "radam-hold": _pair("RAdam", start="hold"),
    "radam-paper": _pair("RAdam", threshold=4),
    "radam-exact": _pair("RAdam", variance="exact"),
    "radam-ema": _pair("RAdam", variance="ema"),
    "radam-eps-after": _pair("RAdam", eps_hat=False),
    "radamw": _pair("RAdam", weight_decay=0.1, start="hold", in_torch={"decoupled_weight_decay": True}),
}


def values(x):
    """A variable's value as a numpy array."""
    return np.array(ops.convert_to_numpy(x.value))


def stepper(optimizer, variables):
    """A function that steps the variables with these gradients, compiled where the backend compiles training."""
    optimizer.build(variables)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(lambda grads: optimizer.apply(grads, variables))
    if BACKEND == "torch":
        return lambda grads: optimizer.apply([ops.convert_to_tensor(g) for g in grads], variables)
    import jax

    apply = jax.jit(optimizer.stateless_apply)

    def step(grads):
        state = [x.value for x in optimizer.variables], grads, [x.value for x in variables]
        new, state = apply(*state)
        for variable, value in zip([*variables, *optimizer.variables], [*new, *state], strict=True):
            variable.assign(value)

    return step


def keras_path(optimizer, grads, theta):
    """The variables after each step."""
    variables = [keras.Variable(x, dtype=str(x.dtype)) for x in theta]
    step = stepper(optimizer, variables)
    path = [np.empty_like(g) for g in grads]
    for i in range(len(grads[0])):
        step([g[i] for g in grads])
        for x, variable in zip(path, variables, strict=True):
            x[i] = values(variable)
    return path


def gradient(*numbers):
    return ops.convert_to_tensor(np.array(numbers, "float32"))


def parameter(*numbers):
    return torch.nn.Parameter(torch.tensor(numbers, dtype=torch.float32))
