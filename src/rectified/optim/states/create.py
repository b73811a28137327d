"""Creating the states of parameters, and adapting loaded ones."""

from collections import Counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..step.kernels import is_dense, same_layout
from ..step.options import Group
from ..step.plan import Plan
from .clock import Clock

if TYPE_CHECKING:
    from ..base import BaseOptimizer


def create_states(
    optimizer: "BaseOptimizer", group: Group, old: Plan | None
) -> tuple[dict[torch.device, Clock], dict[Tensor, Any]]:
    """Create the state of every parameter that has a gradient, and make its count an element of a clock.

    Returns:
        The group's clocks by device, and for each parameter its count and its additional SCALARS.
    """
    params: list[Tensor] = group["params"]
    for p in dict.fromkeys(params):
        if p.grad is None:
            continue
        entry = optimizer.state[p]
        if not entry:
            # Plain numbers until the clock adopts them; set here so that the keys have torch's order.
            entry.update({"step": 0.0, **optimizer.SCALARS, **optimizer.new_state(p, group)})
        optimizer.make_states(p, group, entry)
    times = Counter(p for p in params if p.grad is not None)
    first = {p: i for i, p in reversed(list(enumerate(params)))}  # a parameter that is listed twice counts there
    on = [p.device if group.get("capturable") else torch.device("cpu") for p in params]
    clocks: dict[torch.device, Clock] = {}
    keys: dict[Tensor, Any] = {}
    for device in dict.fromkeys(on):
        mine = [here == device and first[p] == i for i, (p, here) in enumerate(zip(params, on, strict=True))]
        entries = [(optimizer.state.get(p) or None) if m else None for p, m in zip(params, mine, strict=True)]
        clock = old.clocks.get(device) if old is not None and old.is_for(params) else None
        clocks[device] = clock = clock or Clock(len(params), device, optimizer.SCALARS)
        counts = clock.adopt(entries)
        clock.note_present([times[p] * m for p, m in zip(params, mine, strict=True)])
        others = [scalars.adopt(entries) for scalars in clock.others.values()]
        for i, p in enumerate(params):
            if mine[i]:
                keys[p] = counts[i], *(column[i] for column in others)
    return clocks, keys


def following(p: Tensor, moment: Tensor | None, dtype: torch.dtype) -> Tensor:
    """A moment with this dtype and its parameter's layout and device; new if there is none.

    A moment from a checkpoint, or of a model that was converted or moved, may differ. If the parameter is not dense,
    the moment is dense with the parameter's dimension order.

    >>> following(torch.ones(2, 3).t(), None, torch.float64).stride()
    (1, 3)
    """
    if moment is None:
        return torch.zeros_like(p, dtype=dtype, memory_format=torch.preserve_format)
    dense = p if is_dense(p) else torch.empty_like(p, device="meta", memory_format=torch.preserve_format)
    if moment.dtype is dtype and moment.device == p.device and same_layout(moment, dense):
        return moment
    return torch.zeros_like(p, dtype=dtype, memory_format=torch.preserve_format).copy_(moment.to(p.device))
