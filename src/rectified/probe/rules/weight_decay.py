"""Weight decay: as L2 inside of Adam, too large for its lr, scaled by the warmup or not.

False positives: L2 in Adam is what torch.optim.Adam documents, and some recipes tune it; only 0.005 and more are
reported.
"""

from collections.abc import Iterator

from ...optim.base import BaseOptimizer
from ..finding import Finding
from ..play.own_warmup import number_of
from ..play.played import Played, PlayedGroup

_LARGE_L2 = 0.005


def _decay(run: Played, group: PlayedGroup) -> tuple[float, bool]:
    """The weight decay, and whether it is decoupled."""
    by_name = any(word in name for name in _names(run) for word in ("AdamW", "LAMB", "Lion", "Lamb"))
    decoupled = group.options.get("decoupled_weight_decay", by_name)
    return number_of(group.options.get("weight_decay")), bool(decoupled)


def _names(run: Played) -> list[str]:
    """The names of the optimizer's class and of those that it extends."""
    return [kind.__name__ for kind in type(run.optimizer).__mro__]


def l2_in_adam(run: Played) -> Iterator[Finding]:
    """A weight decay of AdamW's size is added to Adam's gradient."""
    for group in run.groups:
        decay, decoupled = _decay(run, group)
        known = any(name in ("Adam", "RAdam", "NAdam") for name in _names(run))
        if known and not decoupled and decay >= _LARGE_L2:
            yield Finding(
                "l2-in-adam",
                "warning",
                f"weight_decay is {decay:g} in {type(run.optimizer).__name__}, as L2: it goes through m and v, where "
                "its size hardly matters",
                "Use AdamW, or decoupled_weight_decay=True.",
                group.indexes,
                None,
                {"weight_decay": decay},
                "a recipe that has tuned L2 in Adam",
            )


def too_large(run: Played) -> Iterator[Finding]:
    """lr * weight_decay shrinks the weights by a large part in each step."""
    for group in run.groups:
        decay, decoupled = _decay(run, group)
        rate = decay * group.largest_lr
        if decoupled and rate >= 0.05:
            yield Finding(
                "decay-too-large",
                "error",
                f"lr * weight_decay is {rate:.3g}: every step takes {min(rate, 1):.0%} of each weight away",
                "weight_decay is multiplied by lr already; usual values are 0.01 to 0.3.",
                group.indexes,
                None,
                {"weight_decay": decay, "lr": group.largest_lr, "per_step": rate},
            )


def scaling(run: Played) -> Iterator[Finding]:
    """Whether a warmup scales the decay depends on which kind of warmup it is."""
    for group in run.groups:
        decay, decoupled = _decay(run, group)
        if not decoupled or not decay or not isinstance(run.optimizer, BaseOptimizer):
            continue
        length = min(group.omega_length, run.steps)
        if length > 1 and group.options.get("warmup") is not None:
            yield Finding(
                "decay-not-warmed-up",
                "note",
                "the weight decay is lr * weight_decay from the first step on: omega does not scale it",
                "A warmup in the schedule, or rectify(), scales it. Over a short warmup the difference is small.",
                group.indexes,
                (1, length),
                {"weight_decay": decay, "shrink": sum(group.lr[:length]) * decay},
            )
