"""A training loop in jax: rectified's warmups and AdamW as optax's gradient transformations. No torch is imported.

python examples/jax_training.py
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import rectified.jax
from rectified.warmup import Linear

keys = jax.random.split(jax.random.key(0), 4)
x = jax.random.normal(keys[0], (2000, 2))
y = (jnp.linalg.norm(x, axis=1) > 1.2).astype(jnp.int32)  # inside or outside of a circle
params = {
    "w1": jax.random.normal(keys[1], (2, 32)) * 0.7,
    "b1": jnp.zeros(32),
    "w2": jax.random.normal(keys[2], (32, 2)) * 0.2,
    "b2": jnp.zeros(2),
}


def logits(params, x):
    return jax.nn.relu(x @ params["w1"] + params["b1"]) @ params["w2"] + params["b2"]


def loss_of(params, batch):
    losses = optax.softmax_cross_entropy_with_integer_labels(logits(params, x[batch]), y[batch])
    return losses.mean()


# A tenth of the run, as in minimal.py. omega multiplies the schedule, and neither needs to know about the other.
warmup = Linear(30)
optimizer = rectified.jax.adamw(optax.cosine_decay_schedule(1e-2, 300), weight_decay=0.01, warmup=warmup)
omega = rectified.jax.omega(warmup, 0.999)


@jax.jit
def step(params, state, key):
    loss, grads = jax.value_and_grad(loss_of)(params, jax.random.randint(key, (64,), 0, len(x)))
    updates, state = optimizer.update(grads, state, params)
    return optax.apply_updates(params, updates), state, loss


state = optimizer.init(params)
for t in range(1, 301):
    params, state, loss = step(params, state, jax.random.fold_in(keys[3], t))
    if t in (1, 10, 30, 100, 300):
        print(f"step {t:3}  loss {loss:.3f}  omega {omega(t):.2f}")
    if t == 100:  # a checkpoint: the leaves of one tree
        saved = [np.asarray(leaf) for leaf in jax.tree.leaves((params, state))]

# Resumed at step 100, the run ends in the same weights, bit for bit.
resumed, state = jax.tree.unflatten(jax.tree.structure((params, state)), map(jnp.asarray, saved))
for t in range(101, 301):
    resumed, state, _ = step(resumed, state, jax.random.fold_in(keys[3], t))
same = all(bool((a == b).all()) for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(resumed), strict=True))
accuracy = float((logits(params, x).argmax(1) == y).mean())
print(f"accuracy {100 * accuracy:.1f} %, resumed from step 100: {'the same weights' if same else 'other weights'}")
