"""Step times on a GPU against torch.optim, with a copy of the same bytes as the limit.

    PYTHONPATH=src python benchmarks/gpu/step_times.py OUT.json [--device cuda|cpu] [--models LIST] [--seconds S]

For each model and optimizer, medians over rounds in which all take part in turn:
  device_us  what the GPU needs for a step: CUDA events around steps that were all launched while the GPU was kept busy
  step_us    what a step takes in a loop of nothing but steps: the larger of device and host time
  host_us    what the Python call takes, the launch queue not being full
  of_copy    the time of a device-to-device copy of the bytes that a step must at least read and write, over device_us
Parameters and gradients are shared by all of one dtype, states are each optimizer's own. It needs torch and nothing
else. On the CPU (a rehearsal) all three times are the same.
"""

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from rectified import Adam, AdamW, RAdam
from rectified.bench.models import MODELS
from rectified.warmup import UntunedLinear

BASE = "rectified RAdam"
WARM = 8  # steps before any that counts: RAdam's momentum start is over
BEHIND = 3  # steps that are launched while the GPU is kept busy
CYCLES = 2e9  # of the GPU's clock in a second, about
Step = Callable[[], object]


@dataclass(frozen=True)
class Entry:
    """An optimizer to time.

    Args:
        name: in the tables.
        make: from parameters to the optimizer.
        dtype: of parameters and gradients.
        state: bytes of the states of a parameter, all of which a step reads and writes; without scales.
        graphed: the step is captured in a CUDA graph and replayed.
    """

    name: str
    make: Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]
    dtype: torch.dtype = torch.float32
    state: int = 8
    graphed: bool = False

    @property
    def bytes(self) -> int:
        """What a step must read and write per parameter: gradient in; parameter and states in and out."""
        return 3 * self.dtype.itemsize + 2 * self.state


def _peers() -> list[Entry]:
    """Other libraries' AdamW with moments of 8 bits, where they are installed; wheels can be carried to the machine."""
    found = []
    if find_spec("bitsandbytes"):
        from bitsandbytes.optim import AdamW8bit

        found.append(Entry("bitsandbytes AdamW8bit", AdamW8bit, state=2))
    if find_spec("torchao"):
        from torchao.optim import AdamW8bit as AdamWOfTorchao

        found.append(Entry("torchao AdamW8bit", AdamWOfTorchao, state=2))
    if find_spec("flashoptim"):
        from flashoptim import FlashAdamW

        found.append(Entry("flashoptim FlashAdamW", FlashAdamW, state=2))
    return found


BF16 = torch.bfloat16
ENTRIES = [
    Entry(BASE, RAdam),
    Entry("rectified Adam", Adam),
    Entry("rectified AdamW", AdamW),
    Entry("rectified Adam + UntunedLinear", partial(Adam, warmup=UntunedLinear())),
    Entry("rectified RAdam foreach", partial(RAdam, foreach=True)),
    Entry("rectified RAdam capturable", partial(RAdam, capturable=True)),
    Entry("rectified RAdam in a CUDA graph", partial(RAdam, capturable=True), graphed=True),
    Entry("rectified RAdam bf16 nearest", RAdam, BF16),
    Entry("rectified RAdam bf16 kahan", partial(RAdam, rounding="kahan"), BF16, state=10),
    Entry("rectified RAdam bf16 stochastic", partial(RAdam, rounding="stochastic"), BF16),
    Entry("rectified RAdam bf16 nearest, Triton", partial(RAdam, fused=True), BF16),
    Entry("rectified RAdam bf16 kahan, Triton", partial(RAdam, rounding="kahan", fused=True), BF16, state=10),
    Entry("rectified RAdam bf16 stochastic, Triton", partial(RAdam, rounding="stochastic", fused=True), BF16),
    Entry("rectified AdamW 8bit, Triton", partial(AdamW, state_dtype="8bit", fused=True), state=2),
    Entry("rectified AdamW 8bit", partial(AdamW, state_dtype="8bit"), state=2),
    Entry("rectified AdamW bf16 8bit, Triton", partial(AdamW, state_dtype="8bit", fused=True), BF16, state=2),
    Entry("torch RAdam for-loop", partial(torch.optim.RAdam, foreach=False)),
    Entry("torch RAdam foreach", partial(torch.optim.RAdam, foreach=True)),
    Entry("torch Adam fused", partial(torch.optim.Adam, fused=True)),
    Entry("torch AdamW fused", partial(torch.optim.AdamW, fused=True)),
    Entry("torch AdamW foreach", partial(torch.optim.AdamW, foreach=True)),
    Entry("torch AdamW fused in a CUDA graph", partial(torch.optim.AdamW, fused=True, capturable=True), graphed=True),
    Entry("torch AdamW bf16 fused", partial(torch.optim.AdamW, fused=True), BF16, state=4),
    *_peers(),
]


@dataclass
class Times:
    """Microseconds of a step, one number for each round."""

    device: list[float] = field(default_factory=list)
    step: list[float] = field(default_factory=list)
    host: list[float] = field(default_factory=list)
    ahead: list[bool] = field(default_factory=list)  # whether the launches were done before the GPU began


class Bench:
    """One model's parameters and gradients on one device, and the steps that are timed on them."""

    def __init__(self, model: str, device: str) -> None:
        self.shapes, self.device, self.gpu = MODELS[model](), device, device == "cuda"
        self.size = sum(torch.Size(shape).numel() for shape in self.shapes)
        torch.manual_seed(0)
        self.params: dict[torch.dtype, list[torch.nn.Parameter]] = {}
        self.graphed: list[torch.optim.Optimizer] = []  # which own the memory that graphs write to

    def parameters(self, dtype: torch.dtype) -> list[torch.nn.Parameter]:
        """Those of this dtype, with gradients; made once."""
        if dtype not in self.params:
            made = [torch.nn.Parameter(0.1 * torch.randn(s, device=self.device, dtype=dtype)) for s in self.shapes]
            for p in made:
                p.grad = 0.01 * torch.randn_like(p)
            self.params[dtype] = made
        return self.params[dtype]

    def step_of(self, entry: Entry) -> Step:
        """The entry's step, past its start."""
        optimizer = entry.make(self.parameters(entry.dtype))
        if not entry.graphed:
            for _ in range(WARM):
                optimizer.step()
            return optimizer.step
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM):
                optimizer.step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            optimizer.step()
        self.graphed.append(optimizer)
        return graph.replay

    def copies(self, sizes: set[int]) -> dict[int, Step]:
        """Copies that read and write so many bytes per parameter together."""
        half = max(sizes) * self.size // 2
        source = torch.zeros(half, dtype=torch.uint8, device=self.device)
        target = torch.empty_like(source)
        return {n: partial(target[: n * self.size // 2].copy_, source[: n * self.size // 2]) for n in sorted(sizes)}

    def take(self, step: Step, times: Times, steps: int) -> None:
        """Add a round's numbers to the times."""
        if not self.gpu:
            began = time.perf_counter()
            for _ in range(steps):
                step()
            taken = 1e6 * (time.perf_counter() - began) / steps
            for column in (times.device, times.step, times.host):
                column.append(taken)
            times.ahead.append(True)
            return
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        for _ in range(steps):
            step()
        end.record()
        torch.cuda.synchronize()
        times.step.append(1e3 * start.elapsed_time(end) / steps)

        longest = statistics.median(times.step[-5:])  # that launching a step can take
        torch.cuda._sleep(int(CYCLES * 1e-6 * (200 + 1.5 * BEHIND * longest)))
        start.record()
        began = time.perf_counter()
        for _ in range(BEHIND):
            step()
        taken = time.perf_counter() - began
        times.ahead.append(not start.query())
        end.record()
        torch.cuda.synchronize()
        # A queue that was full made the host wait; such a step is bound by its launches also in a loop.
        times.host.append(1e6 * taken / BEHIND if times.ahead[-1] else times.step[-1])
        times.device.append(1e3 * start.elapsed_time(end) / BEHIND)


def measure(model: str, device: str, seconds: float, rounds: int) -> dict[str, Any]:
    """Time all entries on a model, for about so many seconds and at most so many rounds, at least three."""
    bench = Bench(model, device)
    entries = [entry for entry in ENTRIES if bench.gpu or not entry.graphed]
    need = bench.size * (sum(entry.state for entry in entries) + 12 + 28 + 24)  # tensors, copies' buffers, temporaries
    found: dict[str, Any] = {"parameters": bench.size, "tensors": len(bench.shapes), "entries": {}, "failed": {}}
    if bench.gpu and need > torch.cuda.mem_get_info()[0]:
        return {**found, "skipped": f"it may need {need / 2**30:.0f} GiB, and fewer are free"}
    steps: dict[str, Step] = {}
    for entry in entries:
        try:
            steps[entry.name] = bench.step_of(entry)
        except Exception as error:  # one that fails must not end the others' comparison
            found["failed"][entry.name] = f"{type(error).__name__}: {str(error)[:500]}"
    copies = bench.copies({entry.bytes for entry in entries})
    steps |= {f"copy of {n} bytes": copy for n, copy in copies.items()}
    times = {name: Times() for name in steps}
    each = 20 if bench.size < 10_000_000 else 4
    began = time.monotonic()
    for done in range(rounds):
        if done >= 3 and time.monotonic() - began > seconds:
            break
        turn = list(steps) if done % 2 else list(reversed(steps))
        for name in turn:
            bench.take(steps[name], times[name], each)
    medians = {
        name: {
            "device_us": statistics.median(t.device),
            "device_us_quartiles": statistics.quantiles(t.device, n=4)[::2],
            "step_us": statistics.median(t.step),
            "host_us": statistics.median(t.host),
            "launched_ahead": sum(t.ahead) / len(t.ahead),
            "rounds": len(t.step),
        }
        for name, t in times.items()
    }
    base = times.get(BASE)
    for entry in entries:
        if entry.name not in medians:
            continue
        mine, t = medians[entry.name], times[entry.name]
        mine["bytes"] = entry.bytes
        mine["of_copy"] = medians[f"copy of {entry.bytes} bytes"]["device_us"] / mine["device_us"]
        if base is not None:
            mine["step_over_base"] = statistics.median(a / b for a, b in zip(t.step, base.step, strict=True))
            mine["device_over_base"] = statistics.median(a / b for a, b in zip(t.device, base.device, strict=True))
    for n in copies:
        medians[f"copy of {n} bytes"]["GB_per_s"] = 1e-3 * n * bench.size / medians[f"copy of {n} bytes"]["device_us"]
    return {**found, "entries": medians}


def device_time(t: dict[str, Any], digits: int) -> str:
    """Its device time, marked where that is a step's."""
    return f"{t['device_us']:,.{digits}f}" + ("" if t["launched_ahead"] > 0.5 else " (\\*)")


def summary(results: dict[str, Any], card: str) -> str:
    """Ours and the two of torch's that are nearest, in one Markdown table."""
    names = (BASE, "torch AdamW fused", "torch RAdam foreach")
    lines = [
        f"A step on {card}: µs on the device and on the host. In parentheses: the time of a copy of the same bytes, as",
        "a share of the device time.",
        "",
        "| model | parameters |" + "".join(f" {name}: device | host |" for name in names),
        "|---|---:|" + "---:|---:|" * len(names),
    ]
    for model, found in results["models"].items():
        row = f"| {model} | {found['parameters']:,} |"
        for name in names:
            t = found["entries"].get(name)
            row += f" {device_time(t, 0)} ({100 * t['of_copy']:.0f} %) | {t['host_us']:,.0f} |" if t else " - | - |"
        lines.append(row)
    return "\n".join([*lines, ""])


def tables(results: dict[str, Any], card: str) -> str:
    """The results as Markdown, a table for each model."""
    lines = [
        "Medians over rounds. *device*: CUDA events around steps launched while the GPU was kept busy. *of copy*: the",
        "time of a device-to-device copy of the bytes that a step must read and write, divided by the device time.",
        "*step*: one of many in a row. *host*: the Python call alone. (\\*) Launching took longer than the GPU was",
        "kept busy, so both device and host time are those of a whole step.",
        "",
    ]
    for model, found in results["models"].items():
        lines += [f"### {model} on {card}: {found['parameters']:,} parameters in {found['tensors']} tensors", ""]
        if "skipped" in found:
            lines += [f"Skipped: {found['skipped']}.", ""]
            continue
        lines += [
            "| | device, µs | of copy | step, µs | step / rectified RAdam | host, µs |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        for name, t in found["entries"].items():
            of_copy = f"{100 * t['of_copy']:.0f} %" if "of_copy" in t else f"{t['GB_per_s']:,.0f} GB/s"
            ratio = f"{t['step_over_base']:.2f}" if "step_over_base" in t else ""
            lines.append(
                f"| {name} | {device_time(t, 1)} | {of_copy} | {t['step_us']:,.1f} | {ratio} | {t['host_us']:,.1f} |"
            )
        lines += ["", *(f"Failed: {name}: {why}" for name, why in found["failed"].items())]
        lines += [""] * bool(found["failed"])
    return "\n".join(lines)


def main() -> None:
    """Measure, and write the JSON after each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--seconds", type=float, default=8.0, help="of rounds for each model")
    parser.add_argument("--rounds", type=int, default=25, help="at most, for each model")
    given = parser.parse_args()
    results: dict[str, Any] = {"device": given.device, "models": {}}
    for model in given.models.split(","):
        began = time.monotonic()
        results["models"][model] = measure(model, given.device, given.seconds, given.rounds)
        gc.collect()
        if given.device == "cuda":
            torch.cuda.empty_cache()
        given.out.write_text(json.dumps(results, indent=1))
        print(f"{model}: {time.monotonic() - began:.1f} s", flush=True)
    print(tables(results, given.device))


if __name__ == "__main__":
    main()
