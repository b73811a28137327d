"""Text files as lines, gzipped or not, and lines that translate one another."""

import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ..find import DataNotFoundError
from ..images.idx import contents


class Lines(NamedTuple):
    """Sentences and their translations."""

    source: list[str]
    target: list[str]

    @classmethod
    def of(cls, pairs: Sequence[tuple[str, str]]) -> "Lines":
        return cls([source for source, _ in pairs], [target for _, target in pairs])


def there(folder: Path, name: str) -> Path | None:
    """The file of that name, or gzipped, if there is one."""
    return next((path for path in (folder / f"{name}.gz", folder / name) if path.is_file()), None)


def file(folder: Path, name: str) -> Path:
    """The file of that name, or gzipped.

    Raises:
        DataNotFoundError: there is none.
    """
    if path := there(folder, name):
        return path
    raise DataNotFoundError(f"{folder}: " + (f"{name}[.gz] is missing" if folder.is_dir() else "no such folder"))


def content(path: Path) -> bytes:
    """What is in it, gunzipped where its first bytes say so.

    Raises:
        DataNotFoundError: it is damaged.
    """
    try:
        return contents(path)
    except ValueError as damage:
        raise DataNotFoundError(str(damage)) from damage


def unzipped(archive: Path, name: str) -> bytes:
    """What is in that member.

    Raises:
        DataNotFoundError: there is none, or it is damaged.
    """
    try:
        with zipfile.ZipFile(archive) as members:
            return members.read(name)
    except KeyError:
        raise DataNotFoundError(f"{archive}: holds no {name}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as damage:
        raise DataNotFoundError(f"{archive}: damaged zip file ({damage})") from damage


def lines(path: Path, text: bytes) -> list[str]:
    """The text's lines, without white space around them; cut at newlines alone: other separators are characters of it.

    Raises:
        DataNotFoundError: it is not UTF-8; tells the line, and that it is from `path`.
    """
    try:
        decoded = text.decode()
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise DataNotFoundError(f"{path}: line {line} is not UTF-8 ({error.reason})") from None
    return [line.strip() for line in decoded.removesuffix("\n").split("\n")] if decoded else []


def paired(paths: Sequence[Path], sides: Iterable[list[str]]) -> Lines:
    """The lines of two files, source and target, of which the i-th translate each other.

    Raises:
        DataNotFoundError: they are not as many, the same, or none.
    """
    (one, other), (source, target) = paths, sides
    if len(source) != len(target):
        raise DataNotFoundError(
            f"{one} has {len(source)} sentences, {other} {len(target)}: one is cut off, or they are of different texts"
        )
    if source == target:
        raise DataNotFoundError(f"{one} and {other} " + ("are the same text" if source else "are empty"))
    return Lines(source, target)
