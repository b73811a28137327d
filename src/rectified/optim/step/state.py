"""What a state's tensors look like beside their parameter."""

import torch
from torch import Tensor

from .kernels import is_dense, same_layout


def following(p: Tensor, moment: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The moment, new if there is none, of this dtype and with its parameter's layout and device.

    One from a checkpoint, or of a model that was converted or moved since, may have others. Of a parameter that is not
    dense, the moment is dense, its dimensions in the parameter's order.

    >>> following(torch.ones(2, 3).t(), None, torch.float64).stride()
    (1, 3)
    """
    if moment is None:
        return torch.zeros_like(p, dtype=dtype, memory_format=torch.preserve_format)
    dense = p if is_dense(p) else torch.empty_like(p, device="meta", memory_format=torch.preserve_format)
    if moment.dtype is dtype and moment.device == p.device and same_layout(moment, dense):
        return moment
    return torch.zeros_like(p, dtype=dtype, memory_format=torch.preserve_format).copy_(moment.to(p.device))
