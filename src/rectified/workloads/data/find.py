"""Where a data set is: in the folder that a user names, in the cache, or fetched into it; checked in any case."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import cache

Say = Callable[[str], None]
Check = Callable[[Path], Path]
Way = tuple[str, Callable[[Say], Path]]


class DataNotFoundError(RuntimeError):
    """The data is not there; the message says what was looked for, where, and what to do."""


def to_stderr(line: str) -> None:
    print(line, file=sys.stderr)


@dataclass(frozen=True)
class Place:
    """A data set by its name in the cache and its title in messages.

    Attributes:
        check: returns the folder that it is given, or raises DataNotFoundError or OSError where it is not all there.
    """

    name: str
    title: str
    check: Check

    def named(self, folder: Path, layouts: Sequence[str], wanted: str) -> Path:
        """Inside the folder that a user named, in the first of these layouts that it has; nothing else is tried.

        Raises:
            DataNotFoundError: it does not hold what is `wanted`; says what was wrong with each layout.
        """
        tried = []
        folder = Path(folder).expanduser()
        for layout in layouts:
            try:
                return self.check(folder / layout)
            except (DataNotFoundError, OSError) as reason:
                tried.append(f"  {reason}")
        raise DataNotFoundError("\n".join([f"{folder} does not hold {self.title} ({wanted}). Looked in:", *tried]))

    def by(self, ways: Sequence[Way], advice: str, say: Say) -> Path:
        """By the first way that leads to it. In the advice, ``{cache}`` is where it would be kept.

        Raises:
            DataNotFoundError: none does; says why of each, and the advice.
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
        """The way to what was fetched before; what is damaged is set aside."""
        home = cache.root() / self.name
        if not home.exists():
            raise DataNotFoundError(f"nothing in {home}")
        try:
            return self.check(home)
        except DataNotFoundError as damage:
            aside = cache.aside(self.name)
            say(f"{self.title}: {damage}; setting the folder aside as {aside} and fetching anew")
            cache.set_aside(self.name)
            raise

    def kept(self, make: Callable[[Path], None], say: Say) -> Path:
        """In the cache, once `make` has filled an empty folder and that is right."""
        home = cache.fill(self.name, make, self.check)
        say(f"{self.title}: kept in {home}")
        return home
