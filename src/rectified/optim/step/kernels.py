"""The kernels of a step with numbers from the host: torch's fused Adam op, and foreach ops if that cannot be used.

Both compute :func:`rectified.optim.step.update.update`: bias corrections and omega are folded into ``scale`` (and
``eps``), so the fused op gets a step count at which its own corrections are 1.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import _torch
from .._torch import TensorList
from .update import Numbers

# 1 - beta^STEP is 1 for every beta below 1. At 1e9 it is not (beta2 = 1 - 1e-9).
_STEP = 1e30

_DEVICES = ("cpu", "cuda", "mps")
_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


class Tensors(NamedTuple):
    """The tensors that step together: parameters and their states, on one device."""

    params: TensorList
    m: TensorList
    v: TensorList
    v_max: TensorList = ()  # empty unless amsgrad
    compensation: TensorList = ()  # the rounding errors of the parameters; empty unless rounding is Kahan's
    m_codes: TensorList = ()  # of moments in 8 bits, as all that follows; m and v are empty then
    v_codes: TensorList = ()
    m_scale: TensorList = ()
    v_scale: TensorList = ()


class BucketKernel(ABC):
    """A kernel that remembers something of the tensors that it steps, and is made again with each plan."""

    @abstractmethod
    def for_bucket(self, captured: list[Any]) -> "BucketKernel":
        """One that remembers nothing.

        Args:
            captured: the optimizer's list of what a CUDA graph reads, to which the kernel adds: a graph outlives plans.
        """

    @abstractmethod
    def __call__(self, tensors: Tensors, grads: TensorList, n: Any) -> None:
        """Take the step."""


Kernel = Callable[[Tensors, TensorList, Any], None]  # with Numbers, or with DeviceNumbers


def fused(tensors: Tensors, grads: TensorList, n: Numbers) -> None:
    """Take the step with torch's fused op: one pass over memory."""
    if not n.m_moves:
        _second_moment(tensors, grads, n)
        return
    params, m, v, v_max = tensors[:4]
    op, weight_decay = _torch.fused_adam, n.l2
    if n.decay:
        if n.scale > 1e-6 * n.decay:
            op, weight_decay = _torch.fused_adamw, n.decay / n.scale  # the op multiplies by scale again
        else:
            torch._foreach_mul_(params, 1 - n.decay)
    op(
        params,
        grads,
        m,
        v,
        v_max,
        [step_on(params[0].device)] * len(params),
        lr=n.scale,
        beta1=n.beta1,
        beta2=n.beta2,
        weight_decay=weight_decay,
        eps=n.eps or torch.finfo(params[0].dtype).tiny,  # else an m and a v of 0 give 0/0
        amsgrad=bool(v_max),
        maximize=n.maximize,
        grad_scale=n.grad_scale,
    )
    if n.momentum:
        torch._foreach_add_(params, m, alpha=-n.momentum)


def foreach(tensors: Tensors, grads: TensorList, n: Numbers) -> None:
    """Take the step with foreach ops, for any layout and device, in several passes."""
    params, m, v, v_max, *_ = tensors
    if n.decay:
        torch._foreach_mul_(params, 1 - n.decay)
    total = _second_moment(tensors, grads, n)
    if not n.m_moves:
        return
    torch._foreach_lerp_(m, total, 1 - n.beta1)
    if n.scale:
        denominator = torch._foreach_sqrt(v_max or v)
        torch._foreach_add_(denominator, n.eps or torch.finfo(params[0].dtype).tiny)
        torch._foreach_addcdiv_(params, m, denominator, -n.scale)
    if n.momentum:
        torch._foreach_add_(params, m, alpha=-n.momentum)


def _second_moment(tensors: Tensors, grads: TensorList, n: Numbers) -> TensorList:
    """Update only v; return the gradients with sign and L2 decay, without modifying the user's gradients."""
    params, _, v, v_max, *_ = tensors
    total = grads
    if n.grad_scale is not None:
        total = torch._foreach_mul(total, 1 / n.grad_scale)
    if n.maximize:
        total = torch._foreach_neg(total)
    if n.l2:
        total = torch._foreach_add(total, params, alpha=n.l2)
    torch._foreach_mul_(v, n.beta2)
    torch._foreach_addcmul_(v, total, total, 1 - n.beta2)
    if v_max:
        torch._foreach_maximum_(v_max, v)
    return total


def name_of(kernel: Kernel) -> str:
    """What :func:`rectified.explain` calls a kernel.

    >>> name_of(fused), name_of(foreach)
    ('fused', 'foreach')
    """
    name: str = kernel.__name__ if hasattr(kernel, "__name__") else type(kernel).__name__
    return name.removesuffix("_on_device")


def why_not_fused(param: Tensor, grad: Tensor, states: TensorList) -> str | None:
    """Why the fused op cannot step this parameter, even on copies of it and its gradient; None if it can.

    The op pairs raw storage: if layouts differ, it is silently wrong and overwrites other memory. So the states must be
    dense with equal layouts, and other tensors are copied to match them first.
    """
    others = [grad, *states]
    if not _torch.HAS_FUSED_ADAM:
        return "this torch has no fused Adam op of the known signature"
    if type(param) not in (Tensor, torch.nn.Parameter) or any(type(x) is not Tensor for x in others):
        return "the parameter, its gradient or its state is a tensor subclass"
    if param.device.type not in _DEVICES or any(x.device != param.device for x in others):
        return f"the fused op needs all its tensors on one device of {', '.join(_DEVICES)}"
    m = states[0]
    if m.dtype.to_real() not in _DTYPES or not is_dense(m):
        return "the fused op needs dense states of a supported dtype"
    if any(x.dtype is not m.dtype or not same_layout(x, m) for x in states):
        return "the fused op needs states of one dtype and layout"
    return None


def is_dense(x: Tensor) -> bool:
    """Whether a tensor's elements fill one block of memory without gaps and overlaps, in any dimension order.

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
    """Whether a tensor has several elements at the same memory location.

    >>> overlaps(torch.empty(4).expand(3, 4)), overlaps(torch.empty(9).unfold(0, 3, 1)), overlaps(torch.empty(4)[::2])
    (True, True, False)
    """
    return x.numel() > 1 and x.numel() > 1 + sum(
        stride * (size - 1) for stride, size in zip(x.stride(), x.shape, strict=True)
    )


def same_layout(x: Tensor, y: Tensor) -> bool:
    """Whether two tensors have equal strides, ignoring dimensions of size 1.

    >>> a = torch.empty(6, 1, 5, 5)
    >>> same_layout(a, a.to(memory_format=torch.channels_last))
    True
    """
    if x.shape != y.shape:
        return False
    strides = x.stride(), y.stride()
    return strides[0] == strides[1] or all(p == q for p, q, size in zip(*strides, x.shape, strict=True) if size > 1)


def alike(x: Tensor, moment: Tensor) -> bool:
    """Whether a tensor has the moment's dtype and layout, so that a kernel needs no copy of it."""
    return x.dtype is moment.dtype and same_layout(x, moment)


@cache
def step_on(device: torch.device) -> Tensor:
    """The step count at which the fused op's own bias corrections are 1."""
    return torch.tensor(_STEP, dtype=torch.float32, device=device)
