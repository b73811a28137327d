"""Reading a study from a TOML file, which has the flags by name, with lists instead of commas."""

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
    """The content of a study's TOML file.

    Attributes:
        values: the values by option name, as Python keywords.
        lines: the line number of each name.
    """

    path: Path
    values: Mapping[str, Any]
    lines: Mapping[str, int]

    def text(self, refused: InvalidOption) -> str:
        """The message of an invalid option: with its line if it is in this file, otherwise with its flag.

        >>> file = StudyFile(Path("grid.toml"), {}, {"batch_sizes": 3})
        >>> file.text(InvalidOption("batch_sizes", 0, "it must be at least 1"))
        'grid.toml, line 3: batch-sizes is 0: it must be at least 1'
        """
        name = refused.name.replace("_", "-")
        line = self.lines.get(refused.name)
        return refused.text(f"--{name}") if line is None else f"{self.path}, line {line}: {refused.text(name)}"


def read(path: Path, kinds: Mapping[str, type]) -> StudyFile:
    """Read a study's TOML file.

    Args:
        kinds: every option's name and the type of its value: ``list``, ``str``, ``int``, ``float``, ``bool``, ``Path``,
            or ``dict`` for a table of lists.

    Raises:
        ValueError: the file cannot be read, is not TOML, has an unknown name, or a value of the wrong type; the message
            names the line.
    """
    text = _text(path)
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        hint = "; a backslash in double quotes starts an escape, so write paths in 'single quotes'" * ("\\" in text)
        raise ValueError(f"{path}: {text_of(error)}{hint}") from None
    except (
        ValueError,
        ArithmeticError,
        RecursionError,
        MemoryError,
    ) as error:  # a date, digits or brackets without end
        raise ValueError(f"{path}: the file cannot be read: {text_of(error)}") from None
    values, lines = {}, {}
    for written, value in found.items():
        name, line = written.replace("-", "_"), _line(text, written)
        if name not in kinds:
            known = ", ".join(known.replace("_", "-") for known in kinds)
            raise ValueError(f"{path}, line {line}: unknown name {shown(written)}; the names are {known}")
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
        raise ValueError(f"{path}: the file has more than {_MOST:,} bytes, which is too large for a study")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content:
        raise ValueError(f"{path}: the file is UTF-16, but TOML must be UTF-8; save it as UTF-8")
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}, line {line}: not UTF-8; save the file as UTF-8") from None


def _checked(value: Any, kind: type) -> Any:
    """The value, converted to that type; a TypeError says what it must be."""
    if kind is dict:
        if not isinstance(value, dict) or not all(isinstance(each, list) for each in value.values()):
            raise TypeError("a table of lists")
        return {name: [_simple(each) for each in values] for name, values in value.items()}
    if kind is list:
        return [_simple(each) for each in value] if isinstance(value, list) else _simple(value)
    if kind in (str, Path):
        if not isinstance(value, str):
            raise TypeError("a string")
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
        raise TypeError("a smaller number") from None


def _path(text: str) -> Path:
    try:
        return expanded(text)
    except ValueError as error:
        raise TypeError(f"a path ({error})") from None


def _simple(value: Any) -> str | int | float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError("strings or numbers, in brackets if there are several")
    return value


def _line(text: str, name: str) -> int:
    """The line number of a key or a table with that name, which tomllib does not provide."""
    pattern = rf"^\s*(\[\s*)?[\"']?{re.escape(name)}[\"']?\s*[\].=]"
    match = re.search(pattern, text, re.MULTILINE)
    return text.count("\n", 0, match.end()) + 1 if match else 1
