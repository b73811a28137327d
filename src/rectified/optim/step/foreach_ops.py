"""Pieces of a step over lists of tensors, for the methods that are not one scalar in front of Adam's."""

from collections.abc import Iterable

import torch
from torch import Tensor

from .._torch import TensorList
from .dtensor import is_sharded, whole
from .kernels import Kernel, Tensors
from .options import Group
from .plan import Found
from .update import Numbers, correction


def gradients(group: Group, found: Found) -> TensorList:
    """What the moments take in: with the sign of `maximize`, and with L2 decay unless that is decoupled."""
    grads = found.grads
    if group.get("maximize"):
        grads = torch._foreach_neg(grads)
    if group["weight_decay"] and not group.get("decoupled_weight_decay"):
        grads = torch._foreach_add(grads, found.params, alpha=float(group["weight_decay"]))
    return grads


def decay(group: Group, params: TensorList) -> None:
    """theta *= 1 - lr * weight_decay, where that is decoupled."""
    if group["weight_decay"] and group.get("decoupled_weight_decay", True):
        torch._foreach_mul_(params, 1 - float(group["lr"]) * float(group["weight_decay"]))


def adam_directions(
    group: Group, t: int, kernel: Kernel, m: TensorList, v: TensorList, grads: TensorList
) -> list[Tensor]:
    """Adam's moments take in the gradients; m_hat / (sqrt(v_hat) + eps), new tensors, by Adam's own kernel."""
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
    """theta -= scale * m / (sqrt(v) + eps), once m and v have taken in the gradients."""
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
    """moment = beta moment + (1 - beta) g."""
    torch._foreach_lerp_(moments, grads, 1 - beta)


def average_squares(moments: TensorList, grads: TensorList, beta: float) -> None:
    """moment = beta moment + (1 - beta) g^2."""
    torch._foreach_mul_(moments, beta)
    torch._foreach_addcmul_(moments, grads, grads, 1 - beta)


def root(second: TensorList, eps: float) -> TensorList:
    """sqrt(v) + eps, new tensors; above 0 where v is 0 and eps is too."""
    found = torch._foreach_sqrt(second)
    torch._foreach_add_(found, eps or torch.finfo(second[0].dtype).tiny)
    return found


def total(tensors: Iterable[Tensor]) -> float:
    """The sum of all their elements, of DTensors over all shards."""
    sums = (x.sum(dtype=torch.float64) for x in tensors)
    return sum(float(whole(x) if is_sharded(x) else x) for x in sums)


def subtract(params: TensorList, steps: TensorList, lr: float | Tensor) -> None:
    """theta -= lr * step, where lr may be a tensor on another device."""
    torch._foreach_add_(params, steps, alpha=-float(lr))
