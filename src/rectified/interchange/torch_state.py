"""Adam's state in torch: read from an optimizer of rectified or torch.optim, and loaded into one."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import optim
from ..messages import shown
from ..optim.states.clock import number_in, refuse_count
from ..optim.states.dtensor import is_sharded
from ..optim.states.eight_bit import (
    V_LEVELS,
    codes_of,
    decode_v,
    has_moment,
    is_coded,
    moment,
    scale_of,
    to_codes,
)
from ..optim.states.low_precision import EIGHT_BIT
from ..optim.step.options import CLOCK
from ..optim.wrap.compat import unwrapped
from .fitting import Wanted, check_amsgrad, check_fit
from .moments import AdamState, Array, listed, repeated

Named = torch.nn.Module | Iterable[tuple[str, Tensor]] | Mapping[str, Tensor]

_KINDS = (optim.Adam, torch.optim.Adam, torch.optim.AdamW, torch.optim.RAdam)  # rectified's others are Adams
_M, _V, _V_MAX = "exp_avg", "exp_avg_sq", "max_exp_avg_sq"
_KNOWN = {"step", _M, _V, _V_MAX, "compensation", *(f(name) for f in (codes_of, scale_of) for name in (_M, _V))}


class _Parameter(NamedTuple):
    """A parameter of an optimizer."""

    name: str
    tensor: Tensor
    group: dict[str, Any]


def from_torch(optimizer: torch.optim.Optimizer, model: Named) -> AdamState:
    """Read the state of an Adam, AdamW or RAdam of rectified or torch.optim.

    The arrays are copies. Moments of 8 bits are decoded to float32, those of bfloat16 become float32, which changes no
    value. A parameter that has taken no step has a count of 0. A parameter that is shared by several modules has one
    state, under the first of its names.

    Not in the state: the weights, the options of the groups (lr, betas, eps, weight decay, warmup), what a
    ``GuardedLinear`` has observed, and the count of an lr scheduler.

    Args:
        optimizer: the optimizer, after any number of steps, or what wraps it: :func:`rectified.rectify`, Accelerate.
        model: the model that has the parameters' names, or its named parameters: pairs, or a dict.

    Returns:
        The state of every parameter of the optimizer.

    Raises:
        TypeError: the optimizer is of another kind, or `model` has no names.
        ValueError: a parameter is not in the model; it is sharded (DTensor); its state has what other frameworks
            cannot hold; or ``rounding="kahan"`` keeps a part of the weights in the state.

    >>> model = torch.nn.Linear(3, 2)
    >>> optimizer = torch.optim.Adam(model.parameters())
    >>> model(torch.ones(1, 3)).sum().backward()
    >>> optimizer.step()
    >>> state = from_torch(optimizer, model)
    >>> state.counts, state.m["weight"].shape, round(float(state.m["bias"][0]), 4)
    ({'weight': 1, 'bias': 1}, (2, 3), 0.1)
    """
    m, v, v_max, counts = {}, {}, {}, {}
    for name, p, group in _parameters(optimizer, model):
        entry = optimizer.state.get(p, {})
        _refuse(name, p, entry)
        empty = not (has_moment(entry, _M) and has_moment(entry, _V))
        m[name], v[name] = (_zeros(p) if empty else to_numpy(moment(entry, key)) for key in (_M, _V))
        if group.get("amsgrad"):
            v_max[name] = to_numpy(entry[_V_MAX]) if _V_MAX in entry else np.zeros_like(v[name])
        count = 0.0 if empty else number_in(entry["step"])
        refuse_count(count, name, ValueError)
        counts[name] = int(count)
    return AdamState(m, v, counts, v_max)


def to_torch(state: AdamState, optimizer: torch.optim.Optimizer, model: Named) -> None:
    """Load a state into an Adam, AdamW or RAdam of rectified or torch.optim.

    The optimizer keeps its options. Moments get the dtype and the layout that it gives them: with
    ``state_dtype="8bit"`` they are encoded, in torch.optim they have the parameter's dtype. A Kahan compensation is
    part of the weights and stays. A warmup that :func:`rectified.rectify` put around the optimizer continues from the
    largest count of its group. An lr scheduler counts for itself: load its own state.

    These options must agree with the run that the state is from, and nothing checks them: lr, betas, eps, weight decay,
    warmup. torch's Adam adds eps after the bias correction and Keras' Adam before it, see
    :mod:`rectified.interchange`.

    Args:
        state: the state of every parameter of the optimizer, in torch's layout, under the names of the model.
        optimizer: the optimizer, which may have taken steps, or what wraps it.
        model: the model that has the parameters' names, or its named parameters: pairs, or a dict.

    Raises:
        TypeError: the optimizer is of another kind, or `model` has no names.
        ValueError: the names or shapes do not fit, amsgrad is on in one of the two only, or a parameter is not in the
            model or sharded (DTensor). The optimizer is unchanged then.

    >>> old, new = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    >>> optimizer = torch.optim.Adam(old.parameters())
    >>> old(torch.ones(1, 3)).sum().backward()
    >>> optimizer.step()
    >>> new.load_state_dict(old.state_dict())
    <All keys matched successfully>
    >>> ours = optim.Adam(new.parameters())
    >>> to_torch(from_torch(optimizer, old), ours, new)
    >>> optim.explain(ours)[0].t
    2
    """
    parameters = list(_parameters(optimizer, model))
    whose = f"the optimizer ({type(optimizer).__name__})"
    for name, p, _ in parameters:
        _refuse(name, p, {})
    check_fit(state, {name: Wanted(tuple(p.shape), p.is_complex()) for name, p, _ in parameters}, whose)
    check_amsgrad(state, [name for name, _, group in parameters if group.get("amsgrad")], whose)
    saved = optimizer.state_dict()
    keys: dict[Tensor, Any] = {}
    groups = [dict(group) for group in saved["param_groups"]]
    for group, packed in zip(optimizer.param_groups, groups, strict=True):
        keys.update(zip(group["params"], packed["params"], strict=True))
        if CLOCK in packed:
            packed[CLOCK] = max((state.counts[name] for name, _, of in parameters if of is group), default=0)
    entries = {}
    for name, p, group in parameters:
        kept = {x: y for x, y in optimizer.state.get(p, {}).items() if x == "compensation"}
        if state.counts[name] or kept:
            entries[keys[p]] = {**_entry(state, name, p, group), **kept}
    optimizer.load_state_dict({**saved, "state": entries, "param_groups": groups})


def _parameters(optimizer: torch.optim.Optimizer, model: Named) -> Iterator[_Parameter]:
    """Every parameter of an optimizer, once, with its name."""
    inner = unwrapped(optimizer)
    if not isinstance(inner, _KINDS) or any(".contrib." in kind.__module__ for kind in type(inner).__mro__):
        raise TypeError(
            f"{type(inner).__name__} is not an Adam, AdamW or RAdam of rectified or torch.optim. The state dicts of "
            "some other libraries' optimizers continue in rectified's: see rectified.optim.convert"
        )
    if isinstance(model, torch.nn.Module):
        pairs: Iterable[tuple[str, Tensor]] = model.named_parameters()
    else:
        pairs = model.items() if isinstance(model, Mapping) else model
    names: dict[Tensor, str] = {}
    for pair in pairs:
        if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str)):
            raise TypeError(
                "the names come from a model, from model.named_parameters() or from a dict; instead of a pair (name, "
                f"parameter) there is a {type(pair).__name__}"
            )
        names.setdefault(pair[1], pair[0])
    if twice := repeated(names.values()):
        raise ValueError(f"several parameters of the model are called {listed(twice)}")
    for i, group in enumerate(optimizer.param_groups):
        for j, p in enumerate(dict.fromkeys(group["params"])):
            if p not in names:
                raise ValueError(
                    f"parameter {j} of group {i}, of shape {tuple(p.shape)}, is not in the model: pass the model whose "
                    "parameters the optimizer has, or (name, parameter) pairs with all of them"
                )
            yield _Parameter(names[p], p, group)


def _refuse(name: str, p: Tensor, entry: Mapping[str, Any]) -> None:
    """Raise for a parameter whose state no array can hold."""
    if is_sharded(p) or any(isinstance(x, Tensor) and is_sharded(x) for x in entry.values()):
        raise ValueError(
            f"{shown(name)} is sharded (a DTensor): gather the state with get_optimizer_state_dict(model, optimizer, "
            "options=StateDictOptions(full_state_dict=True)) of torch.distributed.checkpoint.state_dict, load it into "
            "an optimizer of an unsharded copy of the model, and convert that"
        )
    if unknown := [key for key in entry if key not in _KNOWN]:
        raise ValueError(
            f"the state of {shown(name)} has {', '.join(map(str, unknown))}, which has no counterpart in other "
            "frameworks' Adam"
        )
    if isinstance(lost := entry.get("compensation"), Tensor) and bool(lost.count_nonzero()):
        raise ValueError(
            f'the state of {shown(name)} has a Kahan compensation, which is part of its weights (rounding="kahan"). '
            "Add it to the weights in float32, p.float() + state['compensation'].float(), and save those; then convert "
            "the state after state['compensation'].zero_(), with state = optimizer.state[p]"
        )


def _entry(state: AdamState, name: str, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
    """The state of a parameter as its optimizer saves it."""
    counted = torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32  # as torch.optim
    entry: dict[str, Any] = {"step": torch.tensor(float(state.counts[name]), dtype=counted)}
    for key, moments in ((_M, state.m), (_V, state.v), (_V_MAX, state.v_max)):
        if name in moments:
            x = torch.tensor(moments[name])  # a copy
            # torch.optim keeps the strides of what it loads; its kernels want those of the parameter.
            entry[key] = torch.empty_like(p.detach(), dtype=x.dtype, device="cpu").copy_(x)
    if group.get("state_dtype") == EIGHT_BIT and is_coded(p):  # now, one by one: all in float32 may not fit
        _encode(p.detach(), entry)
    return entry


def _encode(p: Tensor, entry: dict[str, Any]) -> None:
    """Bring moments into 8 bits. Those that were decoded from 8 bits get the codes that they came from."""
    v = entry[_V].to(p.device)
    to_codes(p, entry)
    codes, scale = entry[codes_of(_V)], entry[scale_of(_V)]
    first = codes.clone()
    for change in (-1, 1):  # round-off, or rounding up and down by an element's place
        near = (first.int() + change).clamp_(0, V_LEVELS).to(torch.uint8)
        codes.copy_(torch.where(decode_v(near, scale) == v, near, codes))


def to_numpy(x: Tensor) -> Array:
    """A copy of a tensor."""
    x = x.detach().cpu().resolve_conj().resolve_neg()
    return np.array((x.float() if x.dtype is torch.bfloat16 else x).numpy(), order="C")


def _zeros(p: Tensor) -> Array:
    """The moments of a parameter that has taken no step."""
    return to_numpy(torch.zeros(p.shape, dtype=p.dtype))
