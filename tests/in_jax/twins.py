"""Every method of rectified.jax with its twin in torch, and both trajectories on the same gradients."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import rectified
import rectified.jax as ours
from rectified.warmup import Constant, Linear, Rectified, SecondMomentOnly, UntunedExponential, UntunedLinear
from roster import OwnMomentum, OwnWarmup

LR = 0.01


@dataclass(frozen=True)
class Pair:
    in_torch: Callable[..., Any]
    in_jax: Callable[..., Any]

    def torch(self, params, b1=0.9, b2=0.999):
        return self.in_torch(params, b1, b2)

    def jax(self, b1=0.9, b2=0.999):
        return self.in_jax(b1, b2)


def _adam(**options):
    return Pair(
        lambda params, *betas: rectified.Adam(params, lr=LR, betas=betas, **options),
        lambda *betas: ours.adam(LR, *betas, **options),
    )


def _adamw(**options):
    return Pair(
        lambda params, *betas: rectified.AdamW(params, lr=LR, betas=betas, weight_decay=0.1, **options),
        lambda *betas: ours.adamw(LR, *betas, weight_decay=0.1, **options),
    )


def _radam(**options):
    return Pair(
        lambda params, *betas: rectified.RAdam(params, lr=LR, betas=betas, **options),
        lambda *betas: ours.radam(LR, *betas, **options),
    )


PAIRS = {
    "adam": _adam(),
    "adam+constant": _adam(warmup=Constant()),
    "adam-eps": _adam(eps=1e-4, eps_hat=True),
    "adam-l2": Pair(
        lambda params, *betas: rectified.Adam(params, lr=LR, betas=betas, weight_decay=0.1, warmup=Linear(50)),
        lambda *betas: optax.chain(optax.add_decayed_weights(0.1), ours.adam(LR, *betas, warmup=Linear(50))),
    ),
    "adam+linear": _adam(warmup=Linear(200)),
    "adam+untuned-linear": _adam(warmup=UntunedLinear()),
    "adam+untuned-exponential": _adam(warmup=UntunedExponential()),
    "adam+rectified-hold": _adam(warmup=Rectified(start="hold")),
    "adam-2k": _adam(warmup=SecondMomentOnly(20)),
    "adam+own": _adam(warmup=OwnWarmup()),
    "adam+own-momentum": _adam(warmup=OwnMomentum()),
    "adamw": _adamw(),
    "adamw+untuned-linear": _adamw(warmup=UntunedLinear()),
    "adamw-2k": _adamw(warmup=SecondMomentOnly(20)),
    "adamw+rectified-hold": _adamw(warmup=Rectified("exact", start="hold"), eps_hat=True),
    "adamw+rectified": _adamw(warmup=Rectified()),
    "radam": _radam(),
    "radam-hold": _radam(start="hold"),
    "radam-paper": _radam(threshold=4),
    "radam-exact": _radam(variance="exact"),
    "radam-exact-hold": _radam(variance="exact", start="hold"),
    "radam-ema": _radam(variance="ema"),
    "radam-ema-hold": _radam(variance="ema", start="hold"),
    "radam-eps-after": _radam(eps_hat=False),
}


def jax_path(optimizer, grads, theta, jit=True):
    """The parameters after each step in jax: in one compiled loop, or op by op."""

    def step(carry, g):
        theta, state = carry
        updates, state = optimizer.update(g, state, theta)
        theta = optax.apply_updates(theta, updates)
        return (theta, state), theta

    theta = [jnp.asarray(x) for x in theta]
    carry = theta, optimizer.init(theta)
    if jit:
        path = jax.jit(lambda carry, grads: jax.lax.scan(step, carry, grads)[1])(carry, grads)
        return [np.asarray(x) for x in path]
    rows = []
    for i in range(len(grads[0])):
        carry, now = step(carry, [jnp.asarray(g[i]) for g in grads])
        rows.append([np.asarray(x) for x in now])
    return [np.stack(column) for column in zip(*rows, strict=True)]
