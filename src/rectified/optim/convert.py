"""Convert state dicts of other libraries' RAdam and 8-bit Adam to ours, so that a run continues with the same steps.

    optimizer = rectified.RAdam(model.parameters())
    optimizer.load_state_dict(convert.from_optimi(saved))

There is one function per source, since a state dict does not name its class. Each takes an ``optimizer.state_dict()``
as ``torch.load(path, weights_only=True)`` returns it: plain containers and tensors. It reads no file, executes nothing
from one, and does not change its argument. The result holds moments, step counts, the options that both sides have,
and the warmup. Options that select a kernel (foreach, fused, triton) stay those of the loading optimizer.

torch.optim's own state dicts need no conversion: ``load_state_dict`` accepts them.
"""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from torch import Tensor

from ..warmup import Rectified
from ..warmup.plain import to_plain
from .convert_8bit import from_bitsandbytes, from_torchao
from .convert_format import Format, adam_state, check_name, checked_groups, rebuilt
from .states.low_precision import NARROW

__all__ = ["from_bitsandbytes", "from_optimi", "from_pytorch_optimizer", "from_radam", "from_torchao"]

OptimiName = Literal["RAdam", "Adam", "AdamW"]

_RADAM = Format(
    "the authors' RAdam",
    options=frozenset({"lr", "betas", "eps", "weight_decay"}),
    may_options=frozenset({"buffer"}),
    state=frozenset({"step", "exp_avg", "exp_avg_sq"}),
)
_PYTORCH_OPTIMIZER = Format(
    "pytorch_optimizer's RAdam",
    options=frozenset({"lr", "betas", "eps", "weight_decay", "weight_decouple", "fixed_decay"}),
    may_options=frozenset({"step", "foreach", "adanorm", "adanorm_r", "adam_debias"}),
    state=frozenset({"exp_avg", "exp_avg_sq"}),
    may_state=frozenset({"exp_grad_adanorm"}),
)
_OPTIMI = Format(
    "optimi's RAdam, Adam or AdamW",
    options=frozenset({"lr", "beta1", "beta2", "eps", "weight_decay", "decouple_wd", "decouple_lr", "kahan_sum"}),
    may_options=frozenset({"step", "setup", "foreach", "triton", "gradient_release"}),
    state=frozenset({"exp_avg", "exp_avg_sq", "kahan_comp"}),
    may_state=frozenset({"step", "group"}),
)


def from_radam(state_dict: Mapping[str, Any], *, degenerated_to_sgd: bool | None = None) -> dict[str, Any]:
    """Convert the state of the authors' RAdam (radam.py).

    That optimizer decouples weight decay, and holds parameters until rho_t >= 5 unless ``degenerated_to_sgd`` requests
    momentum steps. Its PlainRAdam and copies without a ``buffer`` (timm's RAdamLegacy, torch_optimizer's RAdam) are
    supported too; the copies always take momentum steps. In some of these, parameter groups share the first group's
    rectification or lr; here each group has its own.

    Args:
        state_dict: its ``optimizer.state_dict()``.
        degenerated_to_sgd: that optimizer's argument, which its state dict lacks. ``None`` looks at the ``buffer``,
            which shows a momentum step for ten steps, and otherwise uses the class's default, False. Once every
            parameter is past its start, this matters only for parameters that start later and for ``restart_warmup``.

    Returns:
        A state dict for ``rectified.RAdam`` or ``rectified.Adam``.

    Raises:
        ValueError: the state dict has another format.

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
    groups = checked_groups(state_dict, _RADAM)
    if degenerated_to_sgd is None:  # a row is [step, rho_t, step size]; the size is -1 for a held step
        rows = [row for group in groups for row in group.get("buffer", ()) if row[0] is not None]
        degenerated_to_sgd = any(rho < 5 and size > 0 for _, rho, size in rows)
    ours = {
        "decoupled_weight_decay": True,
        "warmup": to_plain(Rectified(start=_start(degenerated_to_sgd))),
        "eps_hat": True,
    }
    options = [{"betas": tuple(group["betas"]), "weight_decay": group["weight_decay"], **ours} for group in groups]
    return rebuilt(state_dict, _RADAM, options, lambda group, entry: adam_state(entry["step"], entry))


def from_pytorch_optimizer(
    state_dict: Mapping[str, Any],
    *,
    n_sma_threshold: float = 5,
    degenerated_to_sgd: bool = False,
    maximize: bool = False,
) -> dict[str, Any]:
    """Convert the state of pytorch_optimizer's RAdam (4.1).

    That optimizer counts the steps of a group, not of a parameter. Parameters that have stepped continue with their
    group's count. From here on each parameter counts its own steps, and one that appears later gets its own warmup.

    Args:
        state_dict: its ``optimizer.state_dict()``. Those of ADOPT, Ano and EXAdam cannot be distinguished from it.
        n_sma_threshold, degenerated_to_sgd, maximize: that optimizer's arguments, which its state dict lacks.

    Returns:
        A state dict for ``rectified.RAdam`` or ``rectified.Adam``.

    Raises:
        ValueError: the state dict has another format, or uses a feature without a counterpart here: ``adanorm``,
            ``adam_debias``, ``fixed_decay``, or weight decay that is not decoupled, which has no effect there.

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
    groups = checked_groups(state_dict, _PYTORCH_OPTIMIZER)
    for i, group in enumerate(groups):
        for name in ("adanorm", "adam_debias"):
            if group.get(name):
                raise ValueError(f"group {i} has {name}={group[name]!r}, which has no counterpart here")
        decays = group["weight_decay"] != 0
        if decays and not group["weight_decouple"]:
            raise ValueError(
                f"group {i} has weight_decay={group['weight_decay']!r} with weight_decouple=False, which "
                "pytorch_optimizer's RAdam ignores. To continue without weight decay, set the group's weight_decay to "
                "0; to start decaying, set its weight_decouple to True"
            )
        if decays and group["fixed_decay"]:
            raise ValueError(
                f"group {i} has fixed_decay=True, a weight decay that is not scaled by the lr, which has no "
                "counterpart here. At a constant lr, fixed_decay=False with weight_decay / lr is equivalent"
            )
    ours = {
        "decoupled_weight_decay": True,
        "maximize": maximize,
        "warmup": to_plain(Rectified("first-order", float(n_sma_threshold), _start(degenerated_to_sgd))),
        "eps_hat": True,
    }
    options = [{"betas": tuple(group["betas"]), "weight_decay": group["weight_decay"], **ours} for group in groups]
    return rebuilt(
        state_dict, _PYTORCH_OPTIMIZER, options, lambda group, entry: adam_state(group.get("step", 0), entry)
    )


def from_optimi(state_dict: Mapping[str, Any], optimizer: OptimiName = "RAdam") -> dict[str, Any]:
    r"""Convert the state of optimi's RAdam, Adam or AdamW (0.3).

    That optimizer stores debiased moments, and counts the steps of a group (with gradient release, of a parameter).

    .. math:: m_t = (1 - \beta_1^t)\,\hat m_t \qquad v_t = (1 - \beta_2^t)\,\hat v_t

    All forms of weight decay are converted; the fully decoupled form, ``theta *= 1 - lr / max_lr * lambda``, becomes
    decoupled with lambda / max_lr. Kahan compensation is kept and sets ``rounding="kahan"``.

    Args:
        state_dict: its ``optimizer.state_dict()``.
        optimizer: the name of its class, since optimi's RAdam and Adam save the same keys.

    Returns:
        A state dict for ``rectified.RAdam`` or ``rectified.Adam``.

    Raises:
        ValueError: the state dict has another format.

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
    check_name(optimizer, get_args(OptimiName))
    groups = checked_groups(state_dict, _OPTIMI)
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
    ours = rebuilt(state_dict, _OPTIMI, options, _optimi_entry)
    for group in ours["param_groups"]:
        if any("compensation" in ours["state"].get(key, {}) for key in group["params"]):
            group["rounding"] = "kahan"
    return ours


def _optimi_entry(group: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    step = entry.get("step", group.get("step", 0))  # with gradient release the group's count is not used
    ours = adam_state(step, entry)
    for name, beta in (("exp_avg", group["beta1"]), ("exp_avg_sq", group["beta2"])):
        debiased = entry[name]
        if debiased.dtype in NARROW:  # in 16 bits, a small v would round to 0
            debiased = debiased.float()
        ours[name] = debiased * (1 - beta ** int(step))
    lost = entry["kahan_comp"]
    if (
        group["kahan_sum"] and isinstance(lost, Tensor) and lost.dtype in NARROW
    ):  # with Triton, other parameters have a placeholder
        ours["compensation"] = lost
    return ours


def _start(degenerated_to_sgd: bool) -> Literal["momentum", "hold"]:
    return "momentum" if degenerated_to_sgd else "hold"
