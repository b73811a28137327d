"""Reading archives and gzip files that may be damaged or malicious.

Anything wrong with one raises a one-line DataNotFoundError. Nothing is unpacked beyond a limit, which is checked
against the declared sizes first and then against the stream. Links are neither followed nor created, and nothing is
written outside of the given folder.
"""

import errno
import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, cast

from .find import DataNotFoundError, is_archive

GZIP, BZIP2, XZ = b"\x1f\x8b", b"BZh", b"\xfd7zXZ"

RATIO = 100  # text compresses to a tenth of its size, hardly ever to a fiftieth; a thousandth is a zip bomb
ALWAYS = 1 << 26  # bytes that a file of any size may unpack to
MEMBERS = 2_000_000  # ImageNet has 1,332,168
DEPTH = 32  # folders inside each other
CHUNK = 1 << 16  # bytes read at once; a longer header is none
DIRECTORY = 1 << 28  # bytes of a zip's list of its members, which is read at once

WAY_OUT = "if you trust it, unpack it yourself"

# An OSError of Python's readers has no number. The others are seeks before the beginning, and names that cannot be
# files: too long, or those of a file and of a folder at once.
_BY_DAMAGE = (None, errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)


def contents(path: Path, limit: int) -> bytes:
    """The bytes of a file, gunzipped if it starts with the gzip signature.

    Its name does not matter: browsers unzip a `.gz` and keep the name. A file that is not gzipped is read regardless of
    its size.

    Args:
        limit: in bytes, for what it unpacks to.

    Raises:
        DataNotFoundError: the gzip stream is damaged, something follows it, or it unpacks to more than the limit.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        if file.peek(2)[:2] != GZIP:
            return file.read()
        whole, unpacked = _Limit(path, limit), io.BytesIO()
        with _damage(lambda damage: DataNotFoundError(f"{path}: damaged gzip file ({_line(damage)})")):
            _pour(gzip.GzipFile(fileobj=file), unpacked, whole)
        return unpacked.getvalue()


def read(archive: Path, names: Collection[str], limit: int) -> dict[str, bytes]:
    """The contents of the files with these names in a zip or tar file, in order, in any folder.

    Args:
        limit: the limit in bytes on everything that the archive unpacks to.

    Raises:
        DataNotFoundError: a file is not there or is a link; the archive is damaged, encrypted or beyond the limit.
        OSError: the archive cannot be read.
    """
    found = find(archive, names, limit)
    if missing := [name for name in names if name not in found]:
        raise DataNotFoundError(f"{archive}: holds no {', '.join(missing)}")
    return {name: found[name] for name in names}


def find(
    archive: Path, names: Collection[str], limit: int, inside: Collection[str] = (), whole: int | None = None
) -> dict[str, bytes]:
    """The contents of those of these files that are in a zip or tar file, in any folder.

    Args:
        limit: the limit in bytes on what is kept in memory.
        inside: the names of archives inside the archive that are searched too, one level deep.
        whole: the limit in bytes on everything that the archive unpacks to, if it is not `limit`.

    Raises:
        DataNotFoundError: one of the files is a link; the archive is damaged, encrypted or beyond a limit.
        OSError: the archive cannot be read.
    """
    kept, passed = _Limit(archive, limit), _Limit(archive, whole or limit)
    found: dict[str, bytes] = {}

    def look(members: Iterator[_Member], inside: Collection[str]) -> None:
        entered = set()
        for member in members:
            name = PurePosixPath(member.name).name
            if name in names and not member.is_folder:
                found[name] = _content(archive, member, kept)
            elif name in inside and name not in entered and not member.is_folder:
                entered.add(name)
                look(_members(archive, io.BytesIO(_content(archive, member, kept)), kept), ())

    with archive.open("rb") as packed, _damage(lambda damage: _unreadable(archive, damage)):
        look(_members(archive, packed, passed), inside)
    return found


def unpack(archive: Path, folder: Path, limit: int) -> None:
    """Unpack a zip or tar file into an empty folder.

    Args:
        limit: the limit in bytes on everything that the archive unpacks to.

    Raises:
        DataNotFoundError: the archive is damaged, encrypted or beyond the limit, or a member of it is neither a file
            nor a folder or would be outside of the folder.
        OSError: the archive cannot be read, or the folder cannot be written.
    """
    written, passed = _Limit(archive, limit), _Limit(archive, limit)
    with archive.open("rb") as packed, _damage(lambda damage: _unreadable(archive, damage)):
        for member in _members(archive, packed, passed):
            place = folder.joinpath(*_parts(archive, member.name))
            if member.is_folder:
                place.mkdir(parents=True, exist_ok=True)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                with place.open("wb") as file:
                    _copy(archive, member, file, written)


class _Member(NamedTuple):
    """A file, folder or something else in an archive; `open` raises DataNotFoundError unless it is a plain file."""

    name: str
    size: int
    is_folder: bool
    open: Callable[[], IO[bytes]]


class _Limit:
    """The number of bytes an archive may unpack to: the caller's limit, or less for a small archive."""

    def __init__(self, archive: Path, limit: int) -> None:
        self.archive = archive
        self.most = min(limit, max(ALWAYS, RATIO * archive.stat().st_size))
        self.taken = 0

    def check(self, size: int) -> None:
        """Raise DataNotFoundError if `size` bytes in all are too many."""
        if size > self.most:
            raise DataNotFoundError(
                f"{self.archive}: it unpacks to {_mb(size)} or more, and the limit is {_mb(self.most)}; {WAY_OUT}"
            )

    def take(self, size: int) -> None:
        """Count `size` more bytes."""
        self.taken += size
        self.check(self.taken)


class _Guarded:
    """A stream that protects Python's archive readers, which trust the numbers in headers.

    It raises for a read of more than `at_once` bytes and, if it has a limit, for going beyond it or backward: negative
    sizes would make tarfile read the same member forever.
    """

    def __init__(self, stream: IO[bytes], at_once: int, limit: _Limit | None = None) -> None:
        self.stream, self.at_once, self.limit = stream, at_once, limit
        self.tell, self.seekable = stream.tell, stream.seekable

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            size = self.at_once
        if size > self.at_once:
            raise ValueError(f"a header of {size:,} bytes")
        if self.limit:
            self.limit.check(self.tell() + size)
        return self.stream.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        if self.limit:
            if whence or offset < self.tell():
                raise ValueError("a member begins before the end of the previous one")
            self.limit.check(offset)
        return self.stream.seek(offset, whence)


def _members(archive: Path, packed: IO[bytes], limit: _Limit) -> Iterator[_Member]:
    """Yield the members of an archive in order; each may be opened until the next one is requested."""
    head = packed.read(6)
    packed.seek(0)
    of_kind = _in_zip if head.startswith(b"PK") or archive.suffix == ".zip" else _in_tar
    for number, member in enumerate(of_kind(archive, packed, limit)):
        if number >= MEMBERS:
            raise DataNotFoundError(f"{archive}: it has more than {MEMBERS:,} members; {WAY_OUT}")
        yield member


def _in_tar(archive: Path, packed: IO[bytes], limit: _Limit) -> Iterator[_Member]:
    stream = cast(IO[bytes], _Guarded(_decompressed(packed), CHUNK, limit))
    with tarfile.TarFile(fileobj=stream) as members:
        while (member := members.next()) is not None:
            members.members.clear()  # type: ignore[attr-defined]  # or it keeps a million of them
            # The map of a sparse file may send tarfile round in circles.
            plain = member.isreg() and not member.issparse()

            def content(member: tarfile.TarInfo = member, plain: bool = plain) -> IO[bytes]:
                stream = members.extractfile(member) if plain else None
                if stream is None:
                    raise _not_plain(archive, member.name)
                return stream

            yield _Member(member.name, member.size, member.isdir(), content)
    while stream.read(CHUNK):  # the checksum comes last
        pass


def _decompressed(packed: IO[bytes]) -> IO[bytes]:
    head = packed.read(6)
    packed.seek(0)
    if head.startswith(GZIP):
        return cast(IO[bytes], gzip.GzipFile(fileobj=packed))
    if head.startswith(BZIP2):
        import bz2  # not every Python is built with it, nor with lzma

        return cast(IO[bytes], bz2.BZ2File(packed))
    if head.startswith(XZ):
        import lzma

        return cast(IO[bytes], lzma.LZMAFile(packed))
    return packed


def _in_zip(archive: Path, packed: IO[bytes], limit: _Limit) -> Iterator[_Member]:
    size = packed.seek(0, io.SEEK_END)
    # The last part of a file is read at once, which allocates the memory for all that it might return.
    with zipfile.ZipFile(cast(IO[bytes], _Guarded(packed, min(size, DIRECTORY)))) as members:
        limit.check(sum(member.file_size for member in members.infolist()))
        for member in members.infolist():

            def content(member: zipfile.ZipInfo = member) -> IO[bytes]:
                if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
                    raise _not_plain(archive, member.filename)
                if member.flag_bits & 0x41:
                    raise DataNotFoundError(f"{archive}: {_line(member.filename)} in it is encrypted; {WAY_OUT}")
                # Python unpacks the other methods without a memory limit, or not at all.
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise DataNotFoundError(
                        f"{archive}: {_line(member.filename)} in it is compressed by method {member.compress_type}, "
                        f"and only deflate is supported here; {WAY_OUT}"
                    )
                return members.open(member)

            yield _Member(member.filename, member.file_size, member.is_dir(), content)


def _parts(archive: Path, name: str) -> tuple[str, ...]:
    """The path of a member inside the folder that it is unpacked to.

    >>> _parts(Path("a.zip"), "./train/n01/1.JPEG")
    ('train', 'n01', '1.JPEG')
    >>> _parts(Path("a.zip"), "../victim")
    Traceback (most recent call last):
        ...
    rectified.workloads.data.find.DataNotFoundError: a.zip: '../victim' in it leads out of the folder
    """
    path = PurePosixPath(name)
    # On Windows, backslashes and drives are no part of a name.
    if path.is_absolute() or ".." in path.parts or any(Path(part).name != part for part in path.parts):
        raise DataNotFoundError(f"{archive}: {_line(name)} in it leads out of the folder")
    if len(path.parts) > DEPTH:
        raise DataNotFoundError(f"{archive}: {_line(name)} in it is in more than {DEPTH} folders")
    return path.parts


def _content(archive: Path, member: _Member, limit: _Limit) -> bytes:
    content = io.BytesIO()
    _copy(archive, member, content, limit)
    return content.getvalue()


def _copy(archive: Path, member: _Member, to: IO[bytes], limit: _Limit) -> None:
    if member.size < 0:
        raise ValueError(f"a member of {member.size} bytes")
    limit.check(limit.taken + member.size)
    before = limit.taken
    with member.open() as content:
        _pour(content, to, limit)
    if limit.taken - before != member.size:
        raise ValueError(f"{limit.taken - before:,} bytes of a member of {member.size:,}")


def _pour(content: IO[bytes] | gzip.GzipFile, to: IO[bytes], limit: _Limit) -> None:
    while part := content.read(CHUNK):
        limit.take(len(part))
        to.write(part)


@contextmanager
def _damage(what: Callable[[Exception], DataNotFoundError]) -> Iterator[None]:
    """A context that raises `what(exception)` for any error that damage causes in Python's readers."""
    try:
        yield
    except DataNotFoundError:
        raise
    except Exception as damage:
        if isinstance(damage, OSError) and damage.errno not in _BY_DAMAGE:  # such as a full disk
            raise
        raise what(damage) from damage


def _unreadable(archive: Path, damage: Exception) -> DataNotFoundError:
    what = f"damaged archive ({_line(damage)})" if is_archive(archive) else "not an archive"
    return DataNotFoundError(f"{archive}: {what}")


def _not_plain(archive: Path, name: str) -> DataNotFoundError:
    return DataNotFoundError(f"{archive}: {_line(name)} in it is a link or a device, not a file; {WAY_OUT}")


def _line(text: Exception | str) -> str:
    """An error, or the name of a member in quotes, as one short line.

    >>> _line("a\\nb"), _line(ValueError("two\\n lines")), _line(MemoryError())
    ("'a\\\\nb'", 'two lines', 'MemoryError')
    """
    if isinstance(text, str):
        line = repr(text)
    else:
        line = "".join(letter if letter.isprintable() else "?" for letter in " ".join(str(text).split()))
    return (line if len(line) <= 150 else f"{line[:150]}...") or type(text).__name__


def _mb(size: int) -> str:
    """A number of bytes in megabytes, rounded up.

    >>> _mb(1 << 26), _mb(400 * 10**9)
    ('68 MB', '400,000 MB')
    """
    return f"{-(-size // 10**6):,} MB"
