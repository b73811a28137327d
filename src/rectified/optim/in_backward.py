"""Steps within backward: no more gradients exist at a time than one operation makes."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.optim import Optimizer

from .adam import Adam
from .step.dtensor import is_sharded
from .step.plan import Plan
from .wrap.compat import unwrapped


class StepInBackward:
    """Let each parameter step as soon as its gradient is there, and free the gradient.

    Each has its own clock, so that this is the trajectory of ``optimizer.step()`` after backward, without the memory
    for all gradients at once. Schedulers and checkpoints are the optimizer's, as ever. Leave ``optimizer.step()`` where
    it is: it finds nothing to do but for parameters that were thawed or added since, which step there, unclipped, until
    another StepInBackward takes the place of this one.

    A gradient must be whole, and the loss's own, as soon as backward has made it. So there can be no GradScaler, whose
    gradients are scaled (bfloat16 needs none), and no DistributedDataParallel, which sums them over the processes later
    (FSDP2 sums them before).

    What it saves, measured on a CPU, not on a GPU: over forward, backward and step of 16 layers of 256 x 256 on a batch
    of 8, 4.01 bytes a parameter are needed at the peak beside weights and moments, and 0.38 with it: one layer's
    gradients, and the activations. (``pytest tests/optim/test_in_backward.py -k peak`` holds these numbers.)

    Args:
        optimizer: a :class:`rectified.Adam`, AdamW or RAdam, also inside a trainer's wrapper.
        max_norm: clip each parameter's gradient to this norm, its own: the norm over all parameters, which
            ``clip_grad_norm_`` takes, is known only when the first of them have stepped.
        unshared: say True where there are several processes and none of them waits for another's gradients, as with
            the stages of a pipeline.

    Raises:
        TypeError: it is no Adam, AdamW or RAdam of rectified's.
        ValueError: max_norm is not positive, the optimizer is differentiable, or there are several processes and a
            parameter is not sharded by FSDP2, nor `unshared`.
        RuntimeError: from a GradScaler's ``step``, unless it raises itself because it has found no gradients.

    >>> import torch, rectified
    >>> model = torch.nn.Linear(3, 1)
    >>> optimizer = rectified.AdamW(model.parameters())
    >>> in_backward = StepInBackward(optimizer)
    >>> with in_backward.accumulating():
    ...     model(torch.ones(2, 3)).sum().backward()  # gradients stay, and wait for the next
    >>> model(torch.ones(2, 3)).sum().backward()  # the step
    >>> model.weight.grad is None, int(optimizer.state[model.weight]["step"])
    (True, 1)
    """

    def __init__(self, optimizer: Adam, max_norm: float | None = None, unshared: bool = False) -> None:
        optimizer = unwrapped(optimizer)
        if not isinstance(optimizer, Adam):
            raise TypeError(f"optimizer is {optimizer!r}; it must be a rectified.Adam, AdamW or RAdam")
        if max_norm is not None and not 0 < max_norm < math.inf:
            raise ValueError(f"max_norm is {max_norm!r}; it must be a positive number, or None for no clipping")
        if optimizer.defaults["differentiable"]:
            raise ValueError("a differentiable step cannot be taken within backward: its gradients are still needed")
        params = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
        several = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        if several and not unshared and not all(map(is_sharded, params)):
            raise ValueError(
                f"there are {dist.get_world_size()} processes, and parameters that FSDP2 does not shard: they would "
                "step before DistributedDataParallel has summed their gradients. Use FSDP2, step after backward, or "
                "say unshared=True where no gradient is summed"
            )
        self.optimizer = optimizer
        self.max_norm = max_norm
        self._plans: dict[int, Plan] = {}  # by the parameter's id
        self._waiting = False
        self._hooks = [p.register_post_accumulate_grad_hook(self._step) for p in params]
        self._hooks.append(optimizer.register_step_pre_hook(_refuse_scaler))

    @contextmanager
    def accumulating(self) -> Iterator[None]:
        """Within it, backward adds to the gradients and nothing steps."""
        before, self._waiting = self._waiting, True
        try:
            yield
        finally:
            self._waiting = before

    def remove(self) -> None:
        """Step no more within backward."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    @torch.no_grad()
    def _step(self, p: Tensor) -> None:
        if self._waiting:
            return
        if self.max_norm is not None:
            torch.nn.utils.clip_grad_norm_([p], self.max_norm)
        groups = self.optimizer.param_groups
        group, i = next((group, i) for group in groups for i, mine in enumerate(group["params"]) if p is mine)
        alone = {**group, "params": [p]}
        if "param_names" in group:  # by which the optimizer speaks of it
            alone["param_names"] = [group["param_names"][i]]
        # Its own plan; at first another's of the group, for with capturable that has the table which all can share.
        old = self._plans.get(id(p)) or next(
            (self._plans[id(q)] for q in group["params"] if id(q) in self._plans), None
        )
        work = self.optimizer.plan(alone, old)
        self._plans[id(p)] = work[1]
        self.optimizer.take([work])
        group["omega"] = alone["omega"]
        p.grad = None


def _refuse_scaler(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    if getattr(optimizer, "grad_scale", None) is not None or getattr(optimizer, "found_inf", None) is not None:
        raise RuntimeError(
            "a GradScaler takes this step, but the parameters have stepped within backward, by gradients still scaled. "
            "Do without the scaler, which bfloat16 does not need, or without StepInBackward"
        )
