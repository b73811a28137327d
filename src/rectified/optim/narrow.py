"""Parameters of 16 bits with moments of 32: the step is taken in float32, then rounded.

Eight or eleven bits cannot hold 1 + 0.001. A second moment kept so stalls (at 0.5 where 0.95 is right, after 3,000 unit
gradients at beta2 = 0.999), and a weight does not feel updates below half its last place. The moments are therefore
float32, and what happens to the weight is a choice: round to nearest, keep what rounding takes (Kahan), or round up or
down at random so that the mean is right (stochastic).
"""

from collections.abc import Iterator
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from .kernels import Kernel, Tensors, Update

Rounding = Literal["nearest", "kahan", "stochastic"]
NARROW = (torch.bfloat16, torch.float16)

# Elements that are widened at a time: the copies take 8 bytes each.
_CHUNK = 2**22


@cache
def widened(kernel: Kernel, rounding: Rounding) -> Kernel:
    """The kernel for 16-bit parameters: on float32 copies of them and of their gradients, a part at a time."""

    def step(tensors: Tensors, grads: list[Tensor], update: Update) -> None:
        for some in _parts(tensors.params):
            params, m, v, v_max, compensation = (column[some] for column in tensors)
            wide = [p.float() for p in params]
            for w, lost in zip(wide, compensation, strict=False):
                w += lost
            kernel(Tensors(wide, m, v, v_max, []), [g.float() for g in grads[some]], update)
            if rounding == "stochastic":
                for w in wide:
                    _round_at_random(w)
            torch._foreach_copy_(params, wide)
            for w, p, lost in zip(wide, params, compensation, strict=False):
                lost.copy_(w.sub_(p))

    return step


def _parts(params: list[Tensor]) -> Iterator[slice]:
    first, size = 0, 0
    for i, p in enumerate(params):
        if size and size + p.numel() > _CHUNK:
            yield slice(first, i)
            first, size = i, 0
        size += p.numel()
    yield slice(first, len(params))


def _round_at_random(wide: Tensor) -> None:
    """Make each float32 a bfloat16 above or below it, the nearer the likelier: its expectation is the float32.

    A bfloat16 is a float32 whose lower 16 bits are 0: a random number of 16 bits is added, then they are cut off.
    """
    bits = wide.view(torch.int32)
    bits += torch.randint_like(bits, 2**16)
    bits &= -(2**16)
