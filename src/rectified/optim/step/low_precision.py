"""Parameters of 16 bits with moments of 32: the step is taken in float32, then rounded.

Eight or eleven bits cannot hold 1 + 0.001. A second moment kept so stalls (at 0.5 where 0.95 is right, after 3,000 unit
gradients at beta2 = 0.999), and a weight does not feel updates below half its last place. The moments are therefore
float32, and what happens to the weight is a choice: round to nearest, keep what rounding takes (Kahan), or round up or
down at random so that the mean is right (stochastic).
"""

from typing import Literal

import torch

from .._torch import TensorList

Rounding = Literal["nearest", "kahan", "stochastic"]
NARROW = (torch.bfloat16, torch.float16)


def write_back(params: TensorList, work: TensorList, compensation: TensorList, rounding: Rounding) -> None:
    """Round what the step was taken on into the parameters; what rounding takes, into the compensation, if any."""
    if rounding == "stochastic":
        _round_at_random(work)
    torch._foreach_copy_(params, work)
    if compensation:
        torch._foreach_copy_(compensation, [w.sub_(p) for p, w in zip(params, work, strict=True)])


def _round_at_random(wide: TensorList) -> None:
    """Make each float32 a bfloat16 above or below it, the nearer the likelier: its expectation is the float32.

    A bfloat16 is a float32 whose lower 16 bits are 0: a random number of 16 bits is added, then they are cut off. The
    generator is what this costs on a CPU, so that a draw serves two.
    """
    sizes = [w.numel() for w in wide]
    bits = [w.as_strided((n,), (1,)).view(torch.int32) for w, n in zip(wide, sizes, strict=True)]
    total = sum(sizes)
    draws = torch.randint(-(2**31), 2**31 - 1, (total // 2 + 1,), dtype=torch.int32, device=wide[0].device)
    torch._foreach_add_(bits, 2**15)  # which the draws' halves, as signed numbers, lack
    torch._foreach_add_(bits, torch.split(draws.view(torch.int16)[:total], sizes))
    for x in bits:
        x &= -(2**16)
