"""Results that were made elsewhere, such as a tracker's export: one row a run, as CSV."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...workloads.tasks.task_info import TaskInfo
from ..config.errors import InvalidOption
from ..config.runs import RunKey
from ..storage.records import Record, Status
from .results import StudyResults

_SMALLER = ("loss", "error", "perplexity", "ppl", "nll", "mse", "mae", "rmse")
_LARGER = ("acc", "accuracy", "bleu", "f1", "auc", "reward", "score", "map", "iou")
_FINISHED = ("done", "finished", "completed", "success", "succeeded", "ok")
_DIVERGED = ("diverged", "nan", "inf")


@dataclass(frozen=True)
class CsvColumns:
    """Which columns hold what.

    Attributes:
        metric: the value at the end of a run.
        task: what runs must share to be compared, where there is such a column; so do ``epochs`` and ``batch_size``.
        status: how a run ended, where there is such a column: a run that diverged counts against its method.
    """

    metric: str
    method: str = "method"
    lr: str = "lr"
    seed: str = "seed"
    task: str = "task"
    status: str = "status"


def read_csv(
    path: Path,
    columns: CsvColumns,
    larger_is_better: bool | None = None,
    margin: float | None = None,
    chance: float | None = None,
    baseline: str | None = None,
) -> StudyResults:
    """The results in a CSV file with a row for each run.

    A run whose metric is NaN or infinite diverged; one whose metric is empty has no result yet.

    Args:
        larger_is_better: of the metric; None where its name says so, as in val_loss.
        margin: how much worse a value may be and still be as good for practical purposes. If None, a hundredth of the
            median value.
        chance: the value of a model that has learned nothing, as which a run that diverged, failed or is no better
            counts; if None it counts as the worst of all.
        baseline: the method that the others are compared with; the first one if None.

    Raises:
        InvalidOption: a column is not there, the direction of the metric is not known, or there is no such baseline.
        ValueError: the file cannot be read, or a row has no lr or seed that is a number; names the line.
    """
    rows = _rows(path)
    names = rows[0].keys()
    for option, name in (("metric", columns.metric), ("method", columns.method), ("lr", columns.lr)):
        if name not in names:
            raise InvalidOption(option, name, f"{path} has no such column; it has {', '.join(names)}")
    if columns.seed not in names:
        raise InvalidOption("seed", columns.seed, f"{path} has no such column; runs are paired by their seed")
    larger = _larger(columns.metric) if larger_is_better is None else larger_is_better
    records = [_record(path, line, row, columns) for line, row in enumerate(rows, start=2)]
    _refuse_twins(path, records)
    values = sorted(abs(r.rows[-1][columns.metric]) for r in records if r.status == "done")
    usual = margin if margin is not None else (values[len(values) // 2] / 100 if values and values[-1] else 1.0) or 1.0
    tasks = {
        (name, ""): TaskInfo(
            name, name, columns.metric, columns.metric.replace("_", " "), larger, margin=usual, chance=chance
        )
        for name in dict.fromkeys(record.run.task for record in records)
    }
    return StudyResults.of(records, tasks, baseline)


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [{key: value or "" for key, value in row.items() if key} for row in csv.DictReader(file)]
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: it is no CSV in UTF-8 ({error})") from None
    if not rows:
        raise ValueError(f"{path}: it has no rows below its header")
    return rows


def _larger(metric: str) -> bool:
    words = metric.lower().replace("-", "_").replace("/", "_").replace(".", "_").split("_")
    smaller, larger = (any(word in words for word in names) for names in (_SMALLER, _LARGER))
    if smaller == larger:
        raise InvalidOption("metric", metric, "say which way is better: --larger-is-better or --no-larger-is-better")
    return larger


def _record(path: Path, line: int, row: Mapping[str, str], columns: CsvColumns) -> Record:
    def number(name: str, default: str = "") -> float:
        text = row.get(name, default) or default
        try:
            return float(text)
        except ValueError:
            raise ValueError(f"{path}, line {line}: {name} is {text!r}; it must be a number") from None

    lr, seed = number(columns.lr), number(columns.seed)
    if not 0 < lr < math.inf:
        raise ValueError(f"{path}, line {line}: {columns.lr} is {lr:g}; a learning rate is a positive number")
    if seed != seed or abs(seed) == math.inf or seed != int(seed):
        raise ValueError(f"{path}, line {line}: {columns.seed} is {seed:g}; a seed is a whole number")
    epochs, batch_size = (int(number(name, "0")) for name in ("epochs", "batch_size"))
    task = row.get(columns.task) or path.stem
    run = RunKey(task, row[columns.method].strip(), lr, int(seed), epochs, batch_size)
    value = number(columns.metric, "nan") if row.get(columns.metric) else None
    status = _status(row.get(columns.status, "").strip().lower(), value)
    rows = [{columns.metric: value}] if status == "done" and value is not None else []
    return Record(run, status, rows, cause="run" if status == "failed" else "")


def _status(said: str, value: float | None) -> Status:
    if said in _DIVERGED or (value is not None and not math.isfinite(value)):
        return "diverged"
    if said and said not in _FINISHED:
        return "missing" if said in ("missing", "running", "pending", "waiting") else "failed"
    return "missing" if value is None else "done"


def _refuse_twins(path: Path, records: Sequence[Record]) -> None:
    for record in _repeated(records):
        run = record.run
        raise ValueError(
            f"{path}: {run} is there twice ({run.task}); keep one row a run, or tell the runs apart by a task column"
        )


def _repeated(records: Iterable[Record]) -> Iterable[Record]:
    seen = set()
    for record in records:
        if record.run in seen:
            yield record
        seen.add(record.run)
