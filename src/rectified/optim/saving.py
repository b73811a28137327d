"""Saving and loading optimizer states: states are checked and copied before anything is replaced."""

from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..warmup.plain import KINDS, to_plain
from .observe.remembered import refuse_memories
from .states.clock import number_in, refuse_count
from .states.eight_bit import scale_of
from .step.options import CLOCK, OBSERVED, Group

if TYPE_CHECKING:
    from .base import BaseOptimizer

# So that torch.load(weights_only=True) accepts states with warmup objects, which other code may have saved, also with
# 0.1.0, in which rectified.warmup was one module.
torch.serialization.add_safe_globals([*KINDS, *((kind, f"rectified.warmup.{kind.__name__}") for kind in KINDS)])


def save_warmup(group: Group) -> Group:
    """A saved group with its warmup as plain values, or without its warmup if that is not one of ours."""
    warmup = group.get("warmup")
    if warmup is None:
        return group
    plain = to_plain(warmup)
    rest = {name: x for name, x in group.items() if name != "warmup"}
    return rest if plain is None else {**rest, "warmup": plain}


def read_save(optimizer: "BaseOptimizer", state_dict: dict[str, Any]) -> tuple[list[Group], dict[Any, Any]]:
    """Read the groups and states of a saved state, converted for this optimizer."""
    saved_groups, saved_state = state_dict["param_groups"], state_dict["state"]
    if len(saved_groups) != len(optimizer.param_groups):
        raise ValueError("loaded state dict has a different number of parameter groups")
    groups: list[Group] = []
    keys: dict[Any, Tensor] = {}
    for ours, saved in zip(optimizer.param_groups, saved_groups, strict=True):
        if len(ours["params"]) != len(saved["params"]):
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
            )
        keys.update(zip(saved["params"], ours["params"], strict=True))
        options = {name: deepcopy(x) for name, x in saved.items() if name not in ("params", "param_names")}
        rest = {name: x for name, x in ours.items() if name not in options and name not in (CLOCK, OBSERVED)}
        if CLOCK in options:
            refuse_count(options[CLOCK], f"group {len(groups)}", ValueError)
        refuse_memories(options.get(OBSERVED, ()), f"group {len(groups)}")
        group = {**rest, **optimizer.adopt(options)}
        optimizer.check(group)
        groups.append(group)
    names = {
        p: name for group in groups for p, name in zip(group["params"], group.get("param_names", ()), strict=False)
    }
    state: dict[Any, Any] = {}
    for key, entry in saved_state.items():
        p = keys.get(key)
        state[key if p is None else p] = (
            deepcopy(entry) if p is None else _read_entry(optimizer, p, entry, names.get(p, f"parameter {key}"))
        )
    return groups, state


def _read_entry(optimizer: "BaseOptimizer", p: Tensor, entry: Any, whose: str) -> dict[str, Any]:
    """Copy a parameter's saved state.

    Raises:
        ValueError: it belongs to another optimizer, does not fit the parameter, or cannot be copied.
    """
    if not isinstance(entry, Mapping):
        raise ValueError(f"the saved state of {whose} is {entry!r}; it must be a dict")
    *first, last = optimizer.required_states()
    present = {name.removesuffix("_codes") if name in optimizer.STATES else name for name in entry}
    if entry and not {*first, last} <= present:
        raise ValueError(
            f"the saved state of {whose} has {', '.join(map(str, entry))}, but not all of {', '.join(first)} and "
            f"{last}: it belongs to another optimizer"
        )
    own = {}
    for name, x in entry.items():
        if name in optimizer.STATES:
            if not isinstance(x, Tensor):
                raise ValueError(f"the saved {name} of {whose} is {x!r}; it must be a tensor")
            if x.layout is not torch.strided or x.is_complex() != p.is_complex():
                raise ValueError(
                    f"the saved {name} of {whose} is {x.layout}, {x.dtype}, but the parameter is {p.dtype}"
                )
            if name.endswith("_codes") and (scale := scale_of(name.removesuffix("_codes"))) not in entry:
                raise ValueError(f"the save has {name} of {whose}, without {scale}")
            if x.shape != optimizer.state_shape(p, name):
                raise ValueError(
                    f"the saved {name} of {whose} has shape {tuple(x.shape)}, but the parameter has {tuple(p.shape)}: "
                    "the state belongs to another model, or its parameters have another order"
                )
        elif name == "step" or name in optimizer.SCALARS:
            if isinstance(x, Tensor) and x.numel() != 1:
                raise ValueError(f"the saved {name} of {whose} has shape {tuple(x.shape)}; it must be one number")
            if not isinstance(x, Tensor):  # older saves have a plain number
                x = torch.tensor(float(x), dtype=torch.float64 if name in optimizer.SCALARS else torch.float32)
            if name == "step":
                refuse_count(number_in(x), whose, ValueError)
        own[name] = _copy(x, p.device if name in optimizer.STATES else None, f"{name} of {whose}")
    return own


def _copy(x: Any, device: torch.device | None, what: str) -> Any:
    """Copy a saved value to a device.

    Raises:
        ValueError: it cannot be copied, as some of torchao's tensors cannot.
    """
    if not isinstance(x, Tensor):
        return deepcopy(x)
    try:
        moved = x if device is None else x.to(device=device)
        return moved.clone() if moved is x else moved
    except Exception as error:
        raise ValueError(f"the saved {what} is a {type(x).__name__} that cannot be copied: {error}") from error
