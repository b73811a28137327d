"""Measuring an entry: seconds per step, bytes of its state, and bytes that exist only during a step."""

import time
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from .entries import Entry
from .models import Shapes

WARM = 6  # steps before measuring: at the default betas RAdam's start ends with the fifth
_SWEEP = 2**27  # bytes, larger than the caches
_ADDED = 2**28


class Arena:
    """The gradients of one model on one device, with which entries step in turn.

    Parameters and states are allocated again for each block: the placement of large tensors' pages changes step times
    by up to 20 % for as long as they live, and a single allocation would attribute that to the method.
    """

    def __init__(self, shapes: Shapes, device: str) -> None:
        self.device = torch.device(device)
        generator = torch.Generator().manual_seed(0)
        self.grads = [(0.01 * torch.randn(shape, generator=generator)).to(self.device) for shape in shapes]
        self.size = sum(g.numel() for g in self.grads)
        self.sweep = torch.zeros(_SWEEP // 4, device=self.device)

    def block(self, entry: Entry, steps: int, cold: int) -> dict[str, Any]:
        """Seconds per step over a block of steps, and of single steps with cold caches."""
        step, _ = self._begin(entry)
        began = self._now()
        for _ in range(steps):
            step()
        warm = (self._now() - began) / steps
        return {"warm": _rounded(warm), "cold": [_rounded(self._cold(step)) for _ in range(cold)]}

    def memory(self, entry: Entry) -> dict[str, int]:
        """Bytes of the state, and peak bytes during a step beyond parameters, gradients and state."""
        step, optimizer = self._begin(entry)
        return {"state": held(optimizer), "beyond": self._peak(step)}

    def bandwidth(self) -> float:
        """Bytes that a large in-place addition reads and writes per second.

        A copy would understate the bandwidth of a CPU, which reads the target before it writes it.
        """
        size = min(_ADDED, max(_SWEEP, 4 * self.size)) // 4
        source, target = torch.zeros(size, device=self.device), torch.zeros(size, device=self.device)
        target.add_(source)
        began = self._now()
        for _ in range(4):
            target.add_(source)
        return _rounded(4 * 3 * 4 * size / (self._now() - began))

    def _begin(self, entry: Entry) -> tuple[Callable[[], object], torch.optim.Optimizer]:
        """A step function past the warmup's start, on new parameters, and its optimizer."""
        params = [torch.nn.Parameter(torch.zeros_like(g, dtype=entry.dtype)) for g in self.grads]
        for p, g in zip(params, self.grads, strict=True):
            p.grad = g.to(entry.dtype)
        optimizer = entry.make(params)
        if hasattr(optimizer, "train"):  # schedulefree's
            optimizer.train()
        if not entry.graphed:
            for _ in range(WARM):
                optimizer.step()
            return optimizer.step, optimizer
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM):
                optimizer.step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            optimizer.step()
        return graph.replay, optimizer

    def _cold(self, step: Callable[[], object]) -> float:
        self.sweep.add_(1)
        began = self._now()
        step()
        return self._now() - began

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def _peak(self, step: Callable[[], object]) -> int:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            before = torch.cuda.memory_allocated(self.device)
            step()
            torch.cuda.synchronize(self.device)
            return torch.cuda.max_memory_allocated(self.device) - before
        return cpu_peak(step)


def _rounded(value: float) -> float:
    """Round to five digits, more than the clock's precision."""
    return float(f"{value:.5g}")


def held(optimizer: torch.optim.Optimizer) -> int:
    """Bytes of the tensors in an optimizer's state, counting shared memory once.

    >>> p = torch.nn.Parameter(torch.zeros(1000))
    >>> p.grad = torch.ones(1000)
    >>> optimizer = torch.optim.Adam([p])
    >>> optimizer.step()
    >>> held(optimizer)  # two moments and a count
    8004
    """
    storages = [
        part.untyped_storage()
        for entry in optimizer.state.values()
        for x in entry.values()
        if isinstance(x, Tensor)
        for part in _parts(x)
    ]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def _parts(x: Tensor) -> Iterator[Tensor]:
    """The plain tensors that a tensor consists of: a quantized tensor has codes and scales."""
    if not hasattr(x, "__tensor_flatten__"):
        yield x
        return
    for name in x.__tensor_flatten__()[0]:
        yield from _parts(getattr(x, name))


def cpu_peak(run: Callable[[], object]) -> int:
    """The peak bytes of tensors while a function runs, beyond those before it, according to torch's profiler."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        run()
    events = sorted(
        _allocations(found.profiler.kineto_results.experimental_event_tree()), key=lambda event: event.start_time_ns
    )
    sizes = [int(event.extra_fields.alloc_size) for event in events]  # freed bytes are negative
    return max(accumulate(sizes, initial=0))


def _allocations(events: list[Any]) -> Iterator[Any]:
    for event in events:
        if event.typed[0].name == "Allocation":
            yield event
        yield from _allocations(event.children)
