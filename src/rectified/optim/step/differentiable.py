"""The step as a differentiable function of gradients, parameters and lr, for meta-learning: autograd records it.

The states are replaced, not written into: what autograd has kept of one step must not change in the next.
"""

import torch
from torch import Tensor

from .kernels import Update
from .plan import Bucket


def differentiable_step(bucket: Bucket, grads: list[Tensor], update: Update) -> None:
    """The update tensor by tensor, with new moments in the parameters' states."""
    for p, g, entry in zip(bucket.tensors.params, grads, bucket.entries, strict=True):
        theta, g, m, v = (
            torch.view_as_real(x) if x.is_complex() else x for x in (p, g, entry["exp_avg"], entry["exp_avg_sq"])
        )
        new = {}
        if update.decay:
            theta.mul_(1 - update.decay)
        g = -g if update.maximize else g
        g = (g + update.l2 * theta).to(m.dtype)
        v = update.beta2 * v + (1 - update.beta2) * g * g
        new["exp_avg_sq"] = largest = v
        if "max_exp_avg_sq" in entry:
            v_max = entry["max_exp_avg_sq"]
            new["max_exp_avg_sq"] = largest = torch.maximum(
                torch.view_as_real(v_max) if v_max.is_complex() else v_max, v
            )
        if update.m_moves:
            new["exp_avg"] = m = update.beta1 * m + (1 - update.beta1) * g
            if update.scale:
                theta.sub_((update.scale * m / (largest.sqrt() + update.eps)).to(theta.dtype))
            if update.momentum:
                theta.sub_((update.momentum * m).to(theta.dtype))
        for name, x in new.items():
            entry[name] = torch.view_as_complex(x) if entry[name].is_complex() else x
