"""The step as a differentiable function of gradients, parameters, lr, betas and decay: autograd records it.

The states are replaced, not written into: what autograd has kept of one step must not change in the next.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .kernels import Tensors
from .plan import Found
from .update import Numbers, update


def differentiable_step(found: Found, state: dict[Tensor, dict[str, Tensor]], names: Sequence[str], n: Numbers) -> None:
    """The reference update, parameter by parameter, with new moments in their states."""
    _, m_all, v_all, v_max, _ = Tensors(found.params, *found.states)
    v_max_all: Sequence[Tensor | None] = v_max or [None] * len(m_all)
    columns = found.owners, found.grads, m_all, v_all, v_max_all
    for p, g, m, v, largest in zip(*columns, strict=True):
        # A clone: what autograd keeps of it must not change when p does.
        theta, g, m, v = map(_real, (p.clone(), g, m, v))
        largest = largest if largest is None else _real(largest)
        theta, m, v, largest = update(theta, m, v, g.to(m.dtype), n, largest)
        for name, x in zip(names, (m, v, largest), strict=False):
            if x is not None:
                state[p][name] = torch.view_as_complex(x) if p.is_complex() else x
        _real(p).copy_(theta)


def _real(x: Tensor) -> Tensor:
    return torch.view_as_real(x.resolve_conj()) if x.is_complex() else x
