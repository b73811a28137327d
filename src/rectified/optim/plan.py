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

    def __init__(self, size: int) -> None:
        dtype = torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32  # as torch.optim
        self.ticks = torch.zeros(size, dtype=dtype, device="cpu")
        self.elements = self.ticks.unbind()

    def adopt(self, entries: list[dict[str, Any] | None]) -> list[int]:
        """Make every entry's step an element of this clock, its count kept; returns the counts."""
        ticks = self.ticks.tolist()
        counts = []
        # All are read before any is written: an entry moved to another parameter brings that one's element along.
        for entry, element, tick in zip(entries, self.elements, ticks, strict=True):
            step = entry.get("step", 0) if entry is not None else 0
            counts.append(tick if step is element else float(step))
        if counts != ticks:
            self.ticks.copy_(torch.tensor(counts, dtype=self.ticks.dtype, device="cpu"))
        for entry, element in zip(entries, self.elements, strict=True):
            if entry is not None:
                entry["step"] = element
        return [int(count) for count in counts]


class Row(NamedTuple):
    """A parameter that steps, and what must not have changed since the plan was made."""

    param: Tensor
    entry: dict[str, Any]
    step: Tensor
    m: Tensor
    v: Tensor
    v_max: Tensor | None
    grad_stride: tuple[int, ...]
    stride: tuple[int, ...]
    size: int
    memory: tuple[int, int, int]


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
        for p, entry, step, m, v, v_max, grad_stride, stride, size, memory in self.rows:
            grad = p.grad
            if (
                grad is None
                or grad.layout is not torch.strided
                or grad.stride() != grad_stride
                or p.stride() != stride
                or p.numel() != size
                # `x.data = ...` moves x elsewhere: to another layout, dtype or device, or from where another x was
                or (p.data_ptr(), m.data_ptr(), v.data_ptr()) != memory
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
        self.params: list[Tensor] = list(group["params"])
        self.options = _options(group)
        self.idle = [p for p in self.params if p.grad is None]
        self.excuses: dict[str, int] = {}  # why the fused op is not used -> the first parameter it concerns

        kept = old is not None and _same(old.params, self.params)
        self.clock: Clock = old.clock if old is not None and kept else Clock(len(self.params))
        entries = [state[p] if p.grad is not None else state.get(p) or None for p in self.params]
        counts = self.clock.adopt(entries)
        self.version = self.clock.ticks._version
        present = [float(p.grad is not None) for p in self.params]
        self.present = torch.tensor(present, dtype=self.clock.ticks.dtype, device="cpu")

        buckets: dict[Any, list[Row]] = {}
        for i, p in enumerate(self.params):
            if p.grad is not None:
                row, kernel = self._row(i, p, p.grad, group, state[p])
                buckets.setdefault((counts[i], kernel, p.device, p.dtype), []).append(row)
        self.buckets = [Bucket(key[0], key[1], rows) for key, rows in buckets.items()]
        self.buckets.sort(key=lambda bucket: -bucket.t)

    def _row(self, i: int, p: Tensor, grad: Tensor, group: Group, entry: dict[str, Any]) -> tuple[Row, Kernel]:
        if grad.is_sparse:
            raise RuntimeError(
                f"parameter {i} of shape {tuple(p.shape)} has a sparse gradient, which Adam's moments cannot take: "
                "make it dense (for an embedding: sparse=False) or give it to torch.optim.SparseAdam"
            )
        names = ["exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * bool(group["amsgrad"])
        for name in names:
            entry[name] = _following(p, entry.get(name), f"parameter {i}", name)
        m, v, v_max = (*(entry[name] for name in names), None)[:3]

        kernel: Kernel = foreach
        if not (group["foreach"] or group["fused"] is False):
            reason = why_not_fused(p, [grad, *(entry[name] for name in names)])
            if reason is None:
                kernel = fused
            else:
                self.excuses.setdefault(reason, i)
        memory = p.data_ptr(), m.data_ptr(), v.data_ptr()
        return Row(p, entry, entry["step"], m, v, v_max, grad.stride(), p.stride(), p.numel(), memory), kernel

    def gradients(self, group: Group, state: State) -> list[tuple[Bucket, list[Tensor]]] | None:
        """The buckets with their gradients; None where the plan no longer holds."""
        if (
            self.clock.ticks._version != self.version  # someone wrote to a state["step"]
            or not _same(group["params"], self.params)
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


def _following(p: Tensor, moment: Tensor | None, whose: str, name: str) -> Tensor:
    """The moment, new if there is none, with its parameter's layout, dtype and device.

    One from a checkpoint, or of a model that was converted or moved since, may have others.
    """
    if moment is None:
        return torch.zeros_like(p, memory_format=torch.preserve_format)
    if moment.shape != p.shape:
        raise RuntimeError(
            f"{whose} has shape {tuple(p.shape)}, but its {name} has {tuple(moment.shape)}: it was resized after it "
            "had stepped. Begin it afresh with `del optimizer.state[parameter]`"
        )
    if moment.dtype is p.dtype and moment.device == p.device and same_layout(moment, p):
        return moment
    return torch.zeros_like(p, memory_format=torch.preserve_format).copy_(moment)


def _same(some: list[Tensor], others: list[Tensor]) -> bool:
    return len(some) == len(others) and all(map(is_, some, others))


def _options(group: Group) -> tuple[Any, ...]:
    return group["amsgrad"], group["foreach"], group["fused"]
