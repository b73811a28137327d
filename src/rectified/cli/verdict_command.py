"""rectified verdict."""

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
    """The statistics and the page of a study for results that were made elsewhere: a CSV with a row a run."""

    file: Annotated[Positional[Path], arg(metavar="FILE.csv")]
    """One row a run, with a column each for the method, its learning rate, its seed and the metric; such as a tracker
    exports. A metric that is NaN or infinite is a run that diverged. Only runs of one task, number of epochs and batch
    size are compared, where there are such columns."""
    metric: Annotated[str, arg(metavar="COLUMN")]
    """The column with the value at the end of each run."""
    larger_is_better: Annotated[
        bool | None, arg(help_behavior_hint="(default: by the metric's name, if that says)")
    ] = None
    """Whether larger values are better."""
    margin: Annotated[float | None, arg(metavar="X", help_behavior_hint="(default: 1 % of the median)")] = None
    """How much worse a value may be and still be as good for practical purposes."""
    chance: Annotated[float | None, arg(metavar="X", help_behavior_hint="(default: the worst result in the file)")] = (
        None
    )
    """The value of a model that has learned nothing: a run that diverged or failed counts as that."""
    baseline: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: the first method)")] = None
    """The method that the others are compared with."""
    method: Annotated[str, arg(metavar="COLUMN")] = CsvColumns.method
    """The column with the method."""
    lr: Annotated[str, arg(metavar="COLUMN")] = CsvColumns.lr
    """The column with the learning rate."""
    seed: Annotated[str, arg(metavar="COLUMN")] = CsvColumns.seed
    """The column with the seed; runs of one seed are compared with one another."""
    out: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: the terminal alone)")] = None
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
