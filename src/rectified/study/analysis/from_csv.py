"""Results from elsewhere, such as a tracker's CSV export with one row per run."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ...messages import printable, shortened, shown, text_of
from ...workloads.numbers import LARGEST, is_finite, learning_rate, number, whole_number
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
    """The names of the columns that :func:`read_csv` reads.

    Attributes:
        metric: the value at the end of a run.
        method: the method's name.
        lr: the learning rate.
        seed: the seed, by which runs are paired.
        task: optional. Only runs that share it, ``epochs`` and ``batch_size`` are compared.
        status: optional: how a run ended. A run that diverged counts against its method.
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
    """Read results from a CSV file with one row per run.

    A run whose metric is NaN or infinite diverged; one whose metric is empty has no result yet.

    Args:
        larger_is_better: whether a larger metric is better; None to infer it from the name, as for val_loss.
        margin: differences smaller than this do not matter in practice. If None, 1 % of the median value.
        chance: the value of a model that has learned nothing; a run that diverged, failed or is no better counts as
            this. If None, it counts as the worst result of all.
        baseline: the method that the others are compared with; the first one if None.

    Raises:
        InvalidOption: a column is missing or duplicated, the direction of the metric is unknown, a number is out of
            range, or there is no such baseline.
        ValueError: the file cannot be read, or a row lacks a method or a numeric lr or seed; names the line.
    """
    _check_flags(margin, chance)
    names, rows = _rows(path)
    for option, name in (("metric", columns.metric), ("method", columns.method), ("lr", columns.lr)):
        if name not in names:
            has = shortened(", ".join(names), 200)
            raise InvalidOption(option, name, f"{path} has no such column; it has {has}")
    if columns.seed not in names:
        raise InvalidOption("seed", columns.seed, f"{path} has no such column; runs are paired by their seed")
    for option, name in vars(columns).items():
        if names.count(name) > 1:
            raise InvalidOption(option, name, f"{path} has several columns with this name; give each its own name")
    larger = _larger(columns.metric) if larger_is_better is None else larger_is_better
    records = [_record(path, line, row, columns) for line, row in rows]
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


def _check_flags(margin: float | None, chance: float | None) -> None:
    if margin is not None and not 1 / LARGEST <= margin <= LARGEST:
        raise InvalidOption("margin", margin, "it must be a positive number")
    if chance is not None and not is_finite(chance):
        raise InvalidOption(
            "chance", chance, "it must be a finite number: the metric of a model that has learned nothing"
        )


def _rows(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The header, and each row by column name with the number of its last line."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            names = [name for name in reader.fieldnames or () if name]
            rows = [
                (
                    reader.line_num,
                    {
                        key: printable(value or "")
                        for key, value in row.items()
                        if key and isinstance(value, str | None)
                    },
                )
                for row in reader
            ]
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from None
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV file in UTF-8 ({text_of(error)})") from None
    if not rows:
        raise ValueError(f"{path}: no rows below the header")
    return names, rows


def _larger(metric: str) -> bool:
    words = metric.lower().replace("-", "_").replace("/", "_").replace(".", "_").split("_")
    smaller, larger = (any(word in words for word in names) for names in (_SMALLER, _LARGER))
    if smaller == larger:
        raise InvalidOption(
            "metric",
            metric,
            "its name does not say which way is better; add --larger-is-better or --no-larger-is-better",
        )
    return larger


def _record(path: Path, line: int, row: Mapping[str, str], columns: CsvColumns) -> Record:
    def read(name: str, default: str = "") -> float:
        text = row.get(name, default) or default
        try:
            return number(text)
        except ValueError:
            raise ValueError(f"{path}, line {line}: {name} is {shown(text)}; it must be a number") from None

    def whole(name: str, default: str = "") -> int:
        with suppress(ValueError):
            return whole_number(row.get(name, ""))  # with every digit
        value = read(name, default)
        if not math.isfinite(value) or value != int(value):
            raise ValueError(f"{path}, line {line}: {name} is {value:g}; it must be a whole number")
        return int(value)

    lr = read(columns.lr)
    try:
        learning_rate(lr)
    except ValueError as error:
        raise ValueError(f"{path}, line {line}: {columns.lr} is {lr:g}; {error}") from None
    seed, epochs, batch_size = whole(columns.seed), whole("epochs", "0"), whole("batch_size", "0")
    task, method = row.get(columns.task) or path.stem, row.get(columns.method, "").strip()
    if not method:
        raise ValueError(f"{path}, line {line}: {columns.method} is empty; name the method")
    run = RunKey(task, method, lr, seed, epochs, batch_size)
    value = read(columns.metric, "nan") if row.get(columns.metric) else None
    status = _status(row.get(columns.status, "").strip().lower(), value)
    rows = [{columns.metric: value}] if status == "done" and value is not None else []
    return Record(run, status, rows, cause="run" if status == "failed" else "")


def _status(said: str, value: float | None) -> Status:
    if said in _DIVERGED or (value is not None and not is_finite(value)):
        return "diverged"
    if said and said not in _FINISHED:
        return "missing" if said in ("missing", "running", "pending", "waiting") else "failed"
    return "missing" if value is None else "done"


def _refuse_twins(path: Path, records: Sequence[Record]) -> None:
    for record in _repeated(records):
        run = record.run
        raise ValueError(
            f"{path}: {shortened(str(run), 120)} appears twice ({shortened(run.task)}); keep one row per run, "
            "or add a task column to distinguish the runs"
        )


def _repeated(records: Iterable[Record]) -> Iterable[Record]:
    seen = set()
    for record in records:
        if record.run in seen:
            yield record
        seen.add(record.run)
