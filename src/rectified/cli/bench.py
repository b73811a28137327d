"""The command `rectified bench`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import arg

from ..bench.run import BenchSettings, choose, run_bench
from ..files import expanded


@dataclass(frozen=True)
class Bench:
    """Measure the time and memory of optimizer steps: every method here and every installed peer, as ratios."""

    models: Annotated[str | None, arg(metavar="LIST", help_behavior_hint="(default: all)")] = None
    """Comma-separated models, from 33 k to 355 M parameters: cnn, resnet20, vit-s16, resnet50, gpt2, gpt2-medium."""
    methods: Annotated[str | None, arg(metavar="LIST", help_behavior_hint="(default: all)")] = None
    """Comma-separated parts of method names, such as "torch RAdam,fused"; our RAdam is always included."""
    rounds: Annotated[float, arg(metavar="X")] = BenchSettings.rounds
    """Multiplies the number of rounds: below 1 for a quick look, above 1 for more precision."""
    device: Annotated[
        str | None, arg(metavar="DEVICE", help_behavior_hint="(default: cuda if available, else cpu)")
    ] = None
    """cpu or cuda."""
    threads: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: torch's)")] = None
    """CPU threads per step."""
    also: Annotated[tuple[str, ...], arg(metavar="PYTHON")] = ()
    """Python interpreters of other environments to include: for peers that cannot be installed in this one."""
    out: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: print only)")] = None
    """Folder for bench.json, bench.md and bench.svg."""

    def __call__(self, command: str, console: Console) -> int:
        settings = choose(self.models, self.methods, self.rounds, self.device, self.threads, self.also)
        return run_bench(settings, command, self.out and expanded(self.out), console)
