"""The step as a differentiable function of gradients, parameters, lr, betas and weight decay, recorded by autograd.

States are replaced instead of modified, since what autograd saved in one step must not change in the next.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .kernels import Tensors
from .plan import Found
from .update import Numbers, update


def differentiable_step(found: Found, state: dict[Tensor, dict[str, Tensor]], names: Sequence[str], n: Numbers) -> None:
    """Take the reference update parameter by parameter, with new tensors as moments."""
    _, m_all, v_all, v_max, *_ = Tensors(found.params, *found.states)
    v_max_all: Sequence[Tensor | None] = v_max or [None] * len(m_all)
    columns = found.owners, found.grads, m_all, v_all, v_max_all
    for p, g, m, v, largest in zip(*columns, strict=True):
        # A clone, since what autograd saves must not change when p does.
        theta, g, m, v = map(_real, (p.clone(), g, m, v))
        largest = largest if largest is None else _real(largest)
        theta, m, v, largest = update(theta, m, v, g.to(m.dtype), n, largest)
        for name, x in zip(names, (m, v, largest), strict=False):
            if x is not None:
                state[p][name] = torch.view_as_complex(x) if p.is_complex() else x
        _real(p).copy_(theta)


def _real(x: Tensor) -> Tensor:
    return torch.view_as_real(x.resolve_conj()) if x.is_complex() else x
