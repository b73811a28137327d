"""Text files as lines, gzipped or not, and lines that are translations of each other."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from .. import archives
from ..find import DataNotFoundError

LIMIT = 1 << 33  # bytes of an unpacked file: WMT'14's English and French have about 6 GB a side


class Lines(NamedTuple):
    """Sentences and their translations."""

    source: list[str]
    target: list[str]

    @classmethod
    def of(cls, pairs: Sequence[tuple[str, str]]) -> "Lines":
        return cls([source for source, _ in pairs], [target for _, target in pairs])


class ParallelText(NamedTuple):
    """Sentences and their translations: to train on, to validate with, to test with."""

    train: Lines
    valid: Lines
    test: Lines


def there(folder: Path, name: str) -> Path | None:
    """The path of a file in the folder, gzipped (as name.gz) or not; None if it does not exist."""
    return next((path for path in (folder / f"{name}.gz", folder / name) if path.is_file()), None)


def file(folder: Path, name: str) -> Path:
    """The path of a file in the folder, gzipped (as name.gz) or not.

    Raises:
        DataNotFoundError: there is neither.
    """
    if path := there(folder, name):
        return path
    raise DataNotFoundError(f"{folder}: " + (f"{name}[.gz] is missing" if folder.is_dir() else "no such folder"))


def content(path: Path) -> bytes:
    """The bytes of a file, gunzipped if it starts with the gzip signature.

    Raises:
        DataNotFoundError: it is damaged, or unpacks to more than LIMIT.
    """
    return archives.contents(path, LIMIT)


def lines(path: Path, text: bytes) -> list[str]:
    """Decode a text and split it into lines, without white space around them.

    Only newlines end a line: Unicode's other separators are characters like any other.

    Args:
        path: where the text is from, for the message.

    Raises:
        DataNotFoundError: it is not UTF-8; names the path and the line.
    """
    whole = decoded(path, text)
    return [line.strip() for line in whole.removesuffix("\n").split("\n")] if whole else []


def decoded(path: Path, text: bytes) -> str:
    """Decode a text that should be UTF-8.

    Args:
        path: where the text is from, for the message.

    Raises:
        DataNotFoundError: it is not UTF-8; names the path and the line.
    """
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise DataNotFoundError(f"{path}: line {line} is not UTF-8 ({error.reason})") from None


def paired(paths: Sequence[Path], sides: Iterable[list[str]]) -> Lines:
    """Put together the lines of a source and a target file, whose i-th lines are translations of each other.

    Args:
        paths: of the two files, for the message.
        sides: the lines of the two files.

    Raises:
        DataNotFoundError: one has more lines than the other, they are the same text, or they are empty.
    """
    (one, other), (source, target) = paths, sides
    if len(source) != len(target):
        raise DataNotFoundError(
            f"{one} has {len(source)} sentences, {other} {len(target)}: one is cut off, or they are of different texts"
        )
    if source == target:
        raise DataNotFoundError(f"{one} and {other} " + ("are the same text" if source else "are empty"))
    return Lines(source, target)
