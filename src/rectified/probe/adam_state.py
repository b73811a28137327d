"""Reading what a probe needs from any torch optimizer with Adam's moments, and summing it over tensors."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..optim.base import BaseOptimizer
from ..optim.observe.foreign import has_moments
from ..optim.observe.packs import Pack, packs, real_and_flat
from ..optim.states.clock import number_in
from ..optim.states.dtensor import is_sharded, local_of
from ..optim.states.eight_bit import moment
from ..optim.step.options import Group, value_of
from ..optim.wrap.compat import unwrapped
from ..optim.wrap.scaling import active
from ..warmup import Warmup
from .play.own_warmup import rectification_of
from .signals import StepSums


@dataclass(frozen=True)
class Watched:
    """One parameter tensor at its current step.

    Attributes:
        group: index in ``param_groups``.
        name: its name if the optimizer knows it and no parameter before it has the same, else ``group.index``.
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
    seen: set[str] = set()
    for index, group in enumerate(optimizer.param_groups):
        places = [f"{index}.{i}" for i in range(len(group["params"]))]
        for known, place, p in zip(group.get("param_names") or places, places, group["params"], strict=True):
            name = place if known in seen else known  # torch lets two groups use the same names
            seen.add(name)
            state = optimizer.state.get(p, {})
            if p.grad is None or p.grad.is_sparse or not has_moments(p, state):
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
    scaling = active(optimizer)
    lr = value_of(group["lr"] if scaling is None else scaling.lr_before(group))
    weight_decay = value_of(group.get("weight_decay", 0.0))
    beta1, beta2 = map(value_of, group["betas"])
    warmup = group.get("warmup")
    m_steps = max(1, t - (warmup.m_delay if isinstance(warmup, Warmup) else 0))
    factor = omega(t)
    momentum = not factor and _has_momentum_start(optimizer, group, t)
    # A warmup around an optimizer scales its decay too; ours decays at full lr, unless its parameters hold still.
    moves = factor if scaling is not None else float(factor > 0 or momentum)
    decoupled = group.get("decoupled_weight_decay", type(optimizer).__name__ in ("AdamW", "RAdamW"))
    return Factors(
        a=lr if momentum else lr * factor,
        decay=lr * weight_decay * moves if decoupled else 0.0,
        c1=1 - beta1**m_steps,
        c2=1 - beta2**t,
        eps=float(group.get("eps", 0.0)),
        momentum=momentum,
    )


def _has_momentum_start(optimizer: torch.optim.Optimizer, group: Group, t: int) -> bool:
    if not isinstance(optimizer, BaseOptimizer) and (rectified := rectification_of(optimizer, group)) is not None:
        return rectified.start == "momentum"
    asked = getattr(optimizer, "has_momentum_step", None)
    return bool(asked is not None and asked(group, t))


# Sums over tensors. Everything is summed on the device and read at once.

# The sums over a tensor, as products of two of these rows.
_ROWS = ("theta", "d", "g", "m_hat", "v_hat", "log_v", "positive")
_AFTER = {
    "theta2": ("theta", "theta"),
    "d2": ("d", "d"),
    "theta_d": ("theta", "d"),
    "g2": ("g", "g"),
    "g_d": ("g", "d"),
    "g_theta": ("g", "theta"),
    "m2": ("m_hat", "m_hat"),
    "v1": ("v_hat", "positive"),
    "logs": ("positive", "positive"),
    "log_v": ("log_v", "positive"),
    "log_v2": ("log_v", "log_v"),
}
_FIRST, _SECOND = ([_ROWS.index(pair[i]) for pair in _AFTER.values()] for i in (0, 1))


def sums_after(several: Sequence[Watched], f: Factors) -> Tensor:
    """The sums of :data:`_AFTER` for tensors on one device whose step was just taken, float64 [len(several), 11]."""
    whose, products = [], []
    for here, sizes, (theta, g, m, v) in _packs(several):
        m_hat, v_hat = m / f.c1, v / f.c2
        positive = v_hat > 0
        log_v = torch.where(positive, v_hat, 1.0).log_()
        rows = torch.stack([theta, _direction(m_hat, v_hat, f), g, m_hat, v_hat, log_v, positive.to(v)])
        whose += here
        products += [part @ part.T for part in torch.split(_exact(rows), sizes, dim=1)]
    return _summed(torch.stack(products)[:, _FIRST, _SECOND], whose, len(several))


def products_before(several: Sequence[Watched], f: Factors) -> Tensor:
    """``<g_(t+1), d_t>`` and ``<g_(t+1), theta_t>`` of tensors on one device before step t + 1, float64 [len, 2]."""
    whose, products = [], []
    for here, sizes, (theta, g, m, v) in _packs(several):
        rows = _exact(torch.stack([_direction(m / f.c1, v / f.c2, f), theta, g]))
        whose += here
        products += [part[:2] @ part[2] for part in torch.split(rows, sizes, dim=1)]
    return _summed(torch.stack(products), whose, len(several))


def surprises_before(several: Sequence[Watched], f: Factors) -> Tensor:
    """``max g_(t+1)^2 / v_hat_t`` of tensors on one device before step t + 1, float64 [len(several)]."""
    whose, maxima = [], []
    for here, sizes, (g, v) in _packs(several, ("g", "v")):
        ratio = torch.where(v > 0, g * g * f.c2 / v, 0.0)
        whose += here
        maxima += [part.max() for part in torch.split(ratio, sizes)]
    largest = torch.stack(maxima).double()
    at = torch.tensor(whose, device=largest.device)
    return largest.new_zeros(len(several)).scatter_reduce_(0, at, largest, "amax")


def _summed(rows: Tensor, whose: list[int], count: int) -> Tensor:
    """The rows of each tensor's pieces, added in float64."""
    total = torch.zeros(count, rows.shape[1], dtype=torch.float64, device=rows.device)
    return total.index_add_(0, torch.tensor(whose, device=rows.device), rows.double())


def _exact(rows: Tensor) -> Tensor:
    """Rows to multiply: on a GPU in float64, where float32 may be rounded to TF32."""
    return rows if rows.is_cpu else rows.double()


def before_step(one: Watched, f: Factors) -> Tensor:
    """The parameter before its last step, if that was theta <- theta - a d - decay theta."""
    theta, _, m, v = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in _columns(one))
    return (theta + f.a * _direction(m / f.c1, v / f.c2, f)) / (1 - f.decay)


def flat_copy(p: Tensor) -> Tensor:
    """A copy of a parameter in the shape of :func:`before_step`."""
    return real_and_flat(local_of(p.detach())).clone()


def _direction(m_hat: Tensor, v_hat: Tensor, f: Factors) -> Tensor:
    """d, the step without its lr."""
    return m_hat if f.momentum else m_hat / (v_hat.sqrt() + (f.eps or torch.finfo(v_hat.dtype).tiny))


_COLUMNS = ("theta", "g", "m", "v")


def _packs(several: Sequence[Watched], names: Sequence[str] = _COLUMNS) -> Iterator[Pack]:
    """Tensors, gradients and moments in chunks: one column for each name."""
    return packs([[local_of(_column(one, name)) for one in several] for name in names])


def _columns(one: Watched, names: Sequence[str] = _COLUMNS) -> list[Tensor]:
    """A tensor, its gradient and its moments, flat; complex numbers as pairs of reals."""
    return [real_and_flat(local_of(_column(one, name))) for name in names]


def _column(one: Watched, name: str) -> Tensor:
    if name == "theta":
        return one.p.detach()
    if name == "g":
        assert one.p.grad is not None
        return one.p.grad.detach()
    second = "max_exp_avg_sq" if "max_exp_avg_sq" in one.state else "exp_avg_sq"
    return moment(one.state, "exp_avg" if name == "m" else second).detach()


def reduced(rows: Tensor, several: Sequence[Watched], largest: bool = False) -> Tensor:
    """Sums, or maxima, over all ranks that share a tensor; one row per tensor."""
    for row, one in zip(rows.unbind(), several, strict=True):
        if not is_sharded(one.p):
            continue
        import torch.distributed as dist

        for dim, placement in enumerate(one.p.placements):  # type: ignore[attr-defined]
            if not placement.is_replicate():  # FSDP2 with tensor parallelism has shards of another class
                op = dist.ReduceOp.MAX if largest else dist.ReduceOp.SUM
                dist.all_reduce(row, op=op, group=one.p.device_mesh.get_group(dim))  # type: ignore[attr-defined]
    return rows


def alike(several: Iterable[Watched]) -> list[list[Watched]]:
    """Tensors in lists that share a group, a step count and a device, and so the numbers of their step."""
    found: dict[tuple[int, int, torch.device], list[Watched]] = {}
    for one in several:
        found.setdefault((one.group, one.t, local_of(one.p).device), []).append(one)
    return list(found.values())


def as_sums(one: Watched, f: Factors, values: Sequence[float]) -> StepSums:
    """Sums of :func:`sums_after` as a value."""
    count = one.p.numel() * (2 if one.p.is_complex() else 1)
    return StepSums(elements=count, a=f.a, decay=f.decay, **dict(zip(_AFTER, values, strict=True)))
