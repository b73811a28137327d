"""Progress while the figures are made: a bar in a terminal, a line per stage elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

Advance = Callable[[], object]


class Stages:
    """A computation in stages, each with a name and a number of steps."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=console,
        )

    @contextmanager
    def stage(self, name: str, steps: int) -> Iterator[Advance]:
        """Show a stage's progress; the caller calls what it is given after each step."""
        began = time.monotonic()
        if not self.console.is_terminal:
            yield lambda: None
            self.console.print(f"{name}: {time.monotonic() - began:.1f} s")
            return
        task = self.bar.add_task(name, total=steps)
        yield lambda: self.bar.advance(task)

    def __enter__(self) -> "Stages":
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()
