"""The last steps of other libraries' optimizers with Adam's moments."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ..step.clock import number_in
from ..step.options import Group, value_of
from ..wrap.compat import lacks_v
from .slopes import LastStep

MOMENTS = ("exp_avg", "exp_avg_sq")
# By the names of their classes: moments like Adam's, but steps that are not m_hat / (sqrt(v_hat) + eps).
_OTHER_STEPS = (
    *("NAdam", "Adamax", "LAMB", "Lamb", "AdaBelief", "AdaBound", "AdaMod", "DiffGrad", "Yogi", "ScheduleFree"),
    *("Adan", "Ranger"),
)


def has_moments(p: Tensor, state: dict[str, Any]) -> bool:
    """Whether a state has both of Adam's moments, one number per parameter: some optimizers keep smaller ones."""
    return all(isinstance(m := state.get(name), Tensor) and m.shape == p.shape for name in MOMENTS)


def refuse_other_steps(optimizer: torch.optim.Optimizer, group: Group, is_known: bool = False) -> None:
    """Raise for an optimizer whose moments do not show its steps; also if that `is_known`.

    Raises:
        ValueError: it has no two betas, no v, or is known to take other steps than Adam's.
    """
    name, betas = type(optimizer).__name__, group.get("betas")
    if not isinstance(betas, tuple | list) or len(betas) != 2 or lacks_v(optimizer):
        why = "it keeps no exp_avg and exp_avg_sq"
    elif is_known or any(known in kind.__name__ for kind in type(optimizer).__mro__ for known in _OTHER_STEPS):
        why = "its steps are others"
    else:
        return
    raise ValueError(
        f"{name} cannot have a warmup that observes Adam's steps: {why}. Use a warmup that is a function of t, such as "
        "Linear"
    )


def last_steps(optimizer: torch.optim.Optimizer, group: Group, t: int) -> list[LastStep]:
    """The last step of the parameters of a group that have a gradient, in lists with the same count.

    Args:
        t: the count of a parameter whose state has none.

    Raises:
        RuntimeError: there are gradients, and none of these parameters has Adam's moments.
    """
    beta1, beta2 = map(value_of, group["betas"])
    steps = []
    for count, params in _by_count(optimizer, group, t).items():
        states = [optimizer.state[p] for p in params]
        root_c2 = (1 - beta2**count) ** 0.5
        steps.append(
            LastStep(
                owners=params,
                grads=[p.grad for p in params if p.grad is not None],
                m=[state["exp_avg"] for state in states],
                v=[state.get("max_exp_avg_sq", state["exp_avg_sq"]) for state in states],
                c1=1 - beta1**count,
                root_c2=root_c2,
                eps=float(group.get("eps", 0.0)) * root_c2,
                maximize=bool(group.get("maximize", False)),
                grad_scale=optimizer.__dict__.get("grad_scale"),
            )
        )
    if not steps and any(True for _ in with_gradients(group)):
        raise RuntimeError(
            f"a warmup observes Adam's steps, but the states of {type(optimizer).__name__} have no exp_avg and "
            "exp_avg_sq in the parameters' shapes. Use a warmup that is a function of t, such as Linear"
        )
    return steps


def _by_count(optimizer: torch.optim.Optimizer, group: Group, t: int) -> dict[int, list[Tensor]]:
    found: dict[int, list[Tensor]] = {}
    for p in with_gradients(group):
        state = optimizer.state.get(p, {})
        count = int(number_in(state.get("step", t)))
        if count and has_moments(p, state):
            found.setdefault(count, []).append(p)
    return found


def with_gradients(group: Group) -> Iterator[Tensor]:
    """The parameters with a dense gradient."""
    return (p for p in group["params"] if p.grad is not None and not p.grad.is_sparse)
