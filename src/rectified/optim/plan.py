"""What one parameter group does at a step, decided once and kept while nothing it rests on changes.

Which tensors have gradients, which step counts they have, which kernel may take them: finding this out takes longer
than the arithmetic of a small model's step. So it is remembered, and every step checks, tensor by tensor, that it
still holds.
"""

from operator import is_
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .kernels import Kernel, Tensors, foreach, fused, same_layout, why_not_fused

State = dict[Tensor, dict[str, Any]]
Group = dict[str, Any]


class Clock:
    """The step counts of a group: one tensor, of which each parameter's ``state["step"]`` is an element.

    One addition advances them all, and every count is true at any moment, also for whoever reads the state.
    """

    def __init__(self, params: list[Tensor]) -> None:
        dtype = torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32  # as torch.optim
        self.params = params
        self.ticks = torch.zeros(len(params), dtype=dtype, device="cpu")
        self.elements = list(self.ticks.unbind())

    def adopt(self, i: int, entry: dict[str, Any]) -> None:
        """Make ``entry["step"]`` an element of this clock, its count kept."""
        if (step := entry.get("step")) is not self.elements[i]:
            self.elements[i].fill_(float(step or 0))
            entry["step"] = self.elements[i]


class Row(NamedTuple):
    """A parameter that steps, and what must not have changed since the plan was made."""

    param: Tensor
    entry: dict[str, Any]
    step: Tensor
    m: Tensor
    v: Tensor
    v_max: Tensor | None
    shape: torch.Size
    stride: tuple[int, ...]
    grad_stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


class Bucket:
    """Parameters of one group, step count, device, dtype and kernel: they step by one call."""

    def __init__(self, t: int, kernel: Kernel, rows: list[Row]) -> None:
        self.t = t
        self.kernel = kernel
        self.rows = rows
        v_max = [row.v_max for row in rows if row.v_max is not None]
        self.tensors = Tensors([r.param for r in rows], [r.m for r in rows], [r.v for r in rows], v_max)

    def gradients(self, state: State) -> list[Tensor] | None:
        """The gradient of each row; None where any of them is not what it was when the plan was made."""
        grads = []
        for p, entry, step, m, v, v_max, shape, stride, grad_stride, dtype, device in self.rows:
            grad = p.grad
            if (
                grad is None
                or grad.layout is not torch.strided
                or grad.stride() != grad_stride
                or p.stride() != stride
                or p.shape != shape
                or p.dtype is not dtype
                or p.device != device
                or state.get(p) is not entry
                or entry.get("exp_avg") is not m
                or entry.get("exp_avg_sq") is not v
                or entry.get("step") is not step
                or (v_max is not None and entry.get("max_exp_avg_sq") is not v_max)
            ):
                return None
            grads.append(grad)
        return grads


class Plan:
    """The buckets of one group."""

    def __init__(self, group: Group, state: State, old: "Plan | None" = None) -> None:
        params: list[Tensor] = group["params"]
        self.params = list(params)
        self.options = _options(group)
        self.idle = [p for p in params if p.grad is None]
        self.excuses: dict[str, int] = {}  # why the fused op is not used -> the first parameter it concerns
        kept = old is not None and len(old.params) == len(params) and all(map(is_, old.params, params))
        self.clock: Clock = old.clock if old is not None and kept else Clock(self.params)

        rows: list[tuple[int, Row, Kernel]] = []
        for i, p in enumerate(params):
            if p.grad is not None:
                rows.append((i, *self._row(i, p, p.grad, group, state)))
            elif state.get(p):
                self.clock.adopt(i, state[p])
        present = [float(p.grad is not None) for p in params]
        self.present = torch.tensor(present, dtype=self.clock.ticks.dtype, device="cpu")
        self.version = self.clock.ticks._version

        buckets: dict[Any, list[Row]] = {}
        counts = self.clock.ticks.tolist()
        for i, row, kernel in rows:
            key = (int(counts[i]), kernel, row.device, row.dtype)
            buckets.setdefault(key, []).append(row)
        self.buckets = [Bucket(key[0], key[1], some) for key, some in buckets.items()]
        self.buckets.sort(key=lambda bucket: -bucket.t)

    def _row(self, i: int, p: Tensor, grad: Tensor, group: Group, state: State) -> tuple[Row, Kernel]:
        if grad.is_sparse:
            raise RuntimeError(
                f"parameter {i} of shape {tuple(p.shape)} has a sparse gradient, which Adam's moments cannot take: "
                "make it dense (for an embedding: sparse=False) or give it to torch.optim.SparseAdam"
            )
        entry = state[p]
        self.clock.adopt(i, entry)
        names = ["exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * bool(group["amsgrad"])
        for name in names:
            if name not in entry:
                entry[name] = torch.zeros_like(p, memory_format=torch.preserve_format)
            elif entry[name].shape != p.shape:
                raise RuntimeError(
                    f"parameter {i} has shape {tuple(p.shape)}, but its {name} has {tuple(entry[name].shape)}: it was "
                    "resized after it had stepped. Begin it afresh with `del optimizer.state[parameter]`"
                )
            elif not same_layout(entry[name], p):
                # A state from elsewhere (a checkpoint, a model since made channels_last) follows its parameter.
                entry[name] = torch.zeros_like(p, dtype=entry[name].dtype).copy_(entry[name])
        kernel: Kernel = foreach
        if not (group["foreach"] or group["fused"] is False):
            reason = why_not_fused(p, [grad, *(entry[name] for name in names)])
            if reason is None:
                kernel = fused
            else:
                self.excuses.setdefault(reason, i)
        m, v, v_max = (*(entry[name] for name in names), None)[:3]
        row = Row(p, entry, entry["step"], m, v, v_max, p.shape, p.stride(), grad.stride(), p.dtype, p.device)
        return row, kernel

    def gradients(self, group: Group, state: State) -> list[tuple[Bucket, list[Tensor]]] | None:
        """The buckets with their gradients; None where the plan no longer holds."""
        params = group["params"]
        if (
            self.clock.ticks._version != self.version  # someone wrote to a state["step"]
            or len(params) != len(self.params)
            or not all(map(is_, params, self.params))
            or self.options != _options(group)
        ):
            return None
        for p in self.idle:
            if p.grad is not None:
                return None
        found = []
        for bucket in self.buckets:
            grads = bucket.gradients(state)
            if grads is None:
                return None
            found.append((bucket, grads))
        return found

    def advance(self) -> None:
        """Count one step for every parameter that has a gradient."""
        for bucket in self.buckets:
            bucket.t += 1
        self.clock.ticks.add_(self.present)
        self.version = self.clock.ticks._version


def _options(group: Group) -> tuple[Any, ...]:
    return group["amsgrad"], group["foreach"], group["fused"]
