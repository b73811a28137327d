"""Finding a data set in a user's folder, in the cache, or by fetching it into the cache; it is always verified."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ... import files
from . import cache

Say = Callable[[str], None]
Check = Callable[[Path], Path]
Way = tuple[str, Callable[[Say], Path]]

_ARCHIVES = (b"PK", b"\x1f\x8b", b"BZh", b"\xfd7zXZ")


class DataNotFoundError(RuntimeError):
    """A data set is missing or damaged; the message says what was searched for, where, and what to do."""


def to_stderr(line: str) -> None:
    """Print a line to standard error, so that it does not mix with results."""
    print(line, file=sys.stderr)


def expanded(path: Path) -> Path:
    """The path with a home folder in place of a leading ~ or ~user.

    Raises:
        DataNotFoundError: there is no such user, or no home.

    >>> expanded(Path("data/x")).as_posix()
    'data/x'
    """
    try:
        return files.expanded(path)
    except ValueError as error:
        raise DataNotFoundError(str(error)) from None


def check_named(path: Path | None) -> None:
    """Check that a path can hold data: a folder or an archive, or None.

    Raises:
        DataNotFoundError: there is nothing at the path, or a file that is not an archive.
    """
    if path is None:
        return
    place = expanded(path)
    if not place.exists():
        raise DataNotFoundError(f"{path}: no such folder")
    if place.is_file() and not is_archive(place):
        raise DataNotFoundError(f"{path}: neither a folder nor an archive")


def is_archive(file: Path) -> bool:
    """Whether a file has the name of an archive or the signature of a zip, gzip, bzip2, xz or tar file."""
    if file.suffix in (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz"):
        return True
    with file.open("rb") as content:
        head = content.read(512)
    return head.startswith(_ARCHIVES) or head[257:262] == b"ustar"


@dataclass(frozen=True)
class Place:
    """A data set to find: its name in the cache, its title in messages, and a check of a folder.

    Attributes:
        check: returns the given folder; raises DataNotFoundError or OSError if it does not hold the data.
    """

    name: str
    title: str
    check: Check

    def named(self, folder: Path, layouts: Sequence[str], wanted: str) -> Path:
        """Find the data in the user's folder, in the first layout that passes the check; nothing else is tried.

        Args:
            folder: may begin with ~.
            layouts: paths inside the folder, "" for itself.
            wanted: what the folder should hold, for the message.

        Raises:
            DataNotFoundError: no layout passes; the message says what was wrong with each.
        """
        tried = []
        folder = expanded(folder)
        for layout in layouts:
            try:
                return self.check(folder / layout)
            except (DataNotFoundError, OSError) as reason:
                tried.append(f"  {reason}")
        raise DataNotFoundError("\n".join([f"{folder} does not hold {self.title} ({wanted}). Looked in:", *tried]))

    def by(self, ways: Sequence[Way], advice: str, say: Say) -> Path:
        """Find the data by the first way that succeeds.

        Args:
            ways: the ways, in order.
            advice: the end of a failure's message; ``{cache}`` in it stands for the folder that would hold the data.

        Raises:
            DataNotFoundError: no way succeeds; the message says why each failed.
        """
        tried = []
        for title, way in ways:
            try:
                return way(say)
            except (DataNotFoundError, OSError) as reason:
                tried.append(f"  {title}: {reason}")
        try:
            home = str(cache.root() / self.name)
        except OSError:
            home = "$RECTIFIED_CACHE"
        found = f"{self.title} was not found. Tried, in this order:"
        raise DataNotFoundError("\n".join([found, *tried, advice.replace("{cache}", home)]))

    def cached(self, say: Say) -> Path:
        """Find the data set in the cache; a damaged one is set aside if rectified created it, and left alone otherwise.

        Raises:
            DataNotFoundError: it is missing or damaged.
        """
        home = cache.root() / self.name
        if not os.path.lexists(home):
            raise DataNotFoundError(f"nothing in {home}")
        try:
            return self.check(home)
        except DataNotFoundError as damage:
            if not cache.is_ours(home):
                raise DataNotFoundError(
                    f"{damage}; rectified did not create {home} and leaves it alone: complete it, or move it away"
                ) from None
            if aside := cache.set_aside(self.name):
                say(f"{self.title}: {damage}; the folder is set aside as {aside}")
            raise

    def kept(self, make: Callable[[Path], None], say: Say) -> Path:
        """Fill an empty folder with `make`, check it, and move it into the cache; return its location.

        Raises:
            DataNotFoundError: that location holds something that fails the check; nothing is created then.
        """
        home = cache.root() / self.name
        if os.path.lexists(home):
            try:
                return self.check(home)  # another process was quicker
            except DataNotFoundError:
                raise DataNotFoundError(f"not tried, since {home} is in its place") from None
        cache.fill(self.name, make, self.check)
        say(f"{self.title}: kept in {home}")
        return home
