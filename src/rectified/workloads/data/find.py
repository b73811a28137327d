"""Find a data set: in the folder that a user names, in the cache, or by fetching it into the cache; always checked."""

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
    """A data set is missing or damaged; the message says what was looked for, where, and what to do."""


def to_stderr(line: str) -> None:
    """Print the line where it does not mix with results."""
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
    """Refuse what cannot hold any data; None is fine.

    Raises:
        DataNotFoundError: there is nothing at the path, or a file that is no archive.
    """
    if path is None:
        return
    place = expanded(path)
    if not place.exists():
        raise DataNotFoundError(f"{path}: no such folder")
    if place.is_file() and not is_archive(place):
        raise DataNotFoundError(f"{path}: neither a folder nor an archive")


def is_archive(file: Path) -> bool:
    """Whether it is called as an archive or begins as a zip, gzip, bzip2, xz or tar file does, however it goes on."""
    if file.suffix in (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz"):
        return True
    with file.open("rb") as content:
        head = content.read(512)
    return head.startswith(_ARCHIVES) or head[257:262] == b"ustar"


@dataclass(frozen=True)
class Place:
    """A data set: its name in the cache, its title in messages, and how a folder is checked for it.

    Attributes:
        check: returns the folder that it is given; raises DataNotFoundError or OSError if that does not hold the data.
    """

    name: str
    title: str
    check: Check

    def named(self, folder: Path, layouts: Sequence[str], wanted: str) -> Path:
        """The first of the layouts inside the user's folder that passes the check; nothing else is tried.

        Args:
            folder: may begin with ~.
            layouts: paths inside the folder, "" for itself.
            wanted: what the folder should hold, for the message.

        Raises:
            DataNotFoundError: no layout passes; says what was wrong with each.
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
        """What the first successful way returns.

        Args:
            ways: tried in their order.
            advice: ends the message of a failure; ``{cache}`` in it stands for the folder where the data would be kept.

        Raises:
            DataNotFoundError: no way succeeds; says why each one failed.
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
        """The data set in the cache; a damaged one is set aside if rectified made it, and else left as it is.

        Raises:
            DataNotFoundError: it is not there, or damaged.
        """
        home = cache.root() / self.name
        if not os.path.lexists(home):
            raise DataNotFoundError(f"nothing in {home}")
        try:
            return self.check(home)
        except DataNotFoundError as damage:
            if not cache.is_ours(home):
                raise DataNotFoundError(
                    f"{damage}; rectified has not made {home} and leaves it as it is: complete it, or move it away"
                ) from None
            if aside := cache.set_aside(self.name):
                say(f"{self.title}: {damage}; the folder is set aside as {aside}")
            raise

    def kept(self, make: Callable[[Path], None], say: Say) -> Path:
        """Fill an empty folder by `make`, check it, and move it into the cache; returns its place there.

        Raises:
            DataNotFoundError: there is something in that place that does not pass the check; nothing is made then.
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
