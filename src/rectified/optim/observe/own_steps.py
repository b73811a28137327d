"""Observation in this package's own optimizers: where a warmup may observe, and what it is passed before a step."""

from typing import TYPE_CHECKING

from ...warmup.interface import as_warmup
from ..states.clock import number_in
from ..step.options import Group
from .feedback import Part, Undo, observe
from .remembered import all_over, memories, needs_slopes, observing

if TYPE_CHECKING:
    from ..base import BaseOptimizer, Work


def refuse_observation(optimizer: "BaseOptimizer", group: Group) -> None:
    """Raise for a group whose warmup observes the run where it cannot.

    Raises:
        ValueError: the steps are capturable, or the warmup observes slopes and the steps are not Adam's.
    """
    warmup = group.get("warmup")
    if not observing(warmup):
        return
    if group.get("capturable"):
        raise ValueError(
            f"{warmup!r} observes the run, which the host reads at every step, and capturable steps never wait for the "
            "host: use capturable=False, or a warmup that is a function of t, such as Linear"
        )
    if "slopes" in as_warmup(warmup).observes and not optimizer.OBSERVABLE:
        raise ValueError(
            f"{warmup!r} observes Adam's steps, and {type(optimizer).__name__} takes others: use it with Adam or "
            "AdamW, or a warmup that is a function of t, such as Linear"
        )


def observe_last_step(optimizer: "BaseOptimizer", work: "list[Work]") -> Undo:
    """Pass what the last step did to the warmups that observe the run; omega of the planned step depends on it.

    Raises:
        ValueError: as :func:`refuse_observation`; and as :func:`.feedback.observe`.
    """
    parts, idle = [], set()
    for group, plan, found in work:
        if not observing(group.get("warmup")):
            continue
        warmup = as_warmup(group["warmup"])
        if all_over(memories(group, warmup)) and all(here.bucket.t for here in found):
            continue
        refuse_observation(optimizer, group)
        for here in found:
            before = here.bucket.t - here.bucket.again
            # A parameter that is listed twice counts once.
            knows = before and not here.bucket.again and needs_slopes(warmup, here.t)
            last = [optimizer.last_step(group, here)] if knows else []
            parts.append(Part(group, warmup, here.t, before, float(optimizer.beta2(group)), last))
        for i in plan.idle:
            state = optimizer.state.get(group["params"][i], {})
            idle.add((id(group), int(number_in(state.get("step", 0)))))
    return observe(parts, optimizer.observed_loss, idle)
