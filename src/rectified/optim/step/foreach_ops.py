"""Parts of a step over lists of tensors, for methods that are more than a factor in front of Adam's update."""

from collections.abc import Iterable

import torch
from torch import Tensor

from .._torch import TensorList
from ..states.dtensor import is_sharded, whole
from .kernels import Kernel, Tensors
from .options import Group
from .plan import Found
from .update import Numbers, correction


def gradients(group: Group, found: Found) -> TensorList:
    """The gradients as the moments see them: with the sign of `maximize`, and with L2 decay unless it is decoupled."""
    grads = found.grads
    if group.get("maximize"):
        grads = torch._foreach_neg(grads)
    if group["weight_decay"] and not group.get("decoupled_weight_decay"):
        grads = torch._foreach_add(grads, found.params, alpha=float(group["weight_decay"]))
    return grads


def decay(group: Group, params: TensorList) -> None:
    """Apply decoupled weight decay: theta *= 1 - lr * weight_decay."""
    if group["weight_decay"] and group.get("decoupled_weight_decay", True):
        torch._foreach_mul_(params, 1 - float(group["lr"]) * float(group["weight_decay"]))


def adam_directions(
    group: Group, t: int, kernel: Kernel, m: TensorList, v: TensorList, grads: TensorList
) -> list[Tensor]:
    """Update Adam's moments and return m_hat / (sqrt(v_hat) + eps) as new tensors, computed by Adam's own kernel."""
    beta1, beta2 = map(float, group["betas"])
    directions = list(map(torch.zeros_like, m))
    root_c2 = correction(beta2, t) ** 0.5
    scale = -root_c2 / correction(beta1, t)
    adam_step(kernel, Tensors(directions, m, v), grads, scale, (beta1, beta2), group["eps"] * root_c2)
    return directions


def adam_step(
    kernel: Kernel,
    tensors: Tensors,
    grads: TensorList,
    scale: float,
    betas: tuple[float, float],
    eps: float,
) -> None:
    """Update m and v, then subtract: theta -= scale * m / (sqrt(v) + eps)."""
    beta1, beta2 = betas
    n = Numbers(
        omega=1.0,
        scale=scale,
        momentum=0.0,
        beta1=beta1,
        beta2=beta2,
        eps=eps,
        l2=0.0,
        decay=0.0,
        maximize=False,
        m_moves=True,
        is_first=False,
        grad_scale=None,
    )
    kernel(tensors, grads, n)


def average(moments: TensorList, grads: TensorList, beta: float) -> None:
    """Update averages of gradients: moment = beta moment + (1 - beta) g."""
    torch._foreach_lerp_(moments, grads, 1 - beta)


def average_squares(moments: TensorList, grads: TensorList, beta: float) -> None:
    """Update averages of squared gradients: moment = beta moment + (1 - beta) g^2."""
    torch._foreach_mul_(moments, beta)
    torch._foreach_addcmul_(moments, grads, grads, 1 - beta)


def root(second: TensorList, eps: float) -> TensorList:
    """The denominators sqrt(v) + eps as new tensors, kept above 0 even if v and eps are 0."""
    found = torch._foreach_sqrt(second)
    torch._foreach_add_(found, eps or torch.finfo(second[0].dtype).tiny)
    return found


def total(tensors: Iterable[Tensor]) -> float:
    """The sum of all elements of all tensors, over all shards of DTensors."""
    sums = (x.sum(dtype=torch.float64) for x in tensors)
    return sum(float(whole(x) if is_sharded(x) else x) for x in sums)


def subtract(params: TensorList, steps: TensorList, lr: float | Tensor) -> None:
    """Subtract steps: theta -= lr * step, where lr may be a tensor on another device."""
    torch._foreach_add_(params, steps, alpha=-float(lr))
