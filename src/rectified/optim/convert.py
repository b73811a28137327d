"""Other RAdams' state dicts as ours: a run that was begun there goes on here, with the steps it would have taken there.

    optimizer = rectified.RAdam(model.parameters())
    optimizer.load_state_dict(convert.from_optimi(saved))

One function a source, for no state dict names its class. Each takes what ``torch.load(path, weights_only=True)`` gives
of an ``optimizer.state_dict()``: plain containers and tensors. It reads no file, runs nothing that was in one, and
leaves its argument as it was. What the result holds is loaded: moments, step counts, and the options that both sides
have, with the warmup. Options of which path to take (foreach, fused, triton) stay the loading optimizer's.

torch.optim's own state dicts need none of this: ``load_state_dict`` takes them as they are.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ..warmup import Rectified, to_plain
from .step.low_precision import NARROW

__all__ = ["from_optimi", "from_pytorch_optimizer", "from_radam"]

OptimiName = Literal["RAdam", "Adam", "AdamW"]

# What torch and its schedulers write into a group of any optimizer.
_PASSED_ON = {"initial_lr", "min_lr", "max_lr", "base_momentum", "max_momentum", "swa_lr", "param_names"}


@dataclass(frozen=True)
class _Format:
    """The keys of a source's groups and of the state of a parameter that has stepped; a ``may`` may be missing."""

    whose: str
    options: frozenset[str]
    may_options: frozenset[str]
    state: frozenset[str]
    may_state: frozenset[str] = frozenset()


_RADAM = _Format(
    "the authors' RAdam",
    options=frozenset({"lr", "betas", "eps", "weight_decay"}),
    may_options=frozenset({"buffer"}),
    state=frozenset({"step", "exp_avg", "exp_avg_sq"}),
)
_PYTORCH_OPTIMIZER = _Format(
    "pytorch_optimizer's RAdam",
    options=frozenset({"lr", "betas", "eps", "weight_decay", "weight_decouple", "fixed_decay"}),
    may_options=frozenset({"step", "foreach", "adanorm", "adanorm_r", "adam_debias"}),
    state=frozenset({"exp_avg", "exp_avg_sq"}),
    may_state=frozenset({"exp_grad_adanorm"}),
)
_OPTIMI = _Format(
    "optimi's RAdam, Adam or AdamW",
    options=frozenset({"lr", "beta1", "beta2", "eps", "weight_decay", "decouple_wd", "decouple_lr", "kahan_sum"}),
    may_options=frozenset({"step", "setup", "foreach", "triton", "gradient_release"}),
    state=frozenset({"exp_avg", "exp_avg_sq", "kahan_comp"}),
    may_state=frozenset({"step", "group"}),
)
_SIGNS = {
    "buffer": "the authors' RAdam, which from_radam takes",
    "weight_decouple": "one of pytorch_optimizer's, of which from_pytorch_optimizer takes RAdam",
    "decouple_lr": "one of optimi's, of which from_optimi takes RAdam, Adam and AdamW",
    "capturable": "torch.optim's or rectified's, which load_state_dict takes as it is",
}


def from_radam(state_dict: Mapping[str, Any], *, degenerated_to_sgd: bool | None = None) -> dict[str, Any]:
    """The state of the authors' RAdam (radam.py), as ours.

    It decouples the weight decay, and holds still until rho_t >= 5, unless ``degenerated_to_sgd`` says to take momentum
    steps. Its PlainRAdam and the copies without a ``buffer`` (timm's RAdamLegacy, torch_optimizer's RAdam) are
    taken too; the copies always take momentum steps. Some of these let parameter groups share the first one's
    rectification, or its lr; here each has its own.

    Args:
        state_dict: its ``optimizer.state_dict()``.
        degenerated_to_sgd: what that optimizer was told; no state dict has it. ``None`` asks the ``buffer``, in which a
            momentum step shows for ten steps, and else takes the class's default, False. Once every parameter is past
            its start, this matters to parameters that begin later, and to ``restart_warmup``.

    Returns:
        A state dict for ``rectified.RAdam`` or ``rectified.Adam``.

    Raises:
        ValueError: the state dict is not one of these.

    >>> import torch, rectified
    >>> saved = {
    ...     "state": {0: {"step": 3, "exp_avg": torch.ones(1), "exp_avg_sq": torch.ones(1)}},
    ...     "param_groups": [
    ...         {"lr": 0.1, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01,
    ...          "buffer": [[3, 2.998, -1]], "params": [0]}
    ...     ],
    ... }
    >>> optimizer = rectified.RAdam([torch.nn.Parameter(torch.ones(1))])
    >>> optimizer.load_state_dict(from_radam(saved))
    >>> optimizer.param_groups[0]["warmup"].start, rectified.explain(optimizer)[0].t
    ('hold', 4)

    Reference: github.com/LiyuanLucasLiu/RAdam, radam/radam.py.
    """
    groups = _groups(state_dict, _RADAM)
    if degenerated_to_sgd is None:  # a row is [step, rho_t, step size]; where nothing moves that size is -1
        rows = [row for group in groups for row in group.get("buffer", ()) if row[0] is not None]
        degenerated_to_sgd = any(rho < 5 and size > 0 for _, rho, size in rows)
    ours = {
        "decoupled_weight_decay": True,
        "warmup": to_plain(Rectified(start=_start(degenerated_to_sgd))),
        "eps_hat": True,
    }
    options = [{"betas": tuple(group["betas"]), "weight_decay": group["weight_decay"], **ours} for group in groups]
    return _rebuilt(state_dict, _RADAM, options, lambda group, entry: _entry(entry["step"], entry))


def from_pytorch_optimizer(
    state_dict: Mapping[str, Any],
    *,
    n_sma_threshold: float = 5,
    degenerated_to_sgd: bool = False,
    maximize: bool = False,
) -> dict[str, Any]:
    """The state of pytorch_optimizer's RAdam (4.1), as ours.

    It counts the steps of a group, not of a parameter. The parameters that have stepped go on with their group's count,
    as there; from here on each counts its own, and one that appears later gets a warmup of its own.

    Args:
        state_dict: its ``optimizer.state_dict()``. ADOPT's, Ano's and EXAdam's cannot be told from it.
        n_sma_threshold, degenerated_to_sgd, maximize: what that optimizer was told; no state dict has it.

    Returns:
        A state dict for ``rectified.RAdam`` or ``rectified.Adam``.

    Raises:
        ValueError: the state dict is not one of these; or uses what has no counterpart here: ``adanorm``,
            ``adam_debias``, a ``fixed_decay``, or a weight decay that is not decoupled, which has no effect there.

    >>> import torch, rectified
    >>> moments = {"exp_avg": torch.ones(1), "exp_avg_sq": torch.ones(1)}
    >>> group = {"lr": 0.1, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "weight_decouple": True,
    ...          "fixed_decay": False, "foreach": None, "step": 3, "params": [0]}
    >>> optimizer = rectified.RAdam([torch.nn.Parameter(torch.ones(1))])
    >>> saved = {"state": {0: moments}, "param_groups": [group]}
    >>> optimizer.load_state_dict(from_pytorch_optimizer(saved, degenerated_to_sgd=True))
    >>> optimizer.param_groups[0]["warmup"].start, rectified.explain(optimizer)[0].t
    ('momentum', 4)

    Reference: github.com/kozistr/pytorch_optimizer, pytorch_optimizer/optimizer/radam.py at 4.1.0.
    """
    groups = _groups(state_dict, _PYTORCH_OPTIMIZER)
    for i, group in enumerate(groups):
        for name in ("adanorm", "adam_debias"):
            if group.get(name):
                raise ValueError(f"group {i} has {name}={group[name]!r}, which has no counterpart here")
        decays = group["weight_decay"] != 0
        if decays and not group["weight_decouple"]:
            raise ValueError(
                f"group {i} has weight_decay={group['weight_decay']!r} with weight_decouple=False, which "
                "pytorch_optimizer's RAdam leaves without effect. To go on without it, set the group's weight_decay to "
                "0; to begin to decay, set its weight_decouple to True"
            )
        if decays and group["fixed_decay"]:
            raise ValueError(
                f"group {i} has fixed_decay=True, a weight decay that the lr does not scale: it has no counterpart "
                "here. At a constant lr, fixed_decay=False with weight_decay / lr is the same"
            )
    ours = {
        "decoupled_weight_decay": True,
        "maximize": maximize,
        "warmup": to_plain(Rectified("first-order", float(n_sma_threshold), _start(degenerated_to_sgd))),
        "eps_hat": True,
    }
    options = [{"betas": tuple(group["betas"]), "weight_decay": group["weight_decay"], **ours} for group in groups]
    return _rebuilt(state_dict, _PYTORCH_OPTIMIZER, options, lambda group, entry: _entry(group.get("step", 0), entry))


def from_optimi(state_dict: Mapping[str, Any], optimizer: OptimiName = "RAdam") -> dict[str, Any]:
    r"""The state of optimi's RAdam, Adam or AdamW (0.3), as ours.

    It keeps the moments debiased, and counts the steps of a group (with gradient release, of a parameter).

    .. math:: m_t = (1 - \beta_1^t)\,\hat m_t \qquad v_t = (1 - \beta_2^t)\,\hat v_t

    Weight decay is carried over in all its forms; fully decoupled, ``theta *= 1 - lr / max_lr * lambda``, is decoupled
    with lambda / max_lr. Kahan's compensations are ours, and bring ``rounding="kahan"`` with them.

    Args:
        state_dict: its ``optimizer.state_dict()``.
        optimizer: the class that it is of: optimi's RAdam and Adam save the same keys.

    Returns:
        A state dict for ``rectified.RAdam`` or ``rectified.Adam``.

    Raises:
        ValueError: the state dict is not one of these.

    >>> import torch, rectified
    >>> debiased = {"exp_avg": torch.ones(1), "exp_avg_sq": torch.ones(1), "kahan_comp": None}
    >>> group = {"lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-6, "weight_decay": 0.01, "decouple_wd": True,
    ...          "decouple_lr": False, "max_lr": None, "kahan_sum": None, "step": torch.tensor(2), "params": [0]}
    >>> ours = from_optimi({"state": {0: debiased}, "param_groups": [group]})
    >>> ours["state"][0]["exp_avg"], ours["state"][0]["exp_avg_sq"]
    (tensor([0.1900]), tensor([0.0199]))
    >>> optimizer = rectified.RAdam([torch.nn.Parameter(torch.ones(1))])
    >>> optimizer.load_state_dict(ours)
    >>> optimizer.param_groups[0]["betas"], rectified.explain(optimizer)[0].t
    ((0.9, 0.99), 3)

    Reference: github.com/warner-benjamin/optimi, optimi/radam.py at 0.3.3.
    """
    if optimizer not in get_args(OptimiName):
        raise ValueError(f"optimizer is {optimizer!r}; it must be one of {', '.join(map(repr, get_args(OptimiName)))}")
    groups = _groups(state_dict, _OPTIMI)
    warmup = to_plain(Rectified()) if optimizer == "RAdam" else None
    options = []
    for i, group in enumerate(groups):
        decay = group["weight_decay"]
        if decay != 0 and group["decouple_lr"]:
            if not group.get("max_lr"):
                raise ValueError(f"group {i} has decouple_lr=True, but max_lr={group.get('max_lr')!r}")
            decay /= group["max_lr"]
        options.append(
            {
                "betas": (group["beta1"], group["beta2"]),
                "weight_decay": decay,
                "decoupled_weight_decay": bool(group["decouple_wd"] or group["decouple_lr"]),
                "warmup": warmup,
                "eps_hat": False,
            }
        )
    ours = _rebuilt(state_dict, _OPTIMI, options, _optimi_entry)
    for group in ours["param_groups"]:
        if any("compensation" in ours["state"].get(key, {}) for key in group["params"]):
            group["rounding"] = "kahan"
    return ours


def _optimi_entry(group: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    step = entry.get("step", group.get("step", 0))  # with gradient release the group's count is not in use
    ours = _entry(step, entry)
    for name, beta in (("exp_avg", group["beta1"]), ("exp_avg_sq", group["beta2"])):
        debiased = entry[name]
        if debiased.dtype in NARROW:  # in 16 bits a small v would round to 0
            debiased = debiased.float()
        ours[name] = debiased * (1 - beta ** int(step))
    lost = entry["kahan_comp"]
    if group["kahan_sum"] and isinstance(lost, Tensor) and lost.dtype in NARROW:  # for Triton others have a placeholder
        ours["compensation"] = lost
    return ours


def _start(degenerated_to_sgd: bool) -> Literal["momentum", "hold"]:
    return "momentum" if degenerated_to_sgd else "hold"


def _entry(step: int | Tensor, entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "step": torch.tensor(float(step)),
        "exp_avg": entry["exp_avg"],
        "exp_avg_sq": entry["exp_avg_sq"],
    }


def _groups(state_dict: Mapping[str, Any], form: _Format) -> list[Mapping[str, Any]]:
    """The parameter groups, once they are known to be of this format."""
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
            hints.append(". If that is your own, take it out: what a save lacks, the loading optimizer keeps")
        raise ValueError(f"this is not the state of {form.whose}: group {i} {problem}{''.join(hints[:1])}")
    return groups


def _rebuilt(
    state_dict: Mapping[str, Any],
    form: _Format,
    options: list[dict[str, Any]],
    converted: Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]],
) -> dict[str, Any]:
    """Our state dict of these options, and of every parameter's state as ``converted(group, state)``."""
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
            state[key] = converted(group, entry)
    return {"state": state, "param_groups": groups}


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(sorted(map(str, names))) or "nothing"
