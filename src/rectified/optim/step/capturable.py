"""Steps counted on the device (``capturable``), which never synchronize, so that CUDA graphs can capture them.

A table, made once on the host, holds what depends on the count and beta2, so that a user's own warmup works too; a step
gathers its row by the count on the device. beta1, which some schedulers cycle, is not in the table.
"""

import math
from array import array
from collections.abc import Callable
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...warmup import Warmup
from ...warmup.plain import to_plain
from .. import _torch
from .._torch import TensorList
from .kernels import Tensors, step_on
from .options import Group
from .plan import Found, Plan
from .update import Coefficients

Row = Callable[[Warmup | None, float, int], tuple[float, ...]]  # of (warmup, beta2, t); omega stands last

# Every count up to this one has a row; beyond it, counts on a geometric grid do, and others are interpolated.
_EXACT = 2**16
_PER_OCTAVE = 2**10
_OCTAVES = 8
_LAST: int = _EXACT * 2**_OCTAVES  # 16.8 million, where a float32 count ends
_SMALL = 2**18  # the largest number of elements in a tensor that may be copied


class Schedule:
    """The table of a group's rows by count, on one device.

    Counts beyond the last row use the last one, so a warmup must have settled by then. A user's own warmup, which may
    dip again at any time, has all rows; a dip between interpolated rows is not seen.

    Args:
        row: computes a row.
        warmup: the given warmup object, which identifies a schedule.
        seen: the warmup as a Warmup object.
    """

    def __init__(self, row: Row, warmup: Any, seen: Warmup | None, beta2: float, device: torch.device) -> None:
        self.warmup, self.beta2 = warmup, beta2
        # Tables of our warmups are shared by groups, devices and optimizers; a user's object may not be constant.
        table = (_shared_table if warmup is None or to_plain(warmup) is not None else _table)(row, seen, beta2)
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.counts, numbers = (torch.tensor(column.tolist(), dtype=dtype).to(device) for column in table)
        self.rows = numbers.reshape(len(self.counts), -1)
        width = len(table[1]) // len(table[0])
        self.is_used = [any(table[1][i::width]) for i in range(width)]  # whether each column has any value other than 0

    def row(self, count: Tensor) -> TensorList:
        """The row for a count, interpolated between rows; the last row beyond the table."""
        t = count.to(self.counts.dtype).reshape(1)
        right = torch.searchsorted(self.counts, t).clamp_(max=len(self.counts) - 1)
        left = (right - 1).clamp_(min=0)
        after, before = (self.counts.index_select(0, i) for i in (right, left))
        weight = ((after - t) / (after - before).clamp(min=1)).clamp_(0, 1)
        above, below = (self.rows.index_select(0, i) for i in (right, left))
        found: TensorList = torch.lerp(above, below, weight.unsqueeze(1))[0].unbind()
        return found


def _table(row: Row, warmup: Warmup | None, beta2: float) -> "tuple[array[float], array[float]]":
    """The counts and their rows, as numbers instead of tensors, since tensors depend on the mode they are made in."""
    settled = _settled(row, warmup, beta2)
    counts = list(range(1, min(_EXACT, settled) + 1))
    if settled > _EXACT:
        counts += [round(_EXACT * 2 ** (k / _PER_OCTAVE)) for k in range(1, _PER_OCTAVE * _OCTAVES + 1)]
    rows = (row(warmup, beta2, t) for t in counts)
    return array("d", counts), array("d", chain.from_iterable(rows))


_shared_table = lru_cache(maxsize=8)(_table)


def _settled(row: Row, warmup: Warmup | None, beta2: float) -> int:
    """A count from which all rows are equal: corrections are 1, and omega has settled."""
    if warmup is not None and to_plain(warmup) is None:
        return _LAST  # only its author knows where it settles
    settled: int = math.ceil(40 / (1 - beta2))
    last = row(warmup, beta2, 10**12)[-1]
    while settled < _LAST and abs(row(warmup, beta2, settled)[-1] - last) > 1e-15:
        settled *= 2
    return settled


class DeviceNumbers(NamedTuple):
    """:class:`rectified.optim.step.update.Numbers` with tensors for those that change from step to step."""

    lr: Tensor  # 0 where everything stays
    go: Tensor  # 0 if nothing changes, else 1
    scale: Tensor
    momentum: Tensor | None
    decay: Tensor | None
    eps: float
    root_c2: Tensor | None  # the factor of eps; None for 1
    m_moves: Tensor
    t: Tensor
    omega: Tensor
    beta1: float
    beta2: float
    l2: float
    maximize: bool
    grad_scale: Tensor | None
    found_inf: Tensor | None  # 1 if a GradScaler found an infinite gradient: nothing changes


def capturable_step(
    group: Group,
    warmup: Warmup | None,
    plan: Plan,
    found: list[Found],
    state: dict[Tensor, dict[str, Any]],
    grad_scale: Tensor | None = None,
    found_inf: Tensor | None = None,
) -> None:
    """Take Adam's step for an entire group, counted on the device."""
    if found_inf is not None:  # a sum over devices, any of which may have found one
        found_inf = (found_inf > 0).float()
    plan.advance(None if found_inf is None else 1 - found_inf)
    beta1 = plan.betas[0] if isinstance(group["betas"][0], Tensor) else group["betas"][0]
    for here in found:
        count = here.step_count(state)
        n = device_numbers(group, warmup, plan.schedules[count.device], beta1, count, grad_scale, found_inf)
        here.bucket.kernel(Tensors(here.params, *here.states), here.grads, n)
        if here is found[0]:
            group["omega"] = n.omega  # for the parameters with the most steps


def device_numbers(
    group: Group,
    warmup: Warmup | None,
    schedule: Schedule,
    beta1: float,
    count: Tensor,
    grad_scale: Tensor | None,
    found_inf: Tensor | None,
) -> DeviceNumbers:
    """The numbers of the step with this count; a GradScaler's tensors may be on another device."""
    row = Coefficients(*schedule.row(count))
    delay = 0 if warmup is None else warmup.m_delay
    c1 = 1 - beta1 ** (count.to(row.scale) - delay).clamp_(
        min=1
    )  # before that, m does not change, and neither does anything else
    grad_scale, found_inf = (x if x is None else x.to(count.device).reshape(()) for x in (grad_scale, found_inf))
    go = row.moves.new_ones(()) if found_inf is None else 1 - found_inf.to(row.moves.dtype)
    lr = lr_on(count.device, group) * go
    decoupled, weight_decay = group["decoupled_weight_decay"], group["weight_decay"]
    return DeviceNumbers(
        lr=lr,
        go=go,
        scale=lr * row.scale / c1,
        momentum=lr * row.momentum / c1 if schedule.is_used[Coefficients._fields.index("momentum")] else None,
        decay=lr * weight_decay * row.moves if decoupled and weight_decay else None,
        eps=group["eps"],
        root_c2=None if group["eps_hat"] else row.root_c2,
        m_moves=go * row.m_moves,
        t=count,
        omega=row.omega,
        beta1=beta1,
        beta2=schedule.beta2,
        l2=0.0 if decoupled else weight_decay,
        maximize=group["maximize"],
        grad_scale=grad_scale,
        found_inf=found_inf,
    )


def lr_on(device: torch.device, group: Group) -> Any:
    """The group's lr in a form that works with tensors on that device."""
    lr = group["lr"]
    if not isinstance(lr, Tensor):
        return lr
    # A number on the CPU goes with tensors anywhere; a copy of it to the device would wait, and end a capture.
    return (lr if lr.is_cpu else lr.to(device)).reshape(())


def fused_on_device(tensors: Tensors, grads: TensorList, n: DeviceNumbers) -> None:
    """Take the step with torch's fused op, if m is never delayed.

    The op adds a float eps after its own bias corrections. If eps must be added before them, it gets a count at which
    they are 1, as on the host; otherwise it gets the true count, and a scale without them.
    """
    params, m, v, v_max, *_ = tensors
    if n.decay is not None:
        torch._foreach_mul_(params, 1 - n.decay)
    if n.root_c2 is None:
        step, scale = step_on(params[0].device), n.scale
    else:
        step, scale = n.t.float(), n.lr * n.omega  # on a GPU the op always reads a float32
    _torch.fused_adam(
        params,
        grads,
        m,
        v,
        v_max,
        [step] * len(params),
        lr=scale if scale.is_cpu else scale.float(),  # the kernels on other devices read this
        beta1=n.beta1,
        beta2=n.beta2,
        weight_decay=n.l2,
        eps=n.eps or torch.finfo(params[0].dtype).tiny,  # else an m and a v of 0 give 0/0
        amsgrad=bool(v_max),
        maximize=n.maximize,
        grad_scale=n.grad_scale,
        found_inf=n.found_inf,
    )
    _momentum(params, m, n)


def foreach_on_device(tensors: Tensors, grads: TensorList, n: DeviceNumbers) -> None:
    """Take the step tensor by tensor, for any layout, device and warmup."""
    params, m, v, v_max, *_ = tensors
    if n.decay is not None:
        torch._foreach_mul_(params, 1 - n.decay)
    eps = n.eps if n.root_c2 is None else n.eps * n.root_c2
    for i, (p, g) in enumerate(zip(params, grads, strict=True)):
        if n.grad_scale is not None:
            g = g / n.grad_scale
        if n.found_inf is not None:
            g = torch.where(n.found_inf > 0, torch.zeros_like(g), g)
        g = -g if n.maximize else g
        g = g + n.l2 * p if n.l2 else g
        v[i].lerp_(g * g, (n.go * (1 - n.beta2)).to(p.dtype))
        if v_max:
            torch.maximum(v_max[i], v[i], out=v_max[i])
        m[i].lerp_(g, (n.m_moves * (1 - n.beta1)).to(p.dtype))
        denominator = (v_max or v)[i].sqrt() + eps
        denominator.clamp_(min=torch.finfo(p.dtype).tiny)
        p.sub_(n.scale.to(p.dtype) * m[i] / denominator)
    _momentum(params, m, n)


def _momentum(params: TensorList, m: TensorList, n: DeviceNumbers) -> None:
    """Take the momentum step, scaled by a number on the device that is 0 after the start, in few launches."""
    if n.momentum is None:
        return
    pairs = list(zip(params, m, strict=True))
    for p, x in pairs:
        if p.numel() > _SMALL:
            p.addcmul_(x, -n.momentum)  # which needs no copy of it
    if small := [pair for pair in pairs if pair[0].numel() <= _SMALL]:
        moved, moments = map(list, zip(*small, strict=True))
        torch._foreach_sub_(moved, torch._foreach_mul(moments, n.momentum))
