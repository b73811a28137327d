"""Data sets of gzipped files that are published individually, verified by the SHA-256 of their unzipped content."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from . import archives, fetch
from .find import DataNotFoundError, Say
from .text.lines import file

# From a file's name without .gz to its SHA-256; the smallest file first, so that a bad source shows early.
Sums = Mapping[str, str]
LIMIT = 1 << 28  # bytes of an unpacked file: the largest one, of Fashion-MNIST, has 47 MB


def checked(folder: Path, sums: Sums) -> Path:
    """Return the folder if it holds all the files, gzipped or not, with the published content.

    Raises:
        DataNotFoundError: a file is missing, damaged, a copy of another, or not as published; names it.
    """
    for name in sums:
        _check(folder, name, sums)
    return folder


def download(folder: Path, url: str, sums: Sums, title: str, say: Say) -> None:
    """Download all the files into the folder; each is checked before the next one.

    Raises:
        DataNotFoundError: a file is not as published.
        OSError: a file cannot be downloaded.
    """
    for name in sums:
        say(f"{title}: downloading {url}{name}.gz")
        fetch.download(f"{url}{name}.gz", folder / f"{name}.gz")
        _check(folder, name, sums)


def _check(folder: Path, name: str, sums: Sums) -> None:
    path = file(folder, name)
    if what := wrong(archives.contents(path, LIMIT), name, sums):
        raise DataNotFoundError(f"{path}: {what}")


def wrong(content: bytes, name: str, sums: Sums) -> str:
    """What is wrong with this content of the file `name`; "" if it is the published one.

    >>> wrong(b"", "a", {"a": hashlib.sha256(b"1").hexdigest(), "b": hashlib.sha256(b"").hexdigest()})
    'it is b'
    """
    found = hashlib.sha256(content).hexdigest()
    if found == sums[name]:
        return ""
    names = {sum_: name for name, sum_ in sums.items()}
    return f"it is {names[found]}" if found in names else "its content differs from the published file (wrong SHA-256)"
