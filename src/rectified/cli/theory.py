"""The command `rectified theory`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import arg

from ..figures import Settings, write_theory
from ..files import expanded


@dataclass(frozen=True)
class Theory:
    """Draw the theory as figures and a page: the variance of the adaptive learning rate, computed and simulated."""

    out: Annotated[Path, arg(metavar="DIR")]
    """Folder for theory.html and the SVG, PDF and CSV of each figure. Other files in it are kept."""
    beta2: Annotated[float, arg(metavar="X")] = Settings.beta2
    """Adam's beta2, above 0.6 and below 1."""
    paths: Annotated[int, arg(metavar="N")] = Settings.paths
    """Paths per simulation; the table uses 80 times as many."""
    steps: Annotated[int, arg(metavar="N")] = Settings.steps
    """Steps per path."""
    seed: Annotated[int, arg(metavar="N")] = Settings.seed
    """Seed of the simulations."""

    def __call__(self, command: str, console: Console) -> int:
        settings = Settings(self.beta2, self.paths, self.steps, self.seed)
        console.print(f"theory: {write_theory(expanded(self.out), settings, command, console)}", soft_wrap=True)
        return 0
