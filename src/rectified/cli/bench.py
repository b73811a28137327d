"""rectified bench."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import arg

from ..bench.run import BenchSettings, choose, run_bench
from ..files import expanded


@dataclass(frozen=True)
class Bench:
    """Measure a step's time and memory: every method here and every peer that is installed, as ratios in one run."""

    models: Annotated[str | None, arg(metavar="LIST", help_behavior_hint="(default: all)")] = None
    """Comma-separated: cnn, resnet20, vit-s16, resnet50, gpt2, gpt2-medium, from 33 k to 355 M parameters."""
    methods: Annotated[str | None, arg(metavar="LIST", help_behavior_hint="(default: all)")] = None
    """Comma-separated parts of names, such as "torch RAdam,fused"; our RAdam is always among them."""
    rounds: Annotated[float, arg(metavar="X")] = BenchSettings.rounds
    """Factor on the number of rounds, for a first look or a better one."""
    device: Annotated[
        str | None, arg(metavar="DEVICE", help_behavior_hint="(default: cuda if there is one, or cpu)")
    ] = None
    """cpu or cuda."""
    threads: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: torch's)")] = None
    """Threads of a step on the CPU."""
    also: Annotated[tuple[str, ...], arg(metavar="PYTHON")] = ()
    """Interpreters with torch whose environments take part too: for a peer that cannot be installed beside others."""
    out: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: the terminal alone)")] = None
    """Folder for bench.json, bench.md and bench.svg."""

    def __call__(self, command: str, console: Console) -> int:
        settings = choose(self.models, self.methods, self.rounds, self.device, self.threads, self.also)
        return run_bench(settings, command, self.out and expanded(self.out), console)
