"""The last steps of other libraries' optimizers with Adam's moments."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .._torch import has_values
from ..states.clock import number_in
from ..states.eight_bit import has_moment, moment
from ..step.options import Group, value_of
from .slopes import LastStep, refuse_flattened

_MOMENTS = ("exp_avg", "exp_avg_sq")
# The names of classes, in any library, whose step is m_hat / (sqrt(v_hat) + eps).
_ADAMS = ("Adam", "AdamW", "RAdam", "FusedAdam", "DeepSpeedCPUAdam")


def has_moments(p: Tensor, state: dict[str, Any]) -> bool:
    """Whether a state has both of Adam's moments, one number per parameter: some optimizers keep smaller ones."""
    return all(has_moment(state, name) and state.get(name, p).shape == p.shape for name in _MOMENTS)


def refuse_other_steps(optimizer: torch.optim.Optimizer, group: Group) -> None:
    """Raise for an optimizer whose moments do not show its steps.

    Raises:
        ValueError: it is none of those that are known to take Adam's, and not derived from one.
    """
    betas = group.get("betas")
    if any(kind.__name__ in _ADAMS for kind in type(optimizer).__mro__) and isinstance(betas, tuple | list):
        return
    raise ValueError(
        f"the warmup observes Adam's steps, and {type(optimizer).__name__} is not known to take them, as "
        f"{', '.join(_ADAMS)} and classes that are derived from one do. Use a warmup that is a function of t, such as "
        "Linear"
    )


def last_steps(optimizer: torch.optim.Optimizer, group: Group, t: int) -> list[LastStep]:
    """The last step of the parameters of a group that have a gradient, in lists with the same count and device.

    Args:
        t: the count of a parameter whose state has none.

    Raises:
        RuntimeError: there are gradients, and none of these parameters has Adam's moments; or one is flattened by the
            first FSDP.
    """
    beta1, beta2 = map(value_of, group["betas"])
    steps = []
    for (count, _), params in _by_count(optimizer, group, t).items():
        states = [optimizer.state[p] for p in params]
        root_c2 = (1 - beta2**count) ** 0.5
        steps.append(
            LastStep(
                owners=[p.detach() for p in params],
                grads=[p.grad for p in params if p.grad is not None],
                m=[moment(state, "exp_avg") for state in states],
                v=[moment(state, "max_exp_avg_sq" if "max_exp_avg_sq" in state else "exp_avg_sq") for state in states],
                c1=1 - beta1**count,
                root_c2=root_c2,
                eps=float(group.get("eps", 0.0)) * root_c2,
                maximize=bool(group.get("maximize", False)),
                grad_scale=optimizer.__dict__.get("grad_scale"),
                l2=0.0 if _is_decoupled(optimizer, group) else value_of(group.get("weight_decay", 0.0)),
            )
        )
    if not steps and any(p.grad is not None for p in group["params"]):
        raise RuntimeError(
            f"a warmup observes Adam's steps, but the states of {type(optimizer).__name__} have no exp_avg and "
            "exp_avg_sq in the parameters' shapes. Use a warmup that is a function of t, such as Linear"
        )
    return steps


def _is_decoupled(optimizer: torch.optim.Optimizer, group: Group) -> bool:
    """Whether decay is no part of the gradient: by the options of torch's and other libraries' Adam, or by the name."""
    for option in ("decoupled_weight_decay", "weight_decouple", "adam_w_mode", "decouple_wd"):
        if option in group:
            return bool(group[option])
    return any(kind.__name__ == "AdamW" for kind in type(optimizer).__mro__)


def _by_count(optimizer: torch.optim.Optimizer, group: Group, t: int) -> dict[tuple[int, torch.device], list[Tensor]]:
    params = [p for p in with_gradients(group) if has_moments(p, optimizer.state.get(p, {}))]
    for p in params:
        refuse_flattened(p, "a parameter")
    found: dict[tuple[int, torch.device], list[Tensor]] = {}
    for p, count in zip(params, _counts([optimizer.state[p].get("step", t) for p in params]), strict=True):
        if count:
            found.setdefault((count, p.device), []).append(p)
    return found


def _counts(steps: list[Any]) -> list[int]:
    """Step counts as numbers; those on a device are read at once."""
    there = [step for step in steps if isinstance(step, Tensor) and not step.is_cpu and has_values(step)]
    if there and len(there) == len(steps):
        return [int(x) for x in torch.stack([step.reshape(()) for step in there]).tolist()]
    return [int(number_in(step)) for step in steps]


def with_gradients(group: Group) -> Iterator[Tensor]:
    """The parameters with a dense gradient."""
    return (p for p in group["params"] if p.grad is not None and not p.grad.is_sparse)
