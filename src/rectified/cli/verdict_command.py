"""The command `rectified verdict`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import Positional, arg

from ..files import expanded
from ..study.analysis.from_csv import CsvColumns, read_csv
from ..study.console.live import say
from ..study.report import write_report


@dataclass(frozen=True)
class VerdictCommand:
    """Analyze results from elsewhere with a study's statistics and report: a CSV file with one row per run."""

    file: Annotated[Positional[Path], arg(metavar="FILE.csv")]
    """One row per run, with columns for the method, its learning rate, its seed and the metric, as a tracker exports.
    A metric of NaN or infinity means that the run diverged. If there are columns task, epochs or batch_size, only runs
    that share them are compared."""
    metric: Annotated[str, arg(metavar="COLUMN")]
    """The column with the metric at the end of each run."""
    larger_is_better: Annotated[bool | None, arg(help_behavior_hint="(default: inferred from the metric's name)")] = (
        None
    )
    """Whether larger values are better."""
    margin: Annotated[float | None, arg(metavar="X", help_behavior_hint="(default: 1 % of the median)")] = None
    """Differences smaller than this do not matter in practice."""
    chance: Annotated[float | None, arg(metavar="X", help_behavior_hint="(default: the worst result in the file)")] = (
        None
    )
    """The value of a model that has learned nothing; a run that diverged or failed counts as this."""
    baseline: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: the first method)")] = None
    """The method that the others are compared with."""
    method: Annotated[str, arg(metavar="COLUMN")] = CsvColumns.method
    """The column with the method."""
    lr: Annotated[str, arg(metavar="COLUMN")] = CsvColumns.lr
    """The column with the learning rate."""
    seed: Annotated[str, arg(metavar="COLUMN")] = CsvColumns.seed
    """The column with the seed; runs with the same seed are compared."""
    out: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: print only)")] = None
    """Folder for report.html."""

    def __call__(self, command: str, console: Console) -> int:
        columns = CsvColumns(self.metric, self.method, self.lr, self.seed)
        results = read_csv(expanded(self.file), columns, self.larger_is_better, self.margin, self.chance, self.baseline)
        for s in results.settings:
            several = len(results.settings) > 1
            lines = (*s.verdict.answer, *s.verdict.at_best, *s.verdict.at_lr, *s.verdict.runs, s.verdict.chance)
            say(console, "\n".join([f"{s.setting.title}:"] * several + [line for line in lines if line]) + "\n")
        say(console, results.table())
        if self.out is not None:
            folder = expanded(self.out)
            folder.mkdir(parents=True, exist_ok=True)
            say(console, f"report: {write_report(results, folder)}")
        return 0
