"""Optimizer steps during the backward pass, which free each gradient immediately."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.optim import Optimizer

from .adam import Adam
from .observe.remembered import observing
from .states.dtensor import is_sharded
from .step.plan import Plan
from .wrap.compat import unwrapped


class StepInBackward:
    """Step each parameter during backward as soon as its gradient is available, and free the gradient.

    Each parameter has its own step count, so the trajectory is that of ``optimizer.step()`` after backward, without the
    memory for all gradients at once. Schedulers and checkpoints work as usual. Keep the call of ``optimizer.step()``:
    it only steps parameters that were unfrozen or added since, without clipping, until another StepInBackward replaces
    this one.

    A gradient must be complete and unscaled when backward has computed it. This excludes GradScaler, whose gradients
    are scaled (bfloat16 needs none), and DistributedDataParallel, which sums gradients over processes later (FSDP2
    sums them earlier).

    Memory, measured on a CPU, not on a GPU: forward, backward and step of 16 layers of 256 x 256 on a batch of 8 need
    4.01 bytes per parameter at the peak in addition to weights and moments without this class, and 0.38 with it: one
    layer's gradients, and the activations. (``pytest tests/optim/test_in_backward.py -k peak`` checks these numbers.)

    Args:
        optimizer: a :class:`rectified.Adam`, AdamW or RAdam, possibly inside a trainer's wrapper.
        max_norm: clip each parameter's own gradient to this norm. The global norm of ``clip_grad_norm_`` is known only
            after the first parameters have stepped.
        unshared: set to True if there are several processes but gradients are not shared between them, as with the
            stages of a pipeline.

    Raises:
        TypeError: the optimizer is not an Adam, AdamW or RAdam of rectified.
        ValueError: max_norm is not positive, the optimizer is differentiable, its warmup observes the run, or there
            are several processes and a parameter is neither sharded by FSDP2 nor `unshared`.
        RuntimeError: from a GradScaler's ``step``, unless it raises itself because it found no gradients.

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
            raise ValueError("a differentiable step cannot be taken during backward: its gradients are still needed")
        if any(observing(group.get("warmup")) for group in optimizer.param_groups):
            raise ValueError(
                "a warmup that observes the run does so before a step, and during backward there is no such moment: "
                "step after backward, or use a warmup that is a function of t, such as Linear"
            )
        params = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
        several = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        if several and not unshared and not all(map(is_sharded, params)):
            raise ValueError(
                f"there are {dist.get_world_size()} processes and parameters that FSDP2 does not shard: they would "
                "step before DistributedDataParallel has summed their gradients. Use FSDP2, step after backward, or "
                "set unshared=True if no gradients are summed"
            )
        self.optimizer = optimizer
        self.max_norm = max_norm
        self._plans: dict[int, Plan] = {}  # by the parameter's id
        self._waiting = False
        self._hooks = [p.register_post_accumulate_grad_hook(self._step) for p in params]
        self._hooks.append(optimizer.register_step_pre_hook(_refuse_scaler))

    @contextmanager
    def accumulating(self) -> Iterator[None]:
        """A context in which backward only accumulates gradients and no parameter steps."""
        before, self._waiting = self._waiting, True
        try:
            yield
        finally:
            self._waiting = before

    def remove(self) -> None:
        """Stop stepping during backward."""
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
        if "param_names" in group:  # the name that the optimizer's errors use
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
            "a GradScaler takes this step, but the parameters have already stepped during backward, with scaled "
            "gradients. Remove the scaler, which bfloat16 does not need, or StepInBackward"
        )
