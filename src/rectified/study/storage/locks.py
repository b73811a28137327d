"""Locks of folders: on an empty file in each, by ``filelock``, so that they are the same thing on every system.

A lock ends with the process that holds it, however it dies. The file stays, and says nothing by being there.
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
        BlockingIOError: somebody else holds it, and ``wait`` is false.
    """
    with open_to_append(folder / LOCK) as file:
        if not lock_descriptor(file.fileno(), blocking=wait):
            raise BlockingIOError(errno.EAGAIN, "it is locked", str(folder))
        yield


def is_locked(folder: Path) -> bool:
    """Whether somebody holds the folder's lock; changes nothing in there, and needs no more than to read it."""
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
