"""A run that starts in torch and continues in jax: m, v and the step counts go through a file.

python examples/continue_in_jax.py
"""

import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

import rectified
import rectified.jax
from rectified.interchange import AdamState, from_torch, to_optax
from rectified.warmup import Linear

STEPS, SWITCH = 200, 100
rng = np.random.default_rng(0)
x = rng.standard_normal((STEPS, 64, 2)).astype(np.float32)  # a batch per step
y = np.sin(2 * x[..., :1]) * x[..., 1:]

# In torch, to the end: what the other run is compared with. Its state and its weights are saved at step 100.
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))
optimizer = rectified.AdamW(model.parameters(), lr=1e-2, weight_decay=0.01, warmup=Linear(150))
scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 0.99**t)
folder = Path(tempfile.mkdtemp())
for t in range(STEPS):
    if t == SWITCH:
        from_torch(optimizer, model).save(folder / "adam.npz")
        np.savez(folder / "weights.npz", **{name: p.detach().numpy() for name, p in model.named_parameters()})
    optimizer.zero_grad()
    loss = ((model(torch.from_numpy(x[t])) - torch.from_numpy(y[t])) ** 2).mean()
    loss.backward()
    optimizer.step()
    scheduler.step()
print(f"torch, {STEPS} steps: loss {loss.item():.4f}")

# In jax, from the files; this part may be another program, without torch. A Linear's weight is transposed here.
names = {"0.weight": "hidden.w", "0.bias": "hidden.b", "2.weight": "head.w", "2.bias": "head.b"}
with np.load(folder / "weights.npz") as file:
    w = {names[name]: jnp.asarray(file[name].T) for name in names}
params = {"hidden": {"w": w["hidden.w"], "b": w["hidden.b"]}, "head": {"w": w["head.w"], "b": w["head.b"]}}
state = AdamState.load(folder / "adam.npz").renamed(names).mapped(lambda name, moment: moment.T)
tx = rectified.jax.adamw(optax.exponential_decay(1e-2, 1, 0.99), weight_decay=0.01, warmup=Linear(150))
opt_state = to_optax(state, tx.init(params), params)


def loss_of(params, x, y):
    hidden = jnp.tanh(x @ params["hidden"]["w"] + params["hidden"]["b"])
    return ((hidden @ params["head"]["w"] + params["head"]["b"] - y) ** 2).mean()


@jax.jit
def step(params, opt_state, x, y):
    loss, grads = jax.value_and_grad(loss_of)(params, x, y)
    updates, opt_state = tx.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, loss


for t in range(SWITCH, STEPS):
    params, opt_state, loss_in_jax = step(params, opt_state, x[t], y[t])
print(f"torch, then jax from step {SWITCH}: loss {loss_in_jax:.4f}")
difference = float(np.abs(model[0].weight.detach().numpy().T - params["hidden"]["w"]).max())
print(f"largest difference of a weight: {difference:.1e}")
