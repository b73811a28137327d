"""A step on Keras's torch backend: all variables at once, with torch's fused op, as :mod:`rectified.optim` steps."""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..optim.step.chunking import in_parts
from ..optim.step.kernels import Kernel, Tensors, alike, foreach, fused, why_not_fused
from ..optim.step.update import numbers

if TYPE_CHECKING:
    from .keras_adam import Adam

Key = tuple[Kernel, torch.device, torch.dtype, torch.dtype, bool]


@torch.no_grad()
def step_all(optimizer: "Adam", grads: Sequence[Any], variables: Sequence[Any], learning_rate: Any) -> None:
    """Step variables with their gradients, those that share device, dtype, kernel and weight decay with one call.

    The count and the learning rate are read by the host, which waits for them if they are on a GPU.
    """
    o = optimizer
    group = {
        "lr": float(learning_rate),
        "betas": (o.beta_1, o.beta_2),
        "eps": o.epsilon,
        "eps_hat": o.eps_hat,
        "weight_decay": o.weight_decay or 0.0,
        "decoupled_weight_decay": True,
        "maximize": False,
        "differentiable": False,
    }
    n = numbers(group, o._warmup_now()[0], int(o.iterations) + 1)
    buckets: dict[Key, list[list[Tensor]]] = {}
    for variable, grad in zip(variables, grads, strict=True):
        i = o._get_variable_index(variable)
        moments = [o._momentums, o._velocities, *([o._velocity_hats] if o.amsgrad else [])]
        # torch takes what Keras calls a variable for a tensor subclass's parameter: only its data is stepped.
        theta, g, *states = (x.data for x in (variable.value, grad, *(column[i].value for column in moments)))
        decays = bool(o.weight_decay) and o._use_weight_decay(variable)
        key = _kernel_for(theta, g, states), theta.device, theta.dtype, g.dtype, decays
        buckets.setdefault(key, []).append([theta, g, *states])
    for (kernel, *_, decays), rows in buckets.items():
        params, gs, *columns = map(list, zip(*rows, strict=True))
        kernel(Tensors(params, *columns), gs, n if decays else n._replace(decay=0.0))


def _kernel_for(theta: Tensor, grad: Tensor, states: list[Tensor]) -> Kernel:
    """The fused op where it can be used, on copies of what differs from the moments."""
    plain = why_not_fused(theta, grad, states) is None
    return _kernel(plain, not alike(theta, states[0]), not alike(grad, states[0]))


@cache
def _kernel(is_fused: bool, copy_params: bool, copy_grads: bool) -> Kernel:
    kernel = fused if is_fused else foreach
    return in_parts(kernel, copy_params, copy_grads, "nearest") if copy_params or copy_grads else kernel
