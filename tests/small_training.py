"""One small training in torch, which other frameworks repeat from the same weights on the same data."""

import numpy as np
import torch

import rectified
from rectified.warmup import UntunedLinear

STEPS = 200
IN_TORCH = {
    "adamw": lambda params: rectified.AdamW(
        params, lr=1e-2, weight_decay=0.01, warmup=UntunedLinear(), betas=(0.9, 0.98)
    ),
    "radam": lambda params: rectified.RAdam(params, lr=1e-2, variance="exact"),
}


def data(dtype):
    """Points, a target, and the weights of a network of two layers."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((256, 3))
    y = np.sin(2 * x[:, :1]) * x[:, 1:2] + x[:, 2:]
    weights = [rng.standard_normal(shape) * 0.3 for shape in ((3, 32), (32,), (32, 1), (1,))]
    return x.astype(dtype), y.astype(dtype), [w.astype(dtype) for w in weights]


def losses_in_torch(name, dtype):
    """The loss of every step."""
    x, y, weights = data(dtype)
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    params = [torch.nn.Parameter(torch.from_numpy(w)) for w in weights]
    optimizer, losses = IN_TORCH[name](params), []
    for _ in range(STEPS):
        optimizer.zero_grad()
        w1, b1, w2, b2 = params
        loss = ((torch.tanh(x @ w1 + b1) @ w2 + b2 - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
