"""Steps that are counted on the device (``capturable``): nothing here reads a tensor, so that a CUDA graph can hold it.

What the host would compute from count and beta2, a table holds for every count, made once on the host, where a user's
own warmup works too; a step gathers its row by the device's count. beta1, which schedulers cycle, is not in the table.
"""

import math
from array import array
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...warmup import to_plain
from .coefficients import Coefficients, coefficients
from .kernels import Tensors, step_on
from .options import Group, omega_of

# Every count up to this one has a row; beyond it those of a geometric grid, and what lies between is interpolated.
_EXACT = 2**16
_PER_OCTAVE = 2**10
_OCTAVES = 8
_LAST: int = _EXACT * 2**_OCTAVES  # 16.8 million, where a float32 count ends
_SMALL = 2**18  # elements of a tensor whose copy may be made


class Schedule:
    """The rows of a group's counts, on one device: those of a beta1 of 0, whose bias correction is none.

    Beyond the last row, the last one serves: by then a warmup has to be at rest. One of the user's own, which may dip
    again whenever it likes, has all the rows; where they are interpolated, a dip between two of them is not seen.
    """

    def __init__(self, group: Group, device: torch.device) -> None:
        self.warmup, self.beta2 = group["warmup"], float(group["betas"][1])
        self.m_delay = getattr(self.warmup, "m_delay", 0)
        ours = self.warmup is None or to_plain(self.warmup) is not None
        # A value's table is a value: groups, devices and optimizers share it. A user's object may change its mind.
        table = (_ours if ours else _table)(self.warmup, self.beta2)
        counts, numbers = (torch.frombuffer(column, dtype=torch.float64) for column in table)
        rows = numbers.reshape(len(counts), -1)
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.rows, self.counts = rows.to(device, dtype), counts.to(device, dtype)
        self.has_momentum = bool(Coefficients(*rows.unbind(1)).momentum.any())
        self.has_delay = self.m_delay > 0

    def row(self, count: Tensor, beta1: float) -> Coefficients:
        """The coefficients of this count, interpolated where it has no row; the last one's beyond it."""
        t = count.to(self.counts.dtype).reshape(1)
        right = torch.searchsorted(self.counts, t).clamp_(max=len(self.counts) - 1)
        left = (right - 1).clamp_(min=0)
        gap = self.counts[right] - self.counts[left]
        weight = ((self.counts[right] - t) / gap.clamp(min=1)).clamp_(0, 1)
        at = Coefficients(*torch.lerp(self.rows[right], self.rows[left], weight.unsqueeze(1))[0].unbind())
        c1 = 1 - beta1 ** (t[0] - self.m_delay).clamp_(min=1)  # before, where m stands still, nothing else moves either
        return at._replace(scale=at.scale / c1, momentum=at.momentum / c1)


class DeviceUpdate(NamedTuple):
    """The numbers of :class:`rectified.optim.step.kernels.Update`, those that change from step to step as tensors."""

    lr: Tensor  # 0 where everything stays
    go: Tensor  # 0 where everything stays, else 1
    scale: Tensor
    momentum: Tensor | None
    decay: Tensor | None
    eps: float
    root_c2: Tensor | None  # times which eps is added; None adds eps as it is
    m_moves: Tensor
    step: Tensor
    omega: Tensor
    beta1: float
    beta2: float
    l2: float
    maximize: bool
    grad_scale: Tensor | None
    found_inf: Tensor | None  # 1 where a GradScaler has found an infinity: everything stays where it is


def device_update(
    group: Group,
    schedule: Schedule,
    beta1: float,
    count: Tensor,
    grad_scale: Tensor | None,
    found_inf: Tensor | None,
) -> DeviceUpdate:
    """The update of the step with this count. What a GradScaler hands over may be on another device."""
    row = schedule.row(count, beta1)
    grad_scale, found_inf = (x if x is None else x.to(count.device).reshape(()) for x in (grad_scale, found_inf))
    go = row.moves.new_ones(()) if found_inf is None else 1 - found_inf.to(row.moves.dtype)
    lr = group["lr"]
    if isinstance(lr, Tensor):
        # A number on the CPU goes with tensors anywhere; a copy of it to the device would wait, and end a capture.
        lr = (lr if lr.is_cpu else lr.to(count.device)).reshape(())
    lr = lr * go
    decoupled, weight_decay = group["decoupled_weight_decay"], group["weight_decay"]
    return DeviceUpdate(
        lr=lr,
        go=go,
        scale=lr * row.scale,
        momentum=lr * row.momentum if schedule.has_momentum else None,
        decay=lr * weight_decay * row.moves if decoupled and weight_decay else None,
        eps=group["eps"],
        root_c2=None if group["eps_hat"] else row.root_c2,
        m_moves=go * row.m_moves,
        step=count,
        omega=row.omega,
        beta1=beta1,
        beta2=schedule.beta2,
        l2=0.0 if decoupled else weight_decay,
        maximize=group["maximize"],
        grad_scale=grad_scale,
        found_inf=found_inf,
    )


def fused_on_device(tensors: Tensors, grads: list[Tensor], update: DeviceUpdate) -> None:
    """The update by torch's fused op, where m is never delayed.

    The op adds a float eps after its own bias corrections. With eps added before them it is given a count at which they
    are 1, as on the host; with eps after them the true count, and a scale without them.
    """
    params, m, v, v_max, _ = tensors
    if update.decay is not None:
        torch._foreach_mul_(params, 1 - update.decay)
    if update.root_c2 is None:
        step, scale = step_on(params[0].device), update.scale
    else:
        step, scale = update.step, update.lr * update.omega
    torch._fused_adam_(
        params,
        grads,
        m,
        v,
        v_max,
        [step] * len(params),
        lr=scale if scale.is_cpu else scale.float(),  # which is what the kernels elsewhere read
        beta1=update.beta1,
        beta2=update.beta2,
        weight_decay=update.l2,
        eps=update.eps or torch.finfo(params[0].dtype).tiny,  # else an m and a v of 0 give 0/0
        amsgrad=bool(v_max),
        maximize=update.maximize,
        grad_scale=update.grad_scale,
        found_inf=update.found_inf,
    )
    _momentum(params, m, update)


def foreach_on_device(tensors: Tensors, grads: list[Tensor], update: DeviceUpdate) -> None:
    """The update tensor by tensor: any layout and device, any warmup."""
    params, m, v, v_max, _ = tensors
    if update.decay is not None:
        torch._foreach_mul_(params, 1 - update.decay)
    eps = update.eps if update.root_c2 is None else update.eps * update.root_c2
    for i, (p, g) in enumerate(zip(params, grads, strict=True)):
        if update.grad_scale is not None:
            g = g / update.grad_scale
        if update.found_inf is not None:
            g = torch.where(update.found_inf > 0, torch.zeros_like(g), g)
        g = -g if update.maximize else g
        g = g + update.l2 * p if update.l2 else g
        v[i].lerp_(g * g, (update.go * (1 - update.beta2)).to(p.dtype))
        if v_max:
            torch.maximum(v_max[i], v[i], out=v_max[i])
        m[i].lerp_(g, (update.m_moves * (1 - update.beta1)).to(p.dtype))
        denominator = (v_max or v)[i].sqrt() + eps
        denominator.clamp_(min=torch.finfo(p.dtype).tiny)
        p.sub_(update.scale.to(p.dtype) * m[i] / denominator)
    _momentum(params, m, update)


def _momentum(params: list[Tensor], m: list[Tensor], update: DeviceUpdate) -> None:
    """The momentum step, by a number of the device's that is 0 after the start: small tensors in few launches."""
    if update.momentum is None:
        return
    pairs = list(zip(params, m, strict=True))
    for p, x in pairs:
        if p.numel() > _SMALL:
            p.addcmul_(x, -update.momentum)  # which needs no copy of it
    if small := [pair for pair in pairs if pair[0].numel() <= _SMALL]:
        moved, moments = map(list, zip(*small, strict=True))
        torch._foreach_sub_(moved, torch._foreach_mul(moments, update.momentum))


def _table(warmup: Any, beta2: float) -> "tuple[array[float], array[float]]":
    """The counts, and the numbers of each one's row: no tensors, since those depend on the mode they are made in."""
    group = {"warmup": warmup, "betas": (0.0, beta2)}
    settled = _settled(group)
    counts = list(range(1, min(_EXACT, settled) + 1))
    if settled > _EXACT:
        counts += [round(_EXACT * 2 ** (k / _PER_OCTAVE)) for k in range(1, _PER_OCTAVE * _OCTAVES + 1)]
    rows = (coefficients(group, t, omega_of(group, t)) for t in counts)
    return array("d", counts), array("d", chain.from_iterable(rows))


_ours = lru_cache(maxsize=8)(_table)


def _settled(group: Group) -> int:
    """A count from which all rows are alike: a correction of 1, and an omega that has come to rest."""
    if group["warmup"] is not None and to_plain(group["warmup"]) is None:
        return _LAST  # where it rests only its author knows
    settled: int = math.ceil(40 / (1 - group["betas"][1]))
    last = omega_of(group, 10**12)
    while settled < _LAST and abs(omega_of(group, settled) - last) > 1e-15:
        settled *= 2
    return settled
