"""Validation of what was read from a study's folder, which may be damaged or come from a stranger."""

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from ...messages import printable, shown
from ...workloads.numbers import LARGEST, is_finite
from ...workloads.tasks.task_info import TaskInfo
from ..config.runs import RunKey
from .records import Row

T = TypeVar("T")


def parsed(content: bytes) -> Any:
    """Parse a JSON text.

    Raises:
        ValueError: it is not JSON, or is nested more deeply than anything this program writes.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"it is not JSON: {error}") from None


def mapping(value: Any, what: str = "it") -> dict[str, Any]:
    """Check that a value is a JSON object.

    Raises:
        ValueError: the value is something else.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{what} is {shown(value)}; it must be an object")
    return value


def digest(value: Mapping[str, Any]) -> str:
    """The SHA-256 of a JSON object, without its own entry."""
    text = json.dumps({name: each for name, each in value.items() if name != "sha256"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def run_key(value: Any) -> RunKey:
    """Parse the identity of a run.

    Raises:
        ValueError: a field is missing or invalid.

    >>> run_key({"task": "t", "method": "adam", "lr": 0.1, "seed": "0", "epochs": 1, "batch_size": 10})
    Traceback (most recent call last):
    ValueError: seed is '0'; it must be a whole number
    """
    given = mapping(value)
    return RunKey(
        task=_get(given, "task", text),
        method=_get(given, "method", text),
        lr=_get(given, "lr", _positive),
        seed=_get(given, "seed", _whole),
        epochs=_get(given, "epochs", count),
        batch_size=_get(given, "batch_size", count),
        version=_get(given, "version", text, ""),
    )


def task_info(value: Any) -> TaskInfo:
    """Parse the description of a task.

    Raises:
        ValueError: a field is missing or invalid.
    """
    given = dict(mapping(value))
    for name in ("name", "title", "metric", "metric_label"):
        given[name] = _get(given, name, text)
    given["version"] = _get(given, "version", text, "")
    given["larger_is_better"] = _get(given, "larger_is_better", _flag)
    given["margin"] = _get(given, "margin", _positive, 1.0)
    if given.get("chance") is not None:
        given["chance"] = _get(given, "chance", _finite)
    try:
        info = TaskInfo.from_dict(given)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"it is not the description of a task: {error}") from None
    pairs = [pair for pair in (info.compared, info.chosen_by, *info.final_metrics) if pair]
    for key, label in [(info.metric, info.metric_label), *pairs]:
        if not key.isidentifier() or not label.strip():
            raise ValueError(
                f"metric is {shown(key)} with the label {shown(label)}; the name must be plain and have a label"
            )
        text(label, "a label")
    if any(not 0 < n < 2**63 for pair in info.steps_per_epoch for n in pair):
        raise ValueError("batch sizes and steps must be above 0")
    return info


def ending(value: Any) -> dict[str, Any]:
    """Parse a run's done.json: the fields of a record, and ``rows`` and ``sha256``.

    Raises:
        ValueError: the status is unknown, or a field is invalid.

    >>> ending({"status": "finished"})
    Traceback (most recent call last):
    ValueError: status is 'finished'; it must be done, diverged or failed
    """
    given = mapping(value)
    status = given.get("status")
    if status not in ("done", "diverged", "failed"):
        raise ValueError(f"status is {shown(status)}; it must be done, diverged or failed")
    cause = given.get("cause")
    rows = given.get("rows")
    return {
        "status": status,
        "cause": cause if cause in ("run", "machine") else "",
        "error": _get(given, "error", lines, ""),
        "step": _get(given, "step", count, 0),
        "seconds": _get(given, "seconds", seconds, 0.0),
        "attempts": _get(given, "attempts", count, 0),
        "ended": _get(given, "ended", _time, ""),
        "host": _get(given, "host", text, ""),
        "versions": texts(given.get("versions", {}), "versions"),
        "rows": None if rows is None else count(rows, "rows"),
        "sha256": texts(given.get("sha256", {}), "sha256"),
    }


def rows(content: bytes, first: int = 1) -> list[Row]:
    """Parse rows of epochs: one JSON object of numbers per line.

    Args:
        first: the epoch of the first row.

    Raises:
        ValueError: a line is invalid, or the epochs are not consecutive.
    """
    found = []
    for i, line in enumerate(content.splitlines(), first):
        row = {text(name, "a name"): _real(x, name) for name, x in mapping(parsed(line), f"row {i}").items()}
        if row.get("epoch") != i:
            raise ValueError(f"row {i} is not for epoch {i}")
        count(row.get("step"), f"step of row {i}")
        found.append(row)
    return found


def texts(value: Any, what: str) -> dict[str, str]:
    """Check a mapping from names to texts."""
    return {text(name, what): text(each, what) for name, each in mapping(value, what).items()}


def text(value: Any, what: str) -> str:
    """Check a line of text: it must not contain control characters, which a terminal would obey."""
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(f"{what} is {shown(value)}; it must be a line of text")
    return value


def lines(value: Any, what: str) -> str:
    """Check a text of any number of lines, and replace its control characters."""
    if not isinstance(value, str):
        raise ValueError(f"{what} is {shown(value)}; it must be text")
    return printable(value, keep="\n\t")


def _get(given: Mapping[str, Any], name: str, check: Callable[[Any, str], T], default: T | None = None) -> T:
    if name not in given and default is not None:
        return default
    if name not in given:
        raise ValueError(f"{name} is missing")
    return check(given[name], name)


def _time(value: Any, what: str) -> str:
    """Check a time in ISO 8601 with a time zone; it may be empty."""
    try:
        if value and datetime.fromisoformat(text(value, what)).tzinfo is None:
            raise ValueError
    except ValueError:
        raise ValueError(f"{what} is {shown(value)}; it must be a time with a time zone") from None
    return str(value)


def _real(value: Any, what: str) -> float:
    """Check a number, which may be NaN or infinite; the reduction of results handles these."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{what} is {shown(value)}; it must be a number")
    if isinstance(value, int) and not is_finite(value):  # beyond all floats, or close to them
        raise ValueError(f"{what} is {shown(value)}; it must be at most {LARGEST:g} in size")
    return value  # an int stays one


def _finite(value: Any, what: str) -> float:
    if not is_finite(found := _real(value, what)):
        raise ValueError(f"{what} is {shown(value)}; it must be finite, at most {LARGEST:g} in size")
    return found


def _positive(value: Any, what: str) -> float:
    if not (found := _finite(value, what)) >= 1 / LARGEST:
        raise ValueError(f"{what} is {value!r}; it must be above 0, {1 / LARGEST:g} or more")
    return found


def seconds(value: Any, what: str) -> float:
    """Check a finite number of at least 0."""
    if _finite(value, what) < 0:
        raise ValueError(f"{what} is {value!r}; it must be 0 or more")
    return float(value)


def _whole(value: Any, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 2**64:
        raise ValueError(f"{what} is {shown(value)}; it must be a whole number")
    return value


def count(value: Any, what: str) -> int:
    """Check a whole number of at least 0 and below 2**63."""
    if not 0 <= _whole(value, what) < 2**63:
        raise ValueError(f"{what} is {value!r}; it must be 0 or more, and below 2**63")
    return int(value)


def _flag(value: Any, what: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{what} is {shown(value)}; it must be true or false")
    return value
