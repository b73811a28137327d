"""The two ways to take a step: torch's fused Adam op, and foreach ops where it is unknown or unwanted.

Every method here is ``theta -= scale * m / (sqrt(v) + eps)`` after the moments have moved, with the bias corrections
and omega folded into ``scale`` (and ``eps``), so the op is given a step count at which its own corrections are 1.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

# 1 - beta^STEP is 1 for every beta below 1. At 1e9 it visibly is not (beta2 = 1 - 1e-9).
_STEP = 1e30

_DEVICES = ("cpu", "cuda", "mps")
_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)

# The op is private to torch. Where its signature is not the one this was tested with, the foreach path serves.
_SIGNATURE = (
    "(Tensor(a!)[] self, Tensor(b!)[] grads, Tensor(c!)[] exp_avgs, Tensor(d!)[] exp_avg_sqs, "
    "Tensor(e!)[] max_exp_avg_sqs, Tensor[] state_steps, *, float lr, float beta1, float beta2, float weight_decay, "
    "float eps, bool amsgrad, bool maximize, Tensor? grad_scale=None, Tensor? found_inf=None) -> ()"
)


def has_known_op() -> bool:
    """Whether this torch has both fused ops with the signature that was tested, lr being a number or a tensor."""
    ops = torch.ops.aten
    try:
        by_number = [str(op.default._schema) for op in (ops._fused_adam_, ops._fused_adamw_)]
        by_tensor = [str(op.tensor_lr._schema) for op in (ops._fused_adam_, ops._fused_adamw_)]
    except AttributeError:
        return False
    return all(schema.endswith(_SIGNATURE) for schema in by_number) and all(
        schema.endswith(_SIGNATURE.replace("float lr", "Tensor lr")) for schema in by_tensor
    )


_HAS_OP = has_known_op()


def why_not_fused(param: Tensor, grad: Tensor, states: Sequence[Tensor]) -> str | None:
    """Why the fused op must not step this parameter, not even on copies of it and its gradient; None if it may.

    The op pairs raw storage: where layouts differ it is silently wrong, and overwrites memory that is not the
    parameter's. So the states must be dense and alike, and what else it is given is made like them first.
    """
    others = [grad, *states]
    if not _HAS_OP:
        return "this torch has no fused Adam op of the known signature"
    if type(param) not in (Tensor, torch.nn.Parameter) or any(type(x) is not Tensor for x in others):
        return "it, its gradient or its state is a tensor subclass"
    if param.device.type not in _DEVICES or any(x.device != param.device for x in others):
        return f"the fused op needs all its tensors on one device of {', '.join(_DEVICES)}"
    m = states[0]
    if m.dtype.to_real() not in _DTYPES or not is_dense(m):
        return "the fused op needs dense states of a dtype that it knows"
    if any(x.dtype is not m.dtype or not same_layout(x, m) for x in states):
        return "the fused op needs states of one dtype and layout"
    return None


def kernel_for(tensors: "Tensors", grads: list[Tensor]) -> "Kernel":
    """The fused op where all that it would be given is dense and alike, else foreach ops. Both take the same step."""
    for p, g, m, v in zip(tensors.params, grads, tensors.m, tensors.v, strict=True):
        if why_not_fused(p, g, [m, v]) or any(x.dtype is not m.dtype or not same_layout(x, m) for x in (p, g)):
            return foreach
    return fused


def is_dense(x: Tensor) -> bool:
    """Whether the elements fill one block of memory, each once, in any order of the dimensions.

    >>> is_dense(torch.empty(3, 4).t()), is_dense(torch.empty(3, 4)[:, :2]), is_dense(torch.ones(1).expand(3))
    (True, False, False)
    """
    expected = 1
    for stride, size in sorted((stride, size) for stride, size in zip(x.stride(), x.shape, strict=True) if size > 1):
        if stride != expected:
            return False
        expected *= size
    return True


def overlaps(x: Tensor) -> bool:
    """Whether x has more elements than the memory that it spans.

    >>> overlaps(torch.empty(4).expand(3, 4)), overlaps(torch.empty(9).unfold(0, 3, 1)), overlaps(torch.empty(4)[::2])
    (True, True, False)
    """
    return x.numel() > 1 and x.numel() > 1 + sum(
        stride * (size - 1) for stride, size in zip(x.stride(), x.shape, strict=True)
    )


def same_layout(x: Tensor, y: Tensor) -> bool:
    """Whether equal indices lie at equal offsets. The stride of a dimension of size 1 says nothing.

    >>> a = torch.empty(6, 1, 5, 5)
    >>> same_layout(a, a.to(memory_format=torch.channels_last))
    True
    """
    if x.shape != y.shape:
        return False
    strides = x.stride(), y.stride()
    return strides[0] == strides[1] or all(p == q for p, q, size in zip(*strides, x.shape, strict=True) if size > 1)


class Tensors(NamedTuple):
    """What steps together: parameters and their states, on one device."""

    params: list[Tensor]
    m: list[Tensor]
    v: list[Tensor]
    v_max: list[Tensor]  # empty unless amsgrad
    compensation: list[Tensor]  # what rounding took from the parameters; empty unless rounding is Kahan's


class Update(NamedTuple):
    """theta *= 1 - decay; m and v take in g + l2 * theta; theta -= scale * m / (sqrt(v) + eps) + momentum * m."""

    scale: float
    momentum: float
    beta1: float
    beta2: float
    eps: float
    l2: float
    decay: float
    maximize: bool
    m_moves: bool  # if not, v alone takes in the gradient
    grad_scale: Tensor | None  # what a GradScaler has multiplied the gradients by


Kernel = Callable[[Tensors, list[Tensor], Any], None]  # with an Update, or a DeviceUpdate


def fused(tensors: Tensors, grads: list[Tensor], update: Update) -> None:
    """The update by torch's fused op: one pass over the memory."""
    if not update.m_moves:
        _second_moment(tensors, grads, update)
        return
    params, m, v, v_max, _ = tensors
    scale, decay = update.scale, update.decay
    op, weight_decay = torch._fused_adam_, update.l2
    if decay:
        if scale > 1e-6 * decay:
            op, weight_decay = torch._fused_adamw_, decay / scale  # the op multiplies by scale again
        else:
            torch._foreach_mul_(params, 1 - decay)
    op(
        params,
        grads,
        m,
        v,
        v_max,
        [step_on(params[0].device)] * len(params),
        lr=scale,
        beta1=update.beta1,
        beta2=update.beta2,
        weight_decay=weight_decay,
        eps=update.eps or torch.finfo(params[0].dtype).tiny,  # else an m and a v of 0 give 0/0
        amsgrad=bool(v_max),
        maximize=update.maximize,
        grad_scale=update.grad_scale,
    )
    if update.momentum:
        torch._foreach_add_(params, m, alpha=-update.momentum)


def foreach(tensors: Tensors, grads: list[Tensor], update: Update) -> None:
    """The update by foreach ops: any layout and device, in a handful of passes."""
    params, m, v, v_max, _ = tensors
    if update.decay:
        torch._foreach_mul_(params, 1 - update.decay)
    total = _second_moment(tensors, grads, update)
    if not update.m_moves:
        return
    torch._foreach_lerp_(m, total, 1 - update.beta1)
    if update.scale:
        denominator = torch._foreach_sqrt(v_max or v)
        torch._foreach_add_(denominator, update.eps or torch.finfo(params[0].dtype).tiny)
        torch._foreach_addcdiv_(params, m, list(denominator), -update.scale)
    if update.momentum:
        torch._foreach_add_(params, m, alpha=-update.momentum)


def _second_moment(tensors: Tensors, grads: list[Tensor], update: Update) -> list[Tensor]:
    """v, alone, takes in the gradient with its sign and L2 decay, which is returned. The user's is never written."""
    params, _, v, v_max, _ = tensors
    total = grads
    if update.grad_scale is not None:
        total = list(torch._foreach_mul(total, 1 / update.grad_scale))
    if update.maximize:
        total = list(torch._foreach_neg(total))
    if update.l2:
        total = list(torch._foreach_add(total, params, alpha=update.l2))
    torch._foreach_mul_(v, update.beta2)
    torch._foreach_addcmul_(v, total, total, 1 - update.beta2)
    if v_max:
        torch._foreach_maximum_(v_max, v)
    return total


@cache
def step_on(device: torch.device) -> Tensor:
    return torch.tensor(_STEP, dtype=torch.float32, device=device)
