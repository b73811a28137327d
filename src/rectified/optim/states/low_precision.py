"""16-bit parameters with 32-bit moments: the step is computed in float32 and then rounded.

A significand of 8 or 11 bits cannot represent 1 + 0.001. A second moment in 16 bits stalls (at 0.5 instead of 0.95,
after 3,000 unit gradients at beta2 = 0.999), and a weight ignores updates below half a unit in its last place. The
moments are therefore float32, and the rounding of weights is a choice: to nearest, with the error kept (Kahan), or up
or down at random so that the mean is right (stochastic).
"""

from typing import Literal

import torch

from .._torch import TensorList

Rounding = Literal["nearest", "kahan", "stochastic"]
EIGHT_BIT = "8bit"
StateDtype = torch.dtype | Literal["8bit"]
NARROW = (torch.bfloat16, torch.float16)


def write_back(params: TensorList, work: TensorList, compensation: TensorList, rounding: Rounding) -> None:
    """Round the float32 results into the parameters, and the rounding errors into the compensation, if any."""
    if rounding == "stochastic":
        _round_at_random(work)
    torch._foreach_copy_(params, work)
    if compensation:
        torch._foreach_copy_(compensation, [w.sub_(p) for p, w in zip(params, work, strict=True)])


def _round_at_random(wide: TensorList) -> None:
    """Round each float32 up or down to a bfloat16 at random, so that its expectation is the float32.

    A bfloat16 is a float32 whose lower 16 bits are 0: add a random 16-bit number, then truncate. On a CPU the random
    generator dominates the cost, so one draw serves two elements.
    """
    sizes = [w.numel() for w in wide]
    bits = [w.as_strided((n,), (1,)).view(torch.int32) for w, n in zip(wide, sizes, strict=True)]
    total = sum(sizes)
    draws = torch.randint(-(2**31), 2**31 - 1, (total // 2 + 1,), dtype=torch.int32, device=wide[0].device)
    torch._foreach_add_(bits, 2**15)  # which the draws' halves, as signed numbers, lack
    torch._foreach_add_(bits, torch.split(draws.view(torch.int16)[:total], sizes))
    for x in bits:
        x &= -(2**16)
