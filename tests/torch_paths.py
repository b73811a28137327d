"""Gradients, the way that parameters go in torch, and how far apart two ways are: for other frameworks' optimizers."""

import numpy as np
import torch

SHAPES = ((3, 4), (5,), ())


def gradients(steps, dtype, shapes=SHAPES, seed=0):
    """Normal gradients with a mean, of sizes that differ by leaf: an array of all steps for each."""
    rng = np.random.default_rng(seed)
    return [
        (10.0 ** (i - 1) * (rng.standard_normal((steps, *shape)) + 0.3)).astype(dtype) for i, shape in enumerate(shapes)
    ]


def start(dtype, shapes=SHAPES):
    rng = np.random.default_rng(1)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def torch_path(make, grads, theta, *betas):
    """The parameters after each step of the optimizer that `make(params, *betas)` returns."""
    params = [torch.nn.Parameter(torch.from_numpy(np.array(x))) for x in theta]
    optimizer = make(params, *betas)
    path = [np.empty_like(g) for g in grads]
    tensors = [torch.from_numpy(g) for g in grads]
    for step in range(len(grads[0])):
        for p, g in zip(params, tensors, strict=True):
            p.grad = g[step]
        optimizer.step()
        for x, p in zip(path, params, strict=True):
            x[step] = p.detach().numpy()
    return path


def distance(a, b, theta):
    """The largest distance of two paths, relative to the length of the way that each element had gone by then."""
    worst = 0.0
    for x, y, first in zip(a, b, theta, strict=True):
        steps = np.abs(np.diff(y.astype(float), axis=0, prepend=first[None].astype(float)))
        way = np.cumsum(steps, axis=0) + np.abs(y.astype(float))
        worst = max(worst, float((np.abs(x.astype(float) - y) / way).max()))
    return worst
