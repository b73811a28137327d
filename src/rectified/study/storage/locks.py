"""Folder locks: ``filelock`` on an empty file in each folder, which works the same on every system.

A lock ends when the process that holds it ends, for whatever reason. The file remains; its presence means nothing.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import lock_descriptor

from ...files import open_to_append, open_to_read

LOCK = ".lock"


@contextmanager
def locked(folder: Path, wait: bool) -> Iterator[None]:
    """Hold the folder's lock.

    Raises:
        BlockingIOError: another process holds it, and ``wait`` is false.
    """
    with open_to_append(folder / LOCK) as file:
        if not lock_descriptor(file.fileno(), blocking=wait):
            raise BlockingIOError(errno.EAGAIN, "it is locked", str(folder))
        yield


def is_locked(folder: Path) -> bool:
    """Whether any process holds the folder's lock; this changes nothing and needs only read access."""
    path = folder / LOCK
    try:
        file = open_to_append(path, make=False)
    except OSError:
        try:
            file = open_to_read(path)
        except OSError:  # there is none, or it is no lock of ours
            return False
    with file:
        try:
            return not lock_descriptor(file.fileno(), blocking=False)
        except OSError as error:
            if error.errno != errno.EBADF:  # NFS answers only those who may write
                raise
            return False
