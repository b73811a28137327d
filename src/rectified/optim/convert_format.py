"""The formats of other libraries' optimizer states: how one is checked, and how ours is built from it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# Keys that torch and its schedulers add to the groups of any optimizer.
_PASSED_ON = {"initial_lr", "min_lr", "max_lr", "base_momentum", "max_momentum", "swa_lr", "param_names"}


@dataclass(frozen=True)
class Format:
    """The format of a source: the keys of its groups and of parameter states; those in ``may`` are optional."""

    whose: str
    options: frozenset[str]
    may_options: frozenset[str]
    state: frozenset[str]
    may_state: frozenset[str] = frozenset()


_SIGNS = {
    "buffer": "the authors' RAdam, which from_radam converts",
    "weight_decouple": "an optimizer of pytorch_optimizer; from_pytorch_optimizer converts its RAdam",
    "decouple_lr": "an optimizer of optimi; from_optimi converts its RAdam, Adam and AdamW",
    "t_alpha": "an optimizer of bitsandbytes; from_bitsandbytes converts its Adam and AdamW",
    "capturable": "an optimizer of torch.optim or rectified, which load_state_dict accepts without conversion",
    "amsgrad": "an Adam of torchao, which from_torchao converts",  # the last, since others have it too
}


def check_name(optimizer: str, names: tuple[str, ...]) -> None:
    """Refuse the name of a class that a converter does not know."""
    if optimizer not in names:
        raise ValueError(f"optimizer is {optimizer!r}; it must be one of {', '.join(map(repr, names))}")


def checked_groups(state_dict: Mapping[str, Any], form: Format) -> list[Mapping[str, Any]]:
    """Check that a state dict has this format, and return its parameter groups."""
    if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= state_dict.keys():
        what = f"a dict with {_listed(state_dict)}" if isinstance(state_dict, Mapping) else type(state_dict).__name__
        raise ValueError(f"this is {what}; an optimizer's state_dict has state and param_groups")
    groups: list[Mapping[str, Any]] = state_dict["param_groups"]
    known = form.options | form.may_options
    for i, group in enumerate(groups):
        names = group.keys() - {"params"} - _PASSED_ON
        missing, extra = form.options - names, names - known
        if not missing and not extra:
            continue
        problem = f"lacks {_listed(missing)}" if missing else f"has {_listed(extra)}"
        hints = [f". It looks like {what}" for sign, what in _SIGNS.items() if sign in extra]
        if not missing:
            hints.append(
                ". If you added that key, remove it: the loading optimizer keeps options that a saved state lacks"
            )
        raise ValueError(f"this is not the state of {form.whose}: group {i} {problem}{''.join(hints[:1])}")
    return groups


def rebuilt(
    state_dict: Mapping[str, Any],
    form: Format,
    options: list[dict[str, Any]],
    converted: Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]],
) -> dict[str, Any]:
    """Build our state dict from options, and from each parameter's state through ``converted(group, state)``."""
    state, groups = {}, []
    for group, ours in zip(state_dict["param_groups"], options, strict=True):
        both = {name: group[name] for name in ("lr", "eps")}
        passed_on = {name: x for name, x in group.items() if name in _PASSED_ON and x is not None}
        common = {"amsgrad": False, "maximize": False, "params": list(group["params"])}
        groups.append({**both, **passed_on, **common, **ours})
        for key in group["params"]:
            entry = state_dict["state"].get(key, {})
            if entry.keys() <= form.may_state:
                continue  # it has not stepped yet
            if not form.state <= entry.keys() <= form.state | form.may_state:
                raise ValueError(
                    f"this is not the state of {form.whose}: parameter {key!r} has {_listed(entry)}, "
                    f"instead of {_listed(form.state)}"
                )
            try:
                state[key] = converted(group, entry)
            except ValueError as error:
                raise ValueError(f"parameter {key!r}: {error}") from error
    return {"state": state, "param_groups": groups}


def adam_state(step: int | Tensor, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Our state of a parameter: its step count, and the moments of ``entry``."""
    return {
        "step": torch.tensor(float(step)),
        "exp_avg": entry["exp_avg"],
        "exp_avg_sq": entry["exp_avg_sq"],
    }


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(sorted(map(str, names))) or "nothing"
