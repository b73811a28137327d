"""A study as a TOML file: the options by their names, with lists where a flag has commas."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...files import expanded
from ...messages import shown, text_of
from .errors import InvalidOption

_MOST = 1_000_000  # bytes


@dataclass(frozen=True)
class StudyFile:
    """What a study's file says.

    Attributes:
        values: by the name of an option, as a keyword of Python.
        lines: the line on which each name stands.
    """

    path: Path
    values: Mapping[str, Any]
    lines: Mapping[str, int]

    def text(self, refused: InvalidOption) -> str:
        """The message of a refused option, with the line where this file has it; with its flag where it has not.

        >>> file = StudyFile(Path("grid.toml"), {}, {"batch_sizes": 3})
        >>> file.text(InvalidOption("batch_sizes", 0, "it must be at least 1"))
        'grid.toml, line 3: batch-sizes is 0: it must be at least 1'
        """
        name = refused.name.replace("_", "-")
        line = self.lines.get(refused.name)
        return refused.text(f"--{name}") if line is None else f"{self.path}, line {line}: {refused.text(name)}"


def read(path: Path, kinds: Mapping[str, type]) -> StudyFile:
    """The study in the file.

    Args:
        kinds: every name that an option has, and what its value is: ``list``, ``str``, ``int``, ``float``, ``bool``,
            ``Path``, or ``dict`` for a table of lists.

    Raises:
        ValueError: it cannot be read, is no TOML, has an unknown name, or a value of another kind; says the line.
    """
    text = _text(path)
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        hint = "; in double quotes a backslash begins an escape: write paths in 'single quotes'" * ("\\" in text)
        raise ValueError(f"{path}: {text_of(error)}{hint}") from None
    except (
        ValueError,
        ArithmeticError,
        RecursionError,
        MemoryError,
    ) as error:  # a date, digits or brackets without end
        raise ValueError(f"{path}: it cannot be read: {text_of(error)}") from None
    values, lines = {}, {}
    for written, value in found.items():
        name, line = written.replace("-", "_"), _line(text, written)
        if name not in kinds:
            known = ", ".join(known.replace("_", "-") for known in kinds)
            raise ValueError(f"{path}, line {line}: unknown name {shown(written)}; there are {known}")
        try:
            values[name] = _checked(value, kinds[name])
        except TypeError as error:
            raise ValueError(f"{path}, line {line}: {written} is {shown(value)}; it must be {error}") from None
        lines[name] = line
    return StudyFile(path, values, lines)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST + 1)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from None
    if len(content) > _MOST:
        raise ValueError(f"{path}: it has more than {_MOST:,} bytes, which no study has")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content:
        raise ValueError(f"{path}: it is UTF-16, and TOML is UTF-8; save it in that encoding")
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}, line {line}: it is not UTF-8; save it in that encoding") from None


def _checked(value: Any, kind: type) -> Any:
    """The value as that kind; TypeError says what it must be."""
    if kind is dict:
        if not isinstance(value, dict) or not all(isinstance(each, list) for each in value.values()):
            raise TypeError("a table of lists")
        return {name: [_simple(each) for each in values] for name, values in value.items()}
    if kind is list:
        return [_simple(each) for each in value] if isinstance(value, list) else _simple(value)
    if kind in (str, Path):
        if not isinstance(value, str):
            raise TypeError("a text")
        return value if kind is str else _path(value)
    if kind is bool:
        if not isinstance(value, bool):
            raise TypeError("true or false")
        return value
    if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
        raise TypeError("a whole number" if kind is int else "a number")
    try:
        return kind(value)
    except OverflowError:
        raise TypeError("a number that is not as large") from None


def _path(text: str) -> Path:
    try:
        return expanded(text)
    except ValueError as error:
        raise TypeError(f"a path ({error})") from None


def _simple(value: Any) -> str | int | float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError("texts or numbers, in brackets where there are several")
    return value


def _line(text: str, name: str) -> int:
    """The line on which a key or a table of that name stands, which tomllib does not say."""
    pattern = rf"^\s*(\[\s*)?[\"']?{re.escape(name)}[\"']?\s*[\].=]"
    match = re.search(pattern, text, re.MULTILINE)
    return text.count("\n", 0, match.end()) + 1 if match else 1
