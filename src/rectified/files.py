"""Files that are there whole, or as they were before, also after the machine's sudden end."""

import errno
import os
import sys
from contextlib import suppress
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)  # the errno of an OSError where there is no room left


def write(path: Path, content: str | bytes | memoryview) -> None:
    """Write a file, all of it or not at all: by a rename, once its bytes are on the disk. Text is UTF-8."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
    sync(path.parent)


def sync(folder: Path) -> None:
    """Bring the folder's list of names to the disk: a file's own fsync does not, and a rename is a change of names."""
    with suppress(OSError):  # not every file system can
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sweep(folder: Path) -> None:
    """Remove what a killed :func:`write` leaves over: temporaries of processes that are no more."""
    for path in folder.glob(".*.*"):
        if path.suffix[1:].isdigit() and not _alive(int(path.suffix[1:])):
            path.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    if sys.platform == "win32":  # whose os.kill knows no 0: it would be a Ctrl-C
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True
