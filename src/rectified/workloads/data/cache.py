"""A folder of one's own where fetched data is kept: a data set is there whole, or it is not there.

What is being fetched lives in a hidden folder beside its place and moves there in one rename. Two processes
may fetch the same thing at once: the first rename wins, the other process throws its copy away.
"""

import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

LONGER_THAN_ANY_FETCH = 24 * 3600.0  # seconds


def root() -> Path:
    """`$RECTIFIED_CACHE`, else `$XDG_CACHE_HOME/rectified`, else `~/.cache/rectified`; it need not exist.

    OSError: there is no home folder (a container's user without a name).
    """
    if own := os.environ.get("RECTIFIED_CACHE"):
        folder = Path(own)
    elif (shared := Path(os.environ.get("XDG_CACHE_HOME", ""))).is_absolute():  # its rule: a relative one is void
        folder = shared / "rectified"
    else:
        folder = Path("~/.cache/rectified")
    try:
        return folder.expanduser().absolute()
    except RuntimeError as homeless:
        raise OSError(f"no place for a cache ({homeless})") from homeless


def fill(name: str, make: Callable[[Path], object], check: Callable[[Path], object]) -> Path:
    """`root() / name`, made by `make(empty_folder)` and published only if `check(folder)` raises nothing.

    Whatever `make` or `check` raises comes through, Ctrl-C included, and leaves nothing behind.
    OSError: the cache cannot be written.
    """
    home = root() / name
    home.parent.mkdir(parents=True, exist_ok=True)
    _sweep(home)
    with TemporaryDirectory(prefix=f".{name}-", dir=home.parent) as temporary:
        made = Path(temporary, name)  # a level deeper: the temporary folder itself is closed to other users
        made.mkdir()
        make(made)
        check(made)
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


def aside(name: str) -> Path:
    """Where `set_aside(name)` puts the folder."""
    return root() / f"{name}-damaged"


def set_aside(name: str) -> None:
    """Move `root() / name` out of the way, in place of what was moved there before."""
    shutil.rmtree(aside(name), ignore_errors=True)
    with suppress(FileNotFoundError):  # another process was quicker
        (root() / name).rename(aside(name))


def _sweep(home: Path) -> None:
    """Remove what killed processes left: they had no time to clean up."""
    for left in home.parent.glob(f".{home.name}-*"):
        with suppress(OSError):  # its owner may be removing it just now
            if time.time() - left.stat().st_mtime > LONGER_THAN_ANY_FETCH:
                shutil.rmtree(left)


def _flush(path: Path) -> None:
    """Have the file or folder on the disk: the rename must not outlive its bytes in a power cut."""
    with suppress(PermissionError):  # Windows opens no folders; the rename is all there is to have there
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
