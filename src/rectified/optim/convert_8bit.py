"""Convert state dicts of 8-bit Adam, whose moments are codes with a scale per block, to ours with float32 moments.

:mod:`rectified.optim.convert` hands these functions on.
"""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from .convert_format import Format, adam_state, check_name, checked_groups, rebuilt
from .states.dtensor import is_sharded

TorchaoName = Literal["Adam", "AdamW"]

_BITSANDBYTES = Format(
    "bitsandbytes' Adam or AdamW",
    options=frozenset({"lr", "betas", "eps", "weight_decay"}),
    may_options=frozenset({"alpha", "t_alpha", "t_beta3"}),  # AdEMAMix's, in the groups of all
    state=frozenset({"step", "state1", "state2"}),
    may_state=frozenset({"qmap1", "qmap2", "absmax1", "absmax2"}),
)
_TORCHAO = Format(
    "torchao's Adam or AdamW",
    options=frozenset({"lr", "betas", "eps", "weight_decay", "amsgrad"}),
    may_options=frozenset(),
    state=frozenset({"step", "exp_avg", "exp_avg_sq"}),
    may_state=frozenset({"max_exp_avg_sq"}),
)
_WRAPPED = "__bnb_optimizer_quant_state__"  # since 0.49.2, the dict that hides codes and scales from FSDP
_BLOCK_SIZES = (256, 2048)  # the second before 0.44
_WITHOUT_COUNTERPART = {
    "max1": "block_wise=False",
    "gnorm_vec": "percentile_clipping",
    "unorm_vec": "max_unorm (LAMB, LARS)",
}


def from_bitsandbytes(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    r"""Convert the state of bitsandbytes' Adam or AdamW, of 8 or 32 bits, paged or not (0.45 to 0.50).

    A moment is saved as codes c, a map q from codes to [-1, 1], and the largest magnitude a of each block of B = 256
    elements (2048 before 0.44), counted through the tensor's memory:

    .. math:: m_i = q(c_i)\, a_{\lfloor i / B \rfloor}

    Tensors below 4,096 elements have float32 moments there. Here all moments become float32.

    Weight decay becomes decoupled, whatever the class: bitsandbytes' Adam decouples it too. Its CUDA kernels decay
    after the update and its other kernels before it, as here. After a run on CUDA, each step therefore differs by
    ``lr * weight_decay`` times the update.

    Args:
        state_dict: its ``optimizer.state_dict()``. A tensor that is not contiguous, such as one in channels_last, is
            read in memory order. The CUDA kernels write it like that, but the CPU kernels of 0.50 do not: call
            ``contiguous()`` on such tensors of a run on a CPU. Overrides made with GlobalOptimManager are in no state
            dict.

    Returns:
        A state dict for ``rectified.AdamW`` or ``rectified.Adam``.

    Raises:
        ValueError: the state dict has another format, such as that of LAMB or AdEMAMix, or uses a feature without a
            counterpart here: ``percentile_clipping``, ``max_unorm`` or ``block_wise=False``.

    >>> import torch, rectified
    >>> entry = {
    ...     "step": 3,
    ...     "state1": torch.tensor([0, 1], dtype=torch.uint8), "qmap1": torch.linspace(-1, 1, 256),
    ...     "state2": torch.tensor([255, 0], dtype=torch.uint8), "qmap2": torch.linspace(0, 1, 256),
    ...     "absmax1": torch.tensor([0.5]), "absmax2": torch.tensor([0.25]),
    ... }
    >>> group = {"lr": 0.1, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01,
    ...          "alpha": 0.0, "t_alpha": None, "t_beta3": None, "params": [0]}
    >>> ours = from_bitsandbytes({"state": {0: entry}, "param_groups": [group]})
    >>> ours["state"][0]["exp_avg"], ours["state"][0]["exp_avg_sq"]
    (tensor([-0.5000, -0.4961]), tensor([0.2500, 0.0000]))
    >>> optimizer = rectified.AdamW([torch.nn.Parameter(torch.ones(2))])
    >>> optimizer.load_state_dict(ours)
    >>> optimizer.param_groups[0]["lr"], rectified.explain(optimizer)[0].t
    (0.1, 4)

    Reference: github.com/bitsandbytes-foundation/bitsandbytes, bitsandbytes/optim/optimizer.py at 0.50.2 and
    csrc/kernels.cu; arXiv:2110.02861.
    """
    groups = checked_groups(state_dict, _BITSANDBYTES)
    options = []
    for i, group in enumerate(groups):
        if group.get("alpha") or len(group["betas"]) != 2:
            raise ValueError(
                f"group {i} has alpha={group.get('alpha')!r} and betas={group['betas']!r}: this is AdEMAMix, which has "
                "no counterpart here"
            )
        options.append(
            {
                "betas": tuple(group["betas"]),
                "weight_decay": group["weight_decay"],
                "decoupled_weight_decay": True,
                "warmup": None,
                "eps_hat": False,
            }
        )
    state = {key: _unwrapped(key, entry) for key, entry in state_dict["state"].items()}
    return rebuilt({"state": state, "param_groups": groups}, _BITSANDBYTES, options, _bitsandbytes_entry)


def from_torchao(state_dict: Mapping[str, Any], optimizer: TorchaoName = "AdamW") -> dict[str, Any]:
    """Convert the state of torchao's Adam or AdamW of 8 bits, 4 bits or fp8 (0.18).

    Its moments are tensor subclasses with a method ``dequantize()``, and ordinary tensors where they are small or do
    not divide into blocks. Here all moments become float32.

    Args:
        state_dict: its ``optimizer.state_dict()``. ``torch.load`` reads a file with it after ``import torchao.optim``.
        optimizer: the name of its class without 8bit, 4bit or Fp8, since both save the same keys. AdamW decouples
            weight decay; Adam adds it to the gradient.

    Returns:
        A state dict for ``rectified.AdamW`` or ``rectified.Adam``; a decaying Adam continues only as the latter, since
        ``rectified.AdamW`` decouples the decay of what it loads.

    Raises:
        ValueError: the state dict has another format, or moments that are sharded (DTensor).

    >>> import torch, rectified
    >>> group = {"lr": torch.tensor(0.5), "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01, "amsgrad": False,
    ...          "params": [0]}
    >>> entry = {"step": torch.tensor(3.0), "exp_avg": torch.ones(2), "exp_avg_sq": torch.ones(2)}
    >>> optimizer = rectified.Adam([torch.nn.Parameter(torch.ones(2))])
    >>> optimizer.load_state_dict(from_torchao({"state": {0: entry}, "param_groups": [group]}, "Adam"))
    >>> optimizer.param_groups[0]["lr"], rectified.explain(optimizer)[0].t
    (0.5, 4)

    Reference: github.com/pytorch/ao, torchao/optim/adam.py at 0.18.0.
    """
    check_name(optimizer, get_args(TorchaoName))
    groups: list[dict[str, Any]] = [
        {name: x.item() if isinstance(x, Tensor) else x for name, x in group.items()}  # lr, initial_lr
        for group in checked_groups(state_dict, _TORCHAO)
    ]
    options = [
        {
            "betas": tuple(group["betas"]),
            "weight_decay": group["weight_decay"],
            "amsgrad": group["amsgrad"],
            "decoupled_weight_decay": optimizer == "AdamW",
            "warmup": None,
            "eps_hat": False,
        }
        for group in groups
    ]
    return rebuilt({"state": state_dict["state"], "param_groups": groups}, _TORCHAO, options, _torchao_entry)


def _unwrapped(key: Any, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a parameter without the dict that hides its codes from FSDP."""
    flat = {name: x for name, x in entry.items() if name != _WRAPPED}
    flat.update(entry.get(_WRAPPED, {}))
    for sign, feature in _WITHOUT_COUNTERPART.items():
        if sign in flat:
            raise ValueError(f"parameter {key!r} has {sign}, the state of {feature}, which has no counterpart here")
    return flat


def _bitsandbytes_entry(group: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    return adam_state(entry["step"], {"exp_avg": _decoded(entry, 1), "exp_avg_sq": _decoded(entry, 2)})


def _decoded(entry: Mapping[str, Any], which: Literal[1, 2]) -> Tensor:
    codes: Tensor = entry[f"state{which}"]
    n = codes.numel()
    flat = codes.as_strided((n,), (1,))  # in the order of memory
    if codes.dtype != torch.uint8:
        return flat.float().view(codes.shape)
    qmap, absmax = (entry.get(f"{name}{which}") for name in ("qmap", "absmax"))
    if qmap is None or absmax is None:
        raise ValueError(f"state{which} is uint8, but qmap{which} or absmax{which} is missing")
    size = next((size for size in _BLOCK_SIZES if -(-n // size) == absmax.numel()), None)
    if size is None:
        raise ValueError(
            f"absmax{which} has {absmax.numel()} blocks for {n:,} elements, which have {-(-n // 256)} blocks of 256, "
            f"or {-(-n // 2048)} of 2048"
        )
    decoded: Tensor = qmap[flat.int()] * absmax.repeat_interleave(size)[:n]
    return decoded.view(codes.shape)


def _torchao_entry(group: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    decoded = {name: _dequantized(name, x) for name, x in entry.items() if name != "step"}
    return {**adam_state(entry["step"], decoded), **decoded}


def _dequantized(name: str, x: Any) -> Tensor:
    if isinstance(x, Tensor) and is_sharded(x):
        raise ValueError(f"{name} is sharded (a DTensor); gather it with full_tensor() on every rank first")
    plain: Tensor = x if type(x) is Tensor else x.dequantize()
    return plain.float()
