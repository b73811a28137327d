"""Reading and writing files: writes are atomic, and symbolic links are never followed."""

import errno
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from .messages import shortened, shown

LIMIT = 1 << 28  # bytes: no text that this program writes comes close to it

FULL = (errno.ENOSPC, errno.EDQUOT)  # the errno of an OSError if there is no space left

# Some systems lack some of these flags; Windows opens files in text mode by default.
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # opening a pipe in the file's place would wait for a writer

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{16}\.rectified-(\d+)")


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with a home folder in place of a leading ~ or ~user.

    Raises:
        ValueError: there is no such user or home folder, or the path contains a null character.

    >>> expanded("data/x").as_posix()
    'data/x'
    """
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"{shown(path)} is no path")
    if "\0" in str(path):
        raise ValueError("a path cannot contain null characters")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{shortened(str(path))}: {error}".rstrip(".")) from None


def write(path: Path, content: str | bytes | memoryview) -> None:
    """Write a file atomically: it holds either the new content or its old one, even after a crash.

    The content is written to a temporary file, synced to disk, and renamed.

    Args:
        path: the file; a link in its place is replaced, not followed.
        content: text, which is encoded as UTF-8, or bytes.
    """
    with writing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to be written atomically, as :func:`write` does, in parts: an error inside leaves the old file.

    Args:
        path: the file; a link in its place is replaced, not followed.
    """
    name = os.fsencode(path.name)[:100].decode(errors="ignore")  # of 255 bytes that a name may have
    temporary = path.with_name(f".{name}.{secrets.token_hex(8)}.rectified-{os.getpid()}")
    try:
        # Exclusive: in a shared folder, somebody else may have put a link under a name that can be guessed.
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK, 0o666), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
    sync(path.parent)


def write_output(path: Path, content: str) -> None:
    """Write a file that a user has named: the file that a link leads to, and into a device or a pipe.

    Raises:
        OSError: it cannot be written, or is a folder.
    """
    special = path.exists() and not path.is_file()
    if special or Path("/dev") in path.parents:  # /dev/stdout may lead to a file that the shell has open
        with path.open("w", encoding="utf-8") as file:
            file.write(content)
    else:
        write(path.resolve(), content)


def read(path: Path, limit: int | None = LIMIT) -> bytes:
    """Read a regular file as bytes, such as one that :func:`write` wrote.

    Args:
        limit: the largest size in bytes; None for no limit.

    Raises:
        OSError: the file is larger than the limit, cannot be read, or is a link, a pipe or a device, which somebody
            else must have put there.
    """
    with _regular(path, os.O_RDONLY, "rb") as file:
        if limit is not None and os.fstat(file.fileno()).st_size > limit:
            raise OSError(errno.EFBIG, f"larger than {limit / 1e6:.0f} MB", str(path))
        content: bytes = file.read()
    return content


def open_to_read(path: Path) -> IO[str]:
    """Open a UTF-8 text file for reading.

    Raises:
        OSError: the file cannot be opened, or is a link, a pipe or a device.
    """
    return _regular(path, os.O_RDONLY, "r", "utf-8")


def open_to_append(path: Path, make: bool = True) -> IO[str]:
    """Open a UTF-8 text file for reading and appending.

    Args:
        make: whether to create the file if it does not exist.

    Raises:
        OSError: the file cannot be opened, or is a link, a pipe or a device.
    """
    return _regular(path, os.O_RDWR | os.O_APPEND | (os.O_CREAT if make else 0), "a+", "utf-8")


def _regular(path: Path, flags: int, mode: str, encoding: str | None = None) -> IO[Any]:
    descriptor = os.open(path, flags | _NO_LINK | _NO_WAIT, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(descriptor, mode, encoding=encoding)


def sync(folder: Path) -> None:
    """Sync a folder's directory entries to disk, which makes a rename in it durable; a file's own fsync does not."""
    with suppress(OSError):  # not every file system supports it
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def is_temporary(name: str) -> bool:
    """Whether a file name is that of a temporary file of :func:`write`.

    >>> is_temporary(".results.csv.0123456789abcdef.rectified-77"), is_temporary(".notes.2024")
    (True, False)
    """
    return _TEMPORARY.fullmatch(name) is not None


def sweep(folder: Path) -> None:
    """Remove the temporary files that killed calls of :func:`write` left behind."""
    for path in folder.iterdir():
        found = _TEMPORARY.fullmatch(path.name)
        if found and not _alive(int(found[1])):
            with suppress(OSError):  # already gone, or a folder with that name
                path.unlink()


def _alive(pid: int) -> bool:
    if sys.platform == "win32":  # where os.kill(pid, 0) would send a Ctrl-C
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's process
        return True
    return True
