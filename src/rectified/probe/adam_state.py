"""Reading what a probe needs from any torch optimizer with Adam's moments, and summing it over tensors."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..optim.explain import omegas_of
from ..optim.step.clock import number_in
from ..optim.step.dtensor import is_sharded, local
from ..optim.step.options import Group, value_of
from ..optim.wrap.compat import unwrapped
from ..optim.wrap.scaling import active
from ..warmup import Rectified, Warmup
from .signals import StepSums

_CHUNK = 2**16  # elements per chunk on a CPU: a few MB of temporary tensors
_CHUNK_ELSEWHERE = 2**22
MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Watched:
    """One parameter tensor at its current step.

    Attributes:
        group: index in ``param_groups``.
        name: its name if the optimizer knows it, else ``group.index``.
        t: the number of steps it has taken.
    """

    group: int
    name: str
    p: Tensor
    state: dict[str, Any]
    t: int


def inner_optimizer(optimizer: Any) -> torch.optim.Optimizer:
    """The innermost optimizer, which must keep Adam's moments.

    Raises:
        TypeError: it is no optimizer, or its groups have no betas.

    >>> inner_optimizer(torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1))
    Traceback (most recent call last):
    TypeError: a probe reads Adam's moments, exp_avg and exp_avg_sq, and SGD has no betas; use it with Adam, AdamW, ...
    """
    inner = unwrapped(optimizer)
    if not isinstance(inner, torch.optim.Optimizer):
        raise TypeError(f"optimizer is a {type(optimizer).__name__}; it must be a torch.optim.Optimizer")
    for group in inner.param_groups:
        if not (isinstance(group.get("betas"), tuple | list) and len(group["betas"]) == 2):
            raise TypeError(
                f"a probe reads Adam's moments, exp_avg and exp_avg_sq, and {type(inner).__name__} has no betas; use "
                "it with Adam, AdamW, RAdam or another optimizer that keeps them"
            )
    return inner


def watched(optimizer: torch.optim.Optimizer) -> Iterator[Watched]:
    """The parameters that have a gradient and both moments."""
    for index, group in enumerate(optimizer.param_groups):
        names = group.get("param_names") or [f"{index}.{i}" for i in range(len(group["params"]))]
        for name, p in zip(names, group["params"], strict=True):
            state = optimizer.state.get(p, {})
            if p.grad is None or any(moment not in state for moment in MOMENTS):
                continue
            yield Watched(index, name, p, state, int(number_in(state.get("step", group.get("step", 0)))))


@dataclass(frozen=True)
class Factors:
    """The numbers of a group's step t: theta <- theta - a d - decay theta."""

    a: float
    decay: float
    c1: float  # m_hat = m / c1
    c2: float  # v_hat = v / c2
    eps: float
    momentum: bool  # whether d is m_hat alone, as in a momentum start


def factors(optimizer: torch.optim.Optimizer, index: int, t: int, omega: Callable[[int], float]) -> Factors:
    """The numbers of step t of a group."""
    group = optimizer.param_groups[index]
    lr, weight_decay = value_of(group["lr"]), value_of(group.get("weight_decay", 0.0))
    beta1, beta2 = map(value_of, group["betas"])
    warmup = group.get("warmup")
    m_steps = max(1, t - (warmup.m_delay if isinstance(warmup, Warmup) else 0))
    factor = omega(t)
    momentum = not factor and _has_momentum_start(optimizer, group, t)
    # A warmup around an optimizer scales its decay too; ours decays at full lr, unless its parameters hold still.
    moves = factor if active(optimizer) is not None else float(factor > 0 or momentum)
    decoupled = group.get("decoupled_weight_decay", type(optimizer).__name__ in ("AdamW", "RAdamW"))
    return Factors(
        a=lr if momentum else lr * factor,
        decay=lr * weight_decay * moves if decoupled else 0.0,
        c1=1 - beta1**m_steps,
        c2=1 - beta2**t,
        eps=float(group.get("eps", 0.0)),
        momentum=momentum,
    )


def omega_function(optimizer: torch.optim.Optimizer, index: int) -> Callable[[int], float]:
    """omega(t) of a group, also that of torch's RAdam."""
    if type(optimizer) is torch.optim.RAdam:
        beta2 = value_of(optimizer.param_groups[index]["betas"][1])
        return lambda t: Rectified().omega(t, beta2)
    return omegas_of(optimizer, index)


def _has_momentum_start(optimizer: torch.optim.Optimizer, group: Group, t: int) -> bool:
    if type(optimizer) is torch.optim.RAdam:
        return True
    asked = getattr(optimizer, "has_momentum_step", None)
    return bool(asked is not None and asked(group, t))


# Sums over tensors. Everything is summed on the device and read at once.

_AFTER = ("theta2", "d2", "theta_d", "g_d", "g2", "m2", "v1", "logs", "log_v", "log_v2")


def sums_after(one: Watched, f: Factors) -> Tensor:
    """The sums of :data:`_AFTER` for a tensor whose step was just taken, float64 [10]."""
    total = torch.zeros(len(_AFTER), dtype=torch.float64, device=local_of(one.p).device)
    for theta, g, m, v in _chunks(one):
        m_hat, v_hat = m / f.c1, v / f.c2
        d = m_hat if f.momentum else m_hat / (v_hat.sqrt() + (f.eps or torch.finfo(v.dtype).tiny))
        positive = v_hat > 0
        log_v = torch.where(positive, v_hat, 1.0).log_()
        pairs = ((theta, theta), (d, d), (theta, d), (g, d), (g, g), (m_hat, m_hat))
        dots = [torch.dot(x, y) for x, y in pairs]
        total += torch.stack([*dots, v_hat.sum(), positive.sum(), log_v.sum(), torch.dot(log_v, log_v)]).double()
    return total


def sums_before(one: Watched, f: Factors) -> tuple[Tensor, Tensor]:
    """Sums for a tensor before its step: <g_(t+1), d_t> and max g_(t+1)^2 / v_hat_t, float64 [1] each."""
    device = local_of(one.p).device
    dot = torch.zeros(1, dtype=torch.float64, device=device)
    largest = torch.zeros(1, dtype=torch.float64, device=device)
    for _, g, m, v in _chunks(one):
        m_hat, v_hat = m / f.c1, v / f.c2
        d = m_hat if f.momentum else m_hat / (v_hat.sqrt() + (f.eps or torch.finfo(v.dtype).tiny))
        dot += torch.dot(g, d)
        ratio = torch.where(v_hat > 0, g * g / v_hat, 0.0)
        largest = torch.maximum(largest, ratio.max().double())
    return dot, largest


def _chunks(one: Watched) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Flat pieces of a tensor, its gradient and its moments; complex numbers as pairs of reals."""
    assert one.p.grad is not None
    v = one.state.get("max_exp_avg_sq", one.state["exp_avg_sq"])
    columns = [_flat(local_of(x.detach())) for x in (one.p, one.p.grad, one.state["exp_avg"], v)]
    size = _CHUNK if columns[0].is_cpu else _CHUNK_ELSEWHERE
    dtype = torch.float64 if columns[0].dtype is torch.float64 else torch.float32
    for begin in range(0, columns[0].numel(), size):
        theta, g, m, v = (x[begin : begin + size].to(dtype) for x in columns)
        yield theta, g, m, v


def _flat(x: Tensor) -> Tensor:
    return (torch.view_as_real(x.resolve_conj()) if x.is_complex() else x).flatten()


def local_of(x: Tensor) -> Tensor:
    """This rank's part of a tensor."""
    return local(x) if is_sharded(x) else x


def reduced(sums: Tensor, of: Tensor, largest: bool = False) -> Tensor:
    """Sums, or maxima, over all ranks that share a tensor."""
    if not is_sharded(of):
        return sums
    import torch.distributed as dist

    for dim, placement in enumerate(of.placements):  # type: ignore[attr-defined]
        if placement.is_shard():
            op = dist.ReduceOp.MAX if largest else dist.ReduceOp.SUM
            dist.all_reduce(sums, op=op, group=of.device_mesh.get_group(dim))  # type: ignore[attr-defined]
    return sums


def as_sums(one: Watched, f: Factors, values: list[float], scale: float = 1.0) -> StepSums:
    """Sums of :func:`sums_after` as a value; `scale` is what the gradient was multiplied by."""
    named = dict(zip(_AFTER, values, strict=True))
    named["g_d"] /= scale
    named["g2"] /= scale * scale
    count = one.p.numel() * (2 if one.p.is_complex() else 1)
    return StepSums(elements=count, a=f.a, decay=f.decay, **named)
