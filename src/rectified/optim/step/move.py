"""One step of what steps together: from a group's options to the kernel's numbers."""

from typing import Any

from torch import Tensor

from .capturable import device_update
from .coefficients import coefficients
from .differentiable import differentiable_step
from .kernels import Update
from .options import Group
from .plan import Bucket, Plan


def move(group: Group, bucket: Bucket, grads: list[Tensor], omega: float, grad_scale: Tensor | None) -> None:
    """Take the step of one bucket, counted on the host."""
    if grad_scale is not None:  # there may be parameters on several devices
        grad_scale = grad_scale.to(bucket.tensors.params[0].device)
    at = coefficients(group, bucket.t + 1, omega)
    lr = _scalar(group["lr"]) if group["differentiable"] else float(group["lr"])
    decoupled, weight_decay = group["decoupled_weight_decay"], group["weight_decay"]
    beta1, beta2 = map(float, group["betas"])
    update = Update(
        scale=lr * at.scale,
        momentum=lr * at.momentum,
        beta1=beta1,
        beta2=beta2,
        eps=group["eps"] if group["eps_hat"] else group["eps"] * at.root_c2,
        l2=0.0 if decoupled else weight_decay,
        decay=lr * weight_decay * at.moves if decoupled else 0.0,
        maximize=group["maximize"],
        m_moves=bool(at.m_moves),
        grad_scale=grad_scale,
    )
    if group["differentiable"]:
        differentiable_step(bucket, grads, update)
    else:
        bucket.kernel(bucket.tensors, grads, update)


def move_on_device(
    group: Group,
    plan: Plan,
    found: list[tuple[Bucket, list[Tensor]]],
    grad_scale: Tensor | None,
    found_inf: Tensor | None,
) -> None:
    """Take the step of a whole group, counted on the device."""
    if found_inf is not None:  # a sum over devices, of which each may have found some
        found_inf = (found_inf > 0).float()
    plan.advance(None if found_inf is None else 1 - found_inf)
    beta1 = plan.betas[0] if isinstance(group["betas"][0], Tensor) else group["betas"][0]
    for bucket, grads in reversed(found):
        count = bucket.entries[0]["step"]
        update = device_update(group, plan.schedules[count.device], beta1, count, grad_scale, found_inf)
        bucket.kernel(bucket.tensors, grads, update)
        group["omega"] = update.omega  # of the parameters that have stepped most often, the last here


def _scalar(lr: float | Tensor) -> Any:
    """Without dimensions, of which a parameter may have none either."""
    return lr.reshape(()) if isinstance(lr, Tensor) else lr
