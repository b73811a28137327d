"""RAdam's start: a beta2 at which it never ends, and momentum steps with huge gradients.

False positives: gradients are those that the parameters have now. They may come from another loss scale, or be
clipped before the step.
"""

import math
from collections.abc import Iterator

from torch import Tensor

from ...optim.observe.packs import real_and_flat
from ...theory import rho_inf
from ..finding import Finding
from ..play.own_warmup import rectification_of
from ..play.played import Played

_THRESHOLD = 5.0
_HUGE = 0.3  # of the weights' size, in one step


def _square(x: Tensor) -> float:
    """The sum of squares."""
    return float(real_and_flat(x).double().square().sum())


def never_leaves_start(run: Played) -> Iterator[Finding]:
    """beta2 is so small that rho_t never exceeds the threshold."""
    for group in run.groups:
        warmup = rectification_of(run.optimizer, group.options)
        if warmup is None or group.betas is None:
            continue
        (beta1, beta2), threshold = group.betas, warmup.threshold or _THRESHOLD
        if rho_inf(beta2) <= threshold and not any(group.omega):
            start = "momentum SGD" if warmup.start == "momentum" else "in which no parameter moves"
            yield Finding(
                "never-leaves-start",
                "error",
                f"at beta2 = {beta2:g}, rho_inf is {rho_inf(beta2):.3g}: RAdam stays in its start, {start}",
                f"Use beta2 above {max(beta1, 1 - 2 / (threshold + 1)):.3g}, or Adam without rectification: at this "
                "beta2 no warmup is needed.",
                group.indexes,
                (1, run.steps),
                {"beta2": beta2, "rho_inf": rho_inf(beta2), "threshold": threshold},
            )


def huge_gradients(run: Played) -> Iterator[Finding]:
    """The momentum start multiplies raw gradients, which are huge."""
    for group in run.groups:
        warmup = rectification_of(run.optimizer, group.options)
        if warmup is None or warmup.start != "momentum" or group.taken or group.omega[0]:
            continue
        params = [p for index in group.indexes for p in run.optimizer.param_groups[index]["params"]]
        pairs = [(p.detach(), p.grad.detach()) for p in params if p.grad is not None and not p.grad.is_sparse]
        if not pairs:
            continue
        step = group.lr[0] * math.sqrt(sum(_square(g) for _, g in pairs))
        size = math.sqrt(sum(_square(p) for p, _ in pairs))
        if size and step > _HUGE * size:
            yield Finding(
                "huge-momentum-start",
                "error" if step > 3 * size else "warning",
                f"RAdam's first steps are lr * m_hat, {step / size:.3g} times the size of the weights",
                'Use start="hold", which skips these steps, or clip the gradients.',
                group.indexes,
                (1, next((t for t, omega in enumerate(group.omega) if omega), run.steps)),
                {"step": step, "weights": size, "ratio": step / size},
                "gradients that are clipped, or unscaled, before the step",
            )
