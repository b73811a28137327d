"""What one parameter group does at a step, decided once and kept while nothing it rests on changes.

Which tensors have gradients, which step counts they have, which kernel may take them: finding this out takes longer
than the arithmetic of a small model's step. So it is remembered, and every step checks, tensor by tensor, that it
still holds.
"""

from collections.abc import Callable
from itertools import chain
from operator import is_, itemgetter
from typing import Any

import torch
from torch import Tensor

from .capturable import Schedule, foreach_on_device, fused_on_device
from .chunking import alike, in_parts
from .dtensor import local, shards_alike
from .kernels import Kernel, Tensors, foreach, fused, is_dense, overlaps, same_layout, why_not_fused
from .low_precision import NARROW
from .options import Group

State = dict[Tensor, dict[str, Any]]
STATES = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "compensation")  # torch's names, in the order of Tensors


class Clock:
    """The step counts of a group: one tensor, of which each parameter's ``state["step"]`` is an element.

    One addition advances them all, and every count is true at any moment, also for whoever reads the state.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        dtype = torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32  # as torch.optim
        with torch.inference_mode(False):  # whose tensors have no version
            self.ticks = torch.zeros(size, dtype=dtype, device=device)
        self.elements = self.ticks.unbind()
        self.present = torch.zeros_like(self.ticks)  # 1 where a parameter has a gradient
        self.version = -1

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
        self.version = self.ticks._version
        return [int(count) for count in counts]

    def holds(self) -> bool:
        """Whether nobody else has written to a ``state["step"]``."""
        return self.ticks._version == self.version

    def advance(self, go: Tensor | None = None) -> None:
        """Count a step where there is a gradient; none if `go` is 0."""
        self.ticks.add_(self.present if go is None else self.present * go.to(self.ticks))
        self.version = self.ticks._version


class Bucket:
    """Parameters of one group, step count, device, dtype and kernel: they step by one call.

    Args:
        t: steps they have taken.
        params, entries: the parameters, and the ``state[p]`` of each.
        names: of the tensors in each entry beside its step.
        sharded: they are DTensors, and step shard by shard.
    """

    def __init__(
        self,
        t: int,
        kernel: Kernel,
        params: list[Tensor],
        entries: list[dict[str, Any]],
        names: list[str],
        sharded: bool,
    ) -> None:
        self.t = t
        self.kernel = kernel
        self.params = params
        self.entries = entries
        self.sharded = sharded
        columns = {name: [entry[name] for entry in entries] for name in names}
        whole = [params, *(columns.get(name, []) for name in STATES)]
        self.tensors = Tensors(*([local(x) for x in column] if sharded else column for column in whole))
        self.held = [(itemgetter("step"), [entry["step"] for entry in entries])]
        self.held += [(itemgetter(name), column) for name, column in columns.items()]
        self.moving = list(chain(*self.tensors))
        self.layout = self._layout()
        self.grad_strides = [p.grad.stride() for p in params if p.grad is not None]

    def gradients(self, state: State) -> list[Tensor] | None:
        """The gradients; None where anything is not what it was when the plan was made."""
        params = self.params
        grads: list[Any] = [p.grad for p in params]
        try:
            if self.sharded:
                if not all(shards_alike(p, [g]) for p, g in zip(params, grads, strict=True)):
                    return None
                # FSDP may give a parameter another shard.
                if [local(p).data_ptr() for p in params] != [x.data_ptr() for x in self.tensors.params]:
                    return None
            holds = (
                list(map(_strides, grads)) == self.grad_strides
                # `x.data = ...` moves x elsewhere, to another layout, dtype or device
                and self._layout() == self.layout
                and all(map(is_, map(state.get, params), self.entries))
                and all(all(map(is_, map(get, self.entries), column)) for get, column in self.held)
            )
        except (TypeError, RuntimeError, KeyError):  # None and a sparse gradient have no strides; a moment is gone
            return None
        if not holds:
            return None
        return [local(g) for g in grads] if self.sharded else grads

    def _layout(self) -> tuple[list[Any], ...]:
        moving = self.moving
        sizes = map(Tensor.numel, self.tensors.params)
        return list(map(_strides, moving)), list(map(Tensor.data_ptr, moving)), list(sizes)


class Plan:
    """The buckets of one group."""

    def __init__(self, group: Group, state: State, old: "Plan | None" = None) -> None:
        self.params: list[Tensor] = list(group["params"])
        self.options = _options(group)
        # With capturable a tensor beta is read here, and not at a step.
        self.betas = tuple(map(float, group["betas"])) if group["capturable"] else ()
        self.idle = [p for p in self.params if p.grad is None]
        self.excuses: dict[str, int] = {}  # why the fused op is not used -> the first parameter it concerns
        for i, p in enumerate(self.params):  # before anything is written
            _refuse(p, state.get(p, {}), group, f"parameter {i}")

        kept = old is not None and _same(old.params, self.params)
        self.clocks: dict[torch.device, Clock] = {}  # one, or with capturable one a device
        self.schedules: dict[torch.device, Schedule] = {}
        counts = [0] * len(self.params)
        on = [p.device if group["capturable"] else torch.device("cpu") for p in self.params]
        for device in dict.fromkeys(on):
            clock = old.clocks.get(device) if old is not None and kept else None
            self.clocks[device] = clock = clock or Clock(len(self.params), device)
            mine = [here == device for here in on]
            with_grad = [m and p.grad is not None for m, p in zip(mine, self.params, strict=True)]
            entries = [
                state[p] if g else (state.get(p) or None) if m else None
                for m, g, p in zip(mine, with_grad, self.params, strict=True)
            ]
            counts = [c if m else o for c, o, m in zip(clock.adopt(entries), counts, mine, strict=True)]
            clock.present.copy_(torch.tensor(with_grad))
            if group["capturable"]:
                known = old.schedules.get(device) if old is not None else None
                fits = known is not None and (known.warmup, known.beta2) == (group["warmup"], self.betas[1])
                self.schedules[device] = known if known is not None and fits else Schedule(group, device)

        found: dict[Any, list[Tensor]] = {}
        for i, p in enumerate(self.params):
            if p.grad is None:
                continue
            entry = state[p]
            wide = state_dtype(p, group)
            names = _names(p, group)
            for name in names:
                entry[name] = _following(p, entry.get(name), p.dtype if name == "compensation" else wide)
            sharded = shards_alike(p, [p.grad, *(entry[name] for name in names)])
            others = [p.grad, *(entry[name] for name in names if name != "compensation")]
            theta, grad, *states = map(local, [p, *others]) if sharded else [p, *others]
            kernel: Any = foreach_on_device if group["capturable"] else foreach
            delayed = bool(self.schedules) and self.schedules[p.device].has_delay
            if not (delayed or group["foreach"] or group["fused"] is False or group["differentiable"]):
                reason = why_not_fused(theta, grad, states)
                if reason is None:
                    kernel = fused_on_device if group["capturable"] else fused
                else:
                    self.excuses.setdefault(reason, i)
            copied = not alike(theta, states[0]), not alike(grad, states[0])
            if kernel in (foreach, foreach_on_device) or any(copied) or theta.is_complex():
                kernel = in_parts(kernel, *copied, group["rounding"] if wide is not p.dtype else "nearest")
            found.setdefault((counts[i], kernel, sharded, p.device, p.dtype), []).append(p)
        self.buckets = [
            Bucket(t, kernel, params, [state[p] for p in params], _names(params[0], group), sharded)
            for (t, kernel, sharded, *_), params in found.items()
        ]
        self.buckets.sort(key=lambda bucket: -bucket.t)

    def gradients(self, group: Group, state: State) -> list[tuple[Bucket, list[Tensor]]] | None:
        """The buckets with their gradients; None where the plan no longer holds."""
        if (
            not all(clock.holds() for clock in self.clocks.values())
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

    def advance(self, go: Tensor | None = None) -> None:
        """Count one step for every parameter that has a gradient; none if `go`, on the device, is 0."""
        for bucket in self.buckets:
            bucket.t += 1
        for clock in self.clocks.values():
            clock.advance(go)


def state_dtype(p: Tensor, group: Group) -> torch.dtype:
    """The dtype of the parameter's moments, in which its step is taken."""
    dtype: torch.dtype = group["state_dtype"]
    return dtype if p.dtype in NARROW else p.dtype


def _names(p: Tensor, group: Group) -> list[str]:
    """The tensors in the parameter's state, beside its step."""
    kahan = group["rounding"] == "kahan" and p.dtype in NARROW
    return [*STATES[:2], *STATES[2:3] * bool(group["amsgrad"]), *STATES[3:] * kahan]


def _refuse(p: Tensor, entry: dict[str, Any], group: Group, whose: str) -> None:
    """Raise for what no step can be taken with."""
    if p.dtype in NARROW and group["state_dtype"] not in (torch.float32, p.dtype):
        raise RuntimeError(
            f"{whose} is {p.dtype} and state_dtype {group['state_dtype']}: that must be torch.float32 or {p.dtype}"
        )
    if p.dtype is torch.float16 and group["rounding"] == "stochastic":
        raise RuntimeError(
            f"{whose} is torch.float16; rounding='stochastic' is for torch.bfloat16. 'kahan' serves both"
        )
    if p.grad is not None and p.grad.is_sparse:
        raise RuntimeError(
            f"{whose} of shape {tuple(p.shape)} has a sparse gradient. Adam does not support sparse gradients, please "
            "consider SparseAdam instead, or make it dense (for an embedding: sparse=False)"
        )
    if p.grad is not None and overlaps(p):
        raise RuntimeError(
            f"{whose} of shape {tuple(p.shape)} has several elements at one place of memory (strides {p.stride()}), "
            "so that no step in place exists: give the optimizer the tensor that was expanded"
        )
    for name in STATES:
        if name in entry and entry[name].shape != p.shape:
            raise RuntimeError(
                f"{whose} has shape {tuple(p.shape)}, but its {name} has {tuple(entry[name].shape)}: it was resized "
                "after it had stepped. Begin it afresh with `del optimizer.state[parameter]`"
            )


def _following(p: Tensor, moment: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The moment, new if there is none, of this dtype and with its parameter's layout and device.

    One from a checkpoint, or of a model that was converted or moved since, may have others. Of a parameter that is not
    dense, the moment is dense, its dimensions in the parameter's order.
    """
    if moment is None:
        return torch.zeros_like(p, dtype=dtype, memory_format=torch.preserve_format)
    dense = p if is_dense(p) else torch.empty_like(p, device="meta", memory_format=torch.preserve_format)
    if moment.dtype is dtype and moment.device == p.device and same_layout(moment, dense):
        return moment
    return torch.zeros_like(p, dtype=dtype, memory_format=torch.preserve_format).copy_(moment)


# Mapped methods of C: this comparison is what a small model's step costs beside the op.
_strides: Callable[[Tensor], tuple[int, ...]] = Tensor.stride


def _same(some: list[Tensor], others: list[Tensor]) -> bool:
    return len(some) == len(others) and all(map(is_, some, others))


def _options(group: Group) -> tuple[Any, ...]:
    named = (group[name] for name in ("amsgrad", "foreach", "fused", "differentiable", "state_dtype", "rounding"))
    return *named, _scheduled(group) if group["capturable"] else None


def _scheduled(group: Group) -> tuple[Any, ...]:
    """What a schedule rests on. A tensor beta that is written to has another version: no value is read."""
    beta1, beta2 = ((x, x._version) if isinstance(x, Tensor) else x for x in group["betas"])
    return group["warmup"], beta2, beta1 if isinstance(beta1, tuple) else None
