"""Files that are published one by one, gzipped, and known by the sums of what is in them."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from . import fetch
from .find import DataNotFoundError, Say
from .text.lines import content, file

Sums = Mapping[str, str]  # by name without .gz, SHA-256; the smallest first, so that a bad source shows itself early


def checked(folder: Path, sums: Sums) -> Path:
    """The folder, if all of the files are there, gzipped or not, and right.

    Raises:
        DataNotFoundError: one is missing, damaged, another one of them, or not as published; names it.
    """
    for name in sums:
        _check(folder, name, sums)
    return folder


def download(folder: Path, url: str, sums: Sums, title: str, say: Say) -> None:
    """All of the files into the folder, each checked before the next.

    Raises:
        DataNotFoundError: one is not right.
        OSError: one cannot be had.
    """
    for name in sums:
        say(f"{title}: downloading {url}{name}.gz")
        fetch.download(f"{url}{name}.gz", folder / f"{name}.gz")
        _check(folder, name, sums)


def _check(folder: Path, name: str, sums: Sums) -> None:
    path = file(folder, name)
    if what := wrong(content(path), name, sums):
        raise DataNotFoundError(f"{path}: {what}")


def wrong(content: bytes, name: str, sums: Sums) -> str:
    """What is wrong with this as the content of that file; "" if nothing is.

    >>> wrong(b"", "a", {"a": hashlib.sha256(b"1").hexdigest(), "b": hashlib.sha256(b"").hexdigest()})
    'it is b'
    """
    found = hashlib.sha256(content).hexdigest()
    if found == sums[name]:
        return ""
    names = {sum_: name for name, sum_ in sums.items()}
    return f"it is {names[found]}" if found in names else "its content is not the published one (wrong SHA-256)"
