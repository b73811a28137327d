"""The numbers of a step, from its count: bias corrections, omega, what the start does. Written once for all paths."""

import math
from typing import Any, NamedTuple


class Coefficients(NamedTuple):
    """At one count; where the count is on the device, tensors of one element."""

    scale: Any  # of m / (sqrt(v) + eps), but for lr
    momentum: Any  # of m alone, but for lr
    moves: Any  # 1 where the parameters may move, else 0
    m_moves: Any  # 1 where m does
    root_c2: Any  # sqrt(1 - beta2^t)
    omega: Any


def coefficients(group: dict[str, Any], t: int, omega: float) -> Coefficients:
    """Those of the group's step t, for this omega."""
    warmup = group["warmup"]
    beta1, beta2 = map(float, group["betas"])
    root_c2 = math.sqrt(1 - beta2**t)
    m_steps = t - getattr(warmup, "m_delay", 0)
    c1 = 1 - beta1**m_steps if m_steps > 0 else 1.0
    starts = not omega and m_steps > 0 and getattr(warmup, "start", "hold") == "momentum"
    return Coefficients(
        scale=omega * root_c2 / c1,
        momentum=1 / c1 if starts else 0.0,
        moves=float(omega > 0 or starts),
        m_moves=float(m_steps > 0),
        root_c2=root_c2,
        omega=omega,
    )
