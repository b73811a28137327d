"""A study as a TOML file: the names of the flags, with lists where a flag has commas."""

import re
import tomllib
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class StudyFile:
    """What a study's file says, as the flags would say it.

    Attributes:
        flags: by name, with underscores.
        lines: the line on which each name stands.
    """

    path: Path
    flags: Mapping[str, Any]
    lines: Mapping[str, int]

    def placed(self, refusal: str) -> str:
        """A refusal that begins with a flag, as one that begins with the line where this file has it.

        >>> StudyFile(Path("grid.toml"), {}, {"batch_sizes": 3}).placed("--batch-sizes holds 0")
        'grid.toml, line 3: batch-sizes holds 0'
        """
        flag, _, rest = refusal.partition(" ")
        name = "tasks" if flag == "TASK" else flag.removeprefix("--")
        line = self.lines.get(name.replace("-", "_"))
        return refusal if line is None else f"{self.path}, line {line}: {name} {rest}"

    def without(self, names: Container[str]) -> "StudyFile":
        """What is left where flags were given as well: they go before the file."""
        flags = {name: value for name, value in self.flags.items() if name not in names}
        return replace(self, flags=flags, lines={name: self.lines[name] for name in flags})


def read(path: Path, kinds: Mapping[str, type]) -> StudyFile:
    """The study in the file.

    Args:
        kinds: every name that a flag has, and what its value is: ``str`` for a list or a text, ``int``, ``float``,
            ``Path``, or ``dict`` for a table of lists.

    Raises:
        ValueError: it is no TOML, has an unknown name, or a value of another kind; says the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
        found = tomllib.loads(text)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from None
    flags, lines = {}, {}
    for written, value in found.items():
        name = written.replace("-", "_")
        line = _line(text, written)
        if name not in kinds:
            known = ", ".join(known.replace("_", "-") for known in kinds)
            raise ValueError(f"{path}, line {line}: unknown name {written!r}; there are {known}")
        try:
            flags[name] = _as_flag(value, kinds[name])
        except TypeError as error:
            raise ValueError(f"{path}, line {line}: {written} is {value!r}; it must be {error}") from None
        lines[name] = line
    return StudyFile(path, flags, lines)


def _as_flag(value: Any, kind: type) -> Any:
    """The value as a flag's text would be read; TypeError says what it must be."""
    if kind is dict:
        if not isinstance(value, dict) or not all(isinstance(each, list) for each in value.values()):
            raise TypeError("a table of lists")
        return tuple(f"{name}={_joined(each)}" for name, each in value.items())
    if kind is str:
        return _joined(value if isinstance(value, list) else [value])
    if kind is Path:
        if not isinstance(value, str):
            raise TypeError("a text")
        return Path(value)
    if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
        raise TypeError("a whole number" if kind is int else "a number")
    return kind(value)


def _joined(values: list[Any]) -> str:
    for value in values:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise TypeError("texts or numbers, in brackets where there are several")
    return ",".join(value if isinstance(value, str) else repr(value) for value in values)


def _line(text: str, name: str) -> int:
    """The line on which a key or a table of that name stands; tomllib does not tell."""
    pattern = rf"^\s*(\[\s*)?[\"']?{re.escape(name)}[\"']?\s*[\].=]"
    match = re.search(pattern, text, re.MULTILINE)
    return text.count("\n", 0, match.end()) + 1 if match else 1
