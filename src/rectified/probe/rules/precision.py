"""Updates that rounding swallows, moments in 16 bits, and an eps that dominates.

False positives: a weight is taken to move by at most lr per step, which holds for Adam in its first steps and is larger
than most later ones; rare larger steps get through rounding. Master weights in float32 that a framework keeps outside
of this optimizer are not seen.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from ...optim.base import BaseOptimizer
from ...optim.observe.packs import real_and_flat
from ...optim.states.dtensor import local_of
from ...optim.states.eight_bit import has_moment, moment
from ..finding import Finding
from ..play.own_warmup import number_of
from ..play.played import Played, PlayedGroup

_HALF_ULP = {torch.bfloat16: 2.0**-9, torch.float16: 2.0**-12}  # of a number: smaller additions round to nothing
_SAMPLE = 2**14  # elements of a tensor that are looked at


def _params(run: Played, group: PlayedGroup) -> list[Tensor]:
    return [p for index in group.indexes for p in run.optimizer.param_groups[index]["params"]]


def _sample(x: Tensor) -> Tensor:
    flat = real_and_flat(local_of(x.detach()))
    return flat[:: max(1, flat.numel() // _SAMPLE)].float()


def vanishing_updates(run: Played) -> Iterator[Finding]:
    """16-bit parameters whose update at the peak lr is below half a unit in the last place."""
    for group in run.groups:
        if group.betas is None or group.options.get("rounding", "nearest") != "nearest":
            continue
        lost = total = 0
        for p in _params(run, group):
            if p.dtype in _HALF_ULP and not p.is_meta:
                some = _sample(p).abs()
                lost += int((some * _HALF_ULP[p.dtype] > group.peak).sum())
                total += some.numel()
        if total and group.peak and lost > total / 2:
            yield Finding(
                "update-vanishes",
                "error" if lost > 0.9 * total else "warning",
                f"at lr {group.peak:.3g} the update of {lost / total:.0%} of the 16-bit weights rounds to nothing",
                'Keep float32 weights (autocast), or use rounding="kahan" or "stochastic" of rectified\'s optimizers.',
                group.indexes,
                None,
                {"share": lost / total, "peak_lr": group.peak},
                "float32 master weights that are kept elsewhere",
            )


def narrow_moments(run: Played) -> Iterator[Finding]:
    """Adam's v in 16 bits: bfloat16 cannot follow beta2 = 0.999, float16 has no number as small as eps or v."""
    for group in run.groups:
        if group.betas is None or isinstance(run.optimizer, BaseOptimizer):
            continue  # ours keep float32 moments unless asked otherwise
        kinds = {p.dtype for p in _params(run, group)} & set(_HALF_ULP)
        if not kinds or not type(run.optimizer).__module__.startswith("torch."):
            continue
        half = torch.float16 in kinds
        if half or 1 - group.betas[1] < 2.0**-8:
            yield Finding(
                "moments-in-16-bits",
                "warning",
                f"{type(run.optimizer).__name__} keeps moments in {', '.join(sorted(map(str, kinds)))}: "
                + ("eps and small v become 0" if half else f"v stalls at beta2 = {group.betas[1]:g}"),
                "Use float32 parameters with autocast, or an optimizer with float32 moments, such as rectified.AdamW.",
                group.indexes,
                None,
                {"beta2": group.betas[1], "relative_step_of_v": 1 - group.betas[1]},
                "moments that were replaced by float32 ones before the first step",
            )


def eps_dominates(run: Played) -> Iterator[Finding]:
    """eps is larger than the root of most of v, so that Adam is momentum SGD with lr / eps."""
    for group in run.groups:
        eps = number_of(group.options.get("eps"))
        if group.betas is None or not eps:
            continue
        below = total = 0
        for p in _params(run, group):
            state = run.optimizer.state.get(p, {})
            if has_moment(state, "exp_avg_sq"):
                root = _sample(moment(state, "exp_avg_sq")).sqrt() / (1 - group.betas[1] ** max(1, group.taken)) ** 0.5
            elif p.grad is not None and not p.grad.is_sparse:
                root = _sample(p.grad).abs()
            else:
                continue
            root = root[root > 0]  # an element without a gradient does not move at all
            below += int((root < eps).sum())
            total += root.numel()
        if total and below > total / 2:
            yield Finding(
                "eps-dominates",
                "warning",
                f"eps = {eps:g} is larger than sqrt(v) for {below / total:.0%} of the elements: their steps are small",
                "Use a smaller eps, or a larger loss (a mean over too many items, or a loss scale that is not undone).",
                group.indexes,
                None,
                {"eps": eps, "share": below / total},
                "Adam-eps, which uses a large eps on purpose",
            )
