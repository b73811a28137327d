"""What one parameter group does at a step, decided once and kept while nothing it rests on changes.

Which tensors have gradients, which step counts they have, which kernel may take them: finding this out takes longer
than the arithmetic of a small model's step. So it is remembered, and every step checks, tensor by tensor, that it
still holds.
"""

from collections.abc import Callable
from operator import is_, itemgetter
from typing import Any

import torch
from torch import Tensor

from .kernels import Kernel, Tensors, foreach, fused, is_dense, same_layout, why_not_fused

State = dict[Tensor, dict[str, Any]]
Group = dict[str, Any]


class Clock:
    """The step counts of a group: one tensor, of which each parameter's ``state["step"]`` is an element.

    One addition advances them all, and every count is true at any moment, also for whoever reads the state.
    """

    def __init__(self, size: int) -> None:
        dtype = torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32  # as torch.optim
        with torch.inference_mode(False):  # whose tensors have no version
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


class Bucket:
    """Parameters of one group, step count, device, dtype and kernel: they step by one call.

    Args:
        t: steps they have taken.
        params, entries: the parameters, and the ``state[p]`` of each.
        names: of the moments in each entry.
    """

    def __init__(
        self, t: int, kernel: Kernel, params: list[Tensor], entries: list[dict[str, Any]], names: list[str]
    ) -> None:
        self.t = t
        self.kernel = kernel
        self.entries = entries
        columns = [[entry[name] for entry in entries] for name in names]
        m, v, v_max = (*columns, [])[:3]
        self.tensors = Tensors(params, m, v, v_max)
        self.held = [(itemgetter("step"), [entry["step"] for entry in entries])]
        self.held += [(itemgetter(name), column) for name, column in zip(names, columns, strict=True)]
        self.moving = [*params, *m, *v, *v_max]
        self.layout = self._layout()
        self.grad_strides = [p.grad.stride() for p in params if p.grad is not None]

    def gradients(self, state: State) -> list[Tensor] | None:
        """The gradients; None where anything is not what it was when the plan was made."""
        params = self.tensors.params
        grads: list[Any] = [p.grad for p in params]
        try:
            holds = (
                list(map(_strides, grads)) == self.grad_strides
                # `x.data = ...` moves x elsewhere, to another layout, dtype or device
                and self._layout() == self.layout
                and all(map(is_, map(state.get, params), self.entries))
                and all(all(map(is_, map(get, self.entries), column)) for get, column in self.held)
            )
        except (TypeError, RuntimeError, KeyError):  # None and a sparse gradient have no strides; a moment is gone
            return None
        return grads if holds else None

    def _layout(self) -> tuple[list[Any], ...]:
        moving = self.moving
        sizes = map(Tensor.numel, self.tensors.params)
        return list(map(_strides, moving)), list(map(Tensor.data_ptr, moving)), list(sizes)


class Plan:
    """The buckets of one group."""

    def __init__(self, group: Group, state: State, old: "Plan | None" = None) -> None:
        self.params: list[Tensor] = list(group["params"])
        self.options = _options(group)
        self.idle = [p for p in self.params if p.grad is None]
        self.excuses: dict[str, int] = {}  # why the fused op is not used -> the first parameter it concerns
        names = ["exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * bool(group["amsgrad"])
        for i, p in enumerate(self.params):  # before anything is written
            _refuse(p, state.get(p, {}), names, f"parameter {i}")

        kept = old is not None and _same(old.params, self.params)
        self.clock: Clock = old.clock if old is not None and kept else Clock(len(self.params))
        entries = [state[p] if p.grad is not None else state.get(p) or None for p in self.params]
        counts = self.clock.adopt(entries)
        self.version = self.clock.ticks._version
        present = [float(p.grad is not None) for p in self.params]
        self.present = torch.tensor(present, dtype=self.clock.ticks.dtype, device="cpu")

        found: dict[Any, list[Tensor]] = {}
        for i, p in enumerate(self.params):
            if p.grad is None:
                continue
            entry = state[p]
            for name in names:
                entry[name] = _following(p, entry.get(name))
            kernel: Kernel = foreach
            if not (group["foreach"] or group["fused"] is False):
                reason = why_not_fused(p, [p.grad, *(entry[name] for name in names)])
                if reason is None:
                    kernel = fused
                else:
                    self.excuses.setdefault(reason, i)
            found.setdefault((counts[i], kernel, p.device, p.dtype), []).append(p)
        self.buckets = [
            Bucket(key[0], key[1], params, [state[p] for p in params], names) for key, params in found.items()
        ]
        self.buckets.sort(key=lambda bucket: -bucket.t)

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


def _refuse(p: Tensor, entry: dict[str, Any], names: list[str], whose: str) -> None:
    """Raise for what no step can be taken with."""
    if p.grad is not None and p.grad.is_sparse:
        raise RuntimeError(
            f"{whose} of shape {tuple(p.shape)} has a sparse gradient, which Adam's moments cannot take: "
            "make it dense (for an embedding: sparse=False) or give it to torch.optim.SparseAdam"
        )
    for name in names:
        if name in entry and entry[name].shape != p.shape:
            raise RuntimeError(
                f"{whose} has shape {tuple(p.shape)}, but its {name} has {tuple(entry[name].shape)}: it was resized "
                "after it had stepped. Begin it afresh with `del optimizer.state[parameter]`"
            )


def _following(p: Tensor, moment: Tensor | None) -> Tensor:
    """The moment, new if there is none, with its parameter's layout, dtype and device.

    One from a checkpoint, or of a model that was converted or moved since, may have others. (A parameter that is not
    dense has a layout that nothing new can have: there a moment stays as it is.)
    """
    if moment is None:
        return torch.zeros_like(p, memory_format=torch.preserve_format)
    if moment.dtype is p.dtype and moment.device == p.device and (same_layout(moment, p) or not is_dense(p)):
        return moment
    return torch.zeros_like(p, memory_format=torch.preserve_format).copy_(moment)


# Mapped methods of C: this comparison is what a small model's step costs beside the op.
_strides: Callable[[Tensor], tuple[int, ...]] = Tensor.stride


def _same(some: list[Tensor], others: list[Tensor]) -> bool:
    return len(some) == len(others) and all(map(is_, some, others))


def _options(group: Group) -> tuple[Any, ...]:
    return group["amsgrad"], group["foreach"], group["fused"]
