"""The records of runs, and the two tables made from them."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ...messages import shortened
from ..config.runs import RunKey
from ..execution.first_steps import StepRecord
from ..execution.gradients import Histogram

Status = Literal["done", "diverged", "failed", "missing"]
STATUSES: tuple[Status, ...] = ("done", "diverged", "failed", "missing")
Cause = Literal["", "run", "machine"]
Row = dict[str, float]


@dataclass(frozen=True)
class Record:
    """What the study's folder holds about one run.

    Attributes:
        rows: one row per epoch: ``epoch``, ``step``, ``train_loss`` and the task's metrics.
        step: the last step that was taken.
        error: why the run failed: a traceback or a sentence.
        cause: the cause of a failure: ``"run"`` if the run's own code raised, ``"machine"`` if its worker died or time,
            memory or disk space ran out; ``""`` if an older version did not record it.
        ended: when the run ended, in ISO 8601, UTC.
        steps: loss and omega of single steps, if recorded.
        gradients: histograms of the first steps' gradients, if requested.
    """

    run: RunKey
    status: Status = "missing"
    rows: list[Row] = field(default_factory=list)
    step: int = 0
    error: str = ""
    cause: Cause = ""
    seconds: float = 0.0
    attempts: int = 0
    ended: str = ""
    host: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    steps: list[StepRecord] = field(default_factory=list)
    gradients: list[Histogram] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        """Whether the run is done or diverged; another call would repeat a failed one."""
        return self.status in ("done", "diverged")

    @property
    def reason(self) -> str:
        """The error on one line, shortened if it is long."""
        return shortened((self.error.strip().splitlines() or [""])[-1], 300)


def result(record: Record) -> dict[str, Any]:
    """A run as a row of results.csv, with the metrics of its last epoch if it is done."""
    run, last = record.run, record.rows[-1] if record.status == "done" and record.rows else {}
    return {
        "task": run.task,
        "epochs": run.epochs,
        "batch_size": run.batch_size,
        "method": run.method,
        "lr": run.lr,
        "seed": run.seed,
        "status": record.status,
        "epochs_done": len(record.rows),
        **{name: value for name, value in last.items() if name not in ("epoch", "step")},
    }


def results_csv(records: Sequence[Record]) -> str:
    """The content of results.csv, which a repetition would reproduce."""
    return _csv(list(map(result, records)))


def timings_csv(records: Sequence[Record], folders: Sequence[str]) -> str:
    """The content of timings.csv, which a repetition would not reproduce.

    Args:
        folders: the name of each run's folder.
    """
    return _csv(
        [
            {
                "run": folder,
                "seconds": f"{record.seconds:.1f}",
                "attempts": record.attempts,
                "host": record.host,
                **record.versions,
            }
            for record, folder in zip(records, folders, strict=True)
        ]
    )


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
