"""`rectified theory`: its settings, and the files it writes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...files import write


@dataclass(frozen=True)
class Settings:
    """The settings of the simulations.

    Args:
        beta2: decay rate of the second moment; above 0.6, where every rectification leaves its start.
        paths: independent repetitions; the table has 80 times as many.
        steps: steps per path.
        seed: seed of all simulations.

    Raises:
        ValueError: a value is outside its range.
    """

    beta2: float = 0.999
    paths: int = 5_000
    steps: int = 6_000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.6 < self.beta2 < 1:
            raise ValueError(
                f"--beta2 is {self.beta2}; it must lie above 0.6, where the first order begins, and below 1"
            )
        ranges = {"paths": (100, 100_000), "steps": (20, 1_000_000), "seed": (0, 2**32 - 1)}
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"--{name} is {value}; it must lie from {low:,} to {high:,}")


def write_theory(out: Path, settings: Settings, command: str, console: Any) -> Path:
    """Compute, simulate and draw everything; then write it into the folder, over the files of an earlier call.

    Nothing is written before everything is computed, and no file is ever half written.

    Args:
        command: the command that repeats it, for the page.
        console: a rich console.

    Returns:
        The page, theory.html.

    Raises:
        ValueError: out is a file, or the folder cannot be made.
    """
    from .build_page import build_page  # brings matplotlib and jinja2, which nothing else here needs

    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; --out names a folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{out} cannot be made: {error.strerror}; name another folder with --out") from None
    files = build_page(settings, command, console)
    for name, content in files.items():
        write(out / name, content)
    return out / "theory.html"
