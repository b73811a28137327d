"""The cache of fetched data, which holds a data set completely or not at all.

A data set is built in a hidden folder next to its final location and moved there by one rename. Two processes may fetch
the same data at once: the first rename wins, and the other process discards its copy.

Only folders created here, which contain the file MARK, are ever moved or removed. Everything else in the cache belongs
to the user, including links and their targets.
"""

import glob
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

LONGER_THAN_ANY_FETCH = 24 * 3600.0  # seconds
MARK = ".made-by-rectified"
_ABOUT = "rectified created this folder and may move it. Delete this file to keep the folder in place.\n"


def root() -> Path:
    """`$RECTIFIED_CACHE`, else `$XDG_CACHE_HOME/rectified`, else `~/.cache/rectified`; the folder need not exist.

    Raises:
        OSError: the path begins with ~ and there is no such home (a container's user without a name).
    """
    if own := os.environ.get("RECTIFIED_CACHE"):
        folder = Path(own)
    elif (shared := Path(os.environ.get("XDG_CACHE_HOME", ""))).is_absolute():  # a relative one is void
        folder = shared / "rectified"
    else:
        folder = Path("~/.cache/rectified")
    try:
        return folder.expanduser().absolute()
    except RuntimeError as homeless:
        raise OSError(f"no location for a cache ({homeless})") from homeless


def fill(name: str, make: Callable[[Path], object], check: Callable[[Path], object]) -> Path:
    """Create the data set `root() / name` with `make(empty_folder)`, and keep it only if `check(folder)` succeeds.

    Any error of `make` or `check` passes through, including Ctrl-C, and leaves nothing behind.

    Raises:
        OSError: the cache cannot be written.
    """
    home = root() / name
    home.parent.mkdir(parents=True, exist_ok=True)
    _sweep(home)
    with TemporaryDirectory(prefix=f".{name}-", dir=home.parent) as temporary:
        _mark(Path(temporary))
        made = Path(temporary, name)  # a level deeper: the temporary folder itself is closed to other users
        made.mkdir()
        make(made)
        check(made)
        _mark(made)
        for path in (*made.iterdir(), made):
            _flush(path)
        try:
            made.rename(home)
        except OSError:
            if not home.is_dir():
                raise
            check(home)  # another process was quicker
        _flush(home.parent)
    return home


def is_ours(folder: Path) -> bool:
    """Whether the folder was created here: it contains the file MARK, and neither is a link."""
    mark = folder / MARK
    return not folder.is_symlink() and mark.is_file() and not mark.is_symlink()


def set_aside(name: str) -> Path | None:
    """Rename the data set `root() / name`, which must be ours, to name-damaged, name-damaged-2, ...

    Returns:
        The new path; None if another process was quicker.

    Raises:
        OSError: the cache cannot be written.
    """
    home = root() / name
    for number in count(1):
        aside = home.with_name(f"{name}-damaged" + (f"-{number}" if number > 1 else ""))
        if os.path.lexists(aside):
            continue
        try:
            return home.rename(aside)
        except FileNotFoundError:
            return None
        except OSError:
            if not os.path.lexists(aside):  # else another process has just taken that name
                raise
    raise AssertionError("unreachable")


def _mark(folder: Path) -> None:
    (folder / MARK).write_text(_ABOUT)


def _sweep(home: Path) -> None:
    """Remove the folders that killed processes left behind."""
    for left in home.parent.glob(f".{glob.escape(home.name)}-*"):
        with suppress(OSError):  # its owner may be removing it just now
            if is_ours(left) and time.time() - left.stat().st_mtime > LONGER_THAN_ANY_FETCH:
                shutil.rmtree(left)


def _flush(path: Path) -> None:
    """Sync a file or folder to disk, so that a rename never survives a power failure without its bytes."""
    with suppress(PermissionError):  # Windows opens no folders; the rename is all there is to have there
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
