"""What is known of the runs, and the two tables of it."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..config.runs import Cell
from ..execution.gradients import Histogram

Status = Literal["done", "diverged", "failed", "missing"]
Row = dict[str, float]


@dataclass(frozen=True)
class Record:
    """What the folder knows of one cell."""

    cell: Cell
    status: Status = "missing"
    rows: list[Row] = field(default_factory=list)
    step: int = 0  # the last one taken
    error: str = ""
    seconds: float = 0.0
    attempts: int = 0
    ended: str = ""  # ISO 8601, UTC
    host: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    gradients: list[Histogram] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        """Whether another call would leave it alone; a failed run it would repeat."""
        return self.status in ("done", "diverged")

    @property
    def reason(self) -> str:
        """The error in a line."""
        return (self.error.strip().splitlines() or [""])[-1]


def results(records: Sequence[Record]) -> str:
    """results.csv: what a repetition would reproduce; of a run that is done everything that its last epoch measured."""
    rows = []
    for record in records:
        cell, last = record.cell, record.rows[-1] if record.status == "done" and record.rows else {}
        rows.append(
            {
                "task": cell.task,
                "epochs": cell.epochs,
                "batch_size": cell.batch_size,
                "method": cell.method,
                "lr": cell.lr,
                "seed": cell.seed,
                "status": record.status,
                "epochs_done": len(record.rows),
                **{name: value for name, value in last.items() if name not in ("epoch", "step")},
            }
        )
    return _csv(rows)


def timings(records: Sequence[Record]) -> str:
    """timings.csv: what it would not."""
    return _csv(
        [
            {
                "cell": record.cell.id,
                "seconds": f"{record.seconds:.1f}",
                "attempts": record.attempts,
                "host": record.host,
                **record.versions,
            }
            for record in records
        ]
    )


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
