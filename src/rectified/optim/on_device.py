"""Steps that are counted on the device (``capturable``): nothing here reads a tensor, so that a CUDA graph can hold it.

What the host would compute from the count, a table holds for every count, made once on the host, where a user's own
warmup works too; a step gathers its row by the device's count.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .coefficients import Coefficients, coefficients
from .kernels import Tensors, step_on
from .options import omega_of

Group = dict[str, Any]

# Every count up to this one has a row; beyond it those of a geometric grid, and what lies between is interpolated.
_EXACT = 2**16
_PER_OCTAVE = 2**10
_OCTAVES = 8  # to 16.8 million steps, where a float32 count ends
_SMALL = 2**18  # elements of a tensor whose copy may be made


class Schedule:
    """The rows of a group's counts, on one device."""

    def __init__(self, group: Group, device: torch.device) -> None:
        settled = _settled(group)
        counts = list(range(1, min(_EXACT, settled) + 1))
        if settled > _EXACT:
            counts += [round(_EXACT * 2 ** (k / _PER_OCTAVE)) for k in range(1, _PER_OCTAVE * _OCTAVES + 1)]
        rows = [coefficients(group, t, omega_of(group, t)) for t in counts]
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.rows = torch.tensor(rows, dtype=dtype, device=device)
        self.counts = torch.tensor(counts, dtype=dtype, device=device)
        self.has_momentum = any(row.momentum for row in rows)
        self.has_delay = any(not row.m_moves for row in rows)

    def row(self, count: Tensor) -> Coefficients:
        """The row of this count, interpolated where it has none; the last one's beyond it."""
        t = count.to(self.counts.dtype).reshape(1)
        right = torch.searchsorted(self.counts, t).clamp_(max=len(self.counts) - 1)
        left = (right - 1).clamp_(min=0)
        gap = self.counts[right] - self.counts[left]
        weight = ((self.counts[right] - t) / gap.clamp(min=1)).clamp_(0, 1)
        return Coefficients(*torch.lerp(self.rows[right], self.rows[left], weight.unsqueeze(1))[0].unbind())


class DeviceUpdate(NamedTuple):
    """The numbers of :class:`rectified.optim.kernels.Update`, those that change from step to step as tensors."""

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
    group: Group, schedule: Schedule, count: Tensor, grad_scale: Tensor | None, found_inf: Tensor | None
) -> DeviceUpdate:
    """The update of the step with this count."""
    row = schedule.row(count)
    go = row.moves.new_ones(()) if found_inf is None else 1 - found_inf.to(row.moves.dtype).reshape(())
    lr = group["lr"] * go
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
        beta1=float(group["betas"][0]),
        beta2=float(group["betas"][1]),
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


def _settled(group: Group) -> int:
    """A count from which all rows are alike: corrections of 1, and an omega that has come to rest."""
    settled = math.ceil(40 / min(1 - float(beta) for beta in group["betas"]))
    last = omega_of(group, 10**12)
    while settled < _EXACT * 2**_OCTAVES and abs(omega_of(group, settled) - last) > 1e-15:
        settled *= 2
    return settled
