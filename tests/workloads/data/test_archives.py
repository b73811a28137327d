"""Archives that are damaged, encrypted, oddly packed or made to do harm: one line, little memory, nothing outside."""

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from rectified.workloads.data import DataNotFoundError, archives
from rectified.workloads.data.images import cifar10_files, idx
from rectified.workloads.data.images.imagenet_files import TINY_IMAGENET
from rectified.workloads.data.text import iwslt14, lines, tatoeba, wikitext

LIMIT = 1 << 30
TARS: dict[str, Callable[[Path], object]] = {
    "cifar-10-binary.tar.gz": cifar10_files.load,
    "de-en.tgz": lambda path: iwslt14.read(path, "de", "en"),
    "tiny-imagenet.tar.gz": lambda path: TINY_IMAGENET.find(path, 12),
}
ZIPS: dict[str, Callable[[Path], object]] = {
    "deu-eng.zip": lambda path: tatoeba.read(path, "de", "en"),
    "wikitext-2-v1.zip": wikitext.load,
    "tiny-imagenet.zip": lambda path: TINY_IMAGENET.find(path, 12),
}
# A file that the reader of that archive looks for.
WANTED = {
    "cifar-10-binary.tar.gz": "data_batch_1.bin",
    "de-en.tgz": "train.tags.de-en.de",
    "tiny-imagenet.tar.gz": "train/a.JPEG",
    "deu-eng.zip": "deu.txt",
    "wikitext-2-v1.zip": "wiki.train.tokens",
    "tiny-imagenet.zip": "train/a.JPEG",
}
any_tar = pytest.mark.parametrize("name", TARS)
any_zip = pytest.mark.parametrize("name", ZIPS)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECTIFIED_CACHE", str(tmp_path / "cache"))


def tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A tar file of headers as they are, each followed by its content."""
    blocks = [info.tobuf(tarfile.GNU_FORMAT) + body + bytes(-len(body) % 512) for info, body in members]
    return b"".join(blocks) + bytes(1024)


def member(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, link
    return info


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED, mode: int = 0) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, body in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, body, method)
    return content.getvalue()


def flagged(packed: bytes, at: int, value: int) -> bytes:
    """A zip with a byte of the first member's header changed, in front of it and in the list at the end."""
    changed = bytearray(packed)
    changed[packed.index(b"PK\1\2") + at + 2] = value
    changed[at] = value
    return bytes(changed)


def refused(read: Callable[[Path], object], path: Path, content: bytes, words: str) -> None:
    """The reader says the words of the archive in one line, and leaves nothing in the cache."""
    path.write_bytes(content)
    with pytest.raises(DataNotFoundError, match=words) as refusal:
        read(path)
    said = [line for line in str(refusal.value).splitlines() if f"{path}: " in line]
    assert len(said) == 1
    assert len(str(refusal.value).splitlines()) <= 2, "Place.named puts a line in front"
    assert not [*path.parent.glob("cache/*"), *path.parent.glob("cache/.*")]


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """The memory that is taken inside."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()


# Damage


@any_zip
def test_an_encrypted_zip_is_one_line(tmp_path: Path, name: str) -> None:
    packed = flagged(zipped({WANTED[name]: b"content"}), 6, 1)
    refused(ZIPS[name], tmp_path / name, packed, rf"{name}: '{WANTED[name]}' in it is encrypted; .*unpack it yourself")


@any_zip
@pytest.mark.parametrize("method", [9, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, 99])
def test_an_oddly_compressed_zip_is_one_line(tmp_path: Path, name: str, method: int) -> None:
    packed = flagged(zipped({WANTED[name]: b"content"}), 8, method)
    refused(ZIPS[name], tmp_path / name, packed, rf"{name}: .* is compressed by method {method}, .*unpack it yourself")


@any_tar
@pytest.mark.parametrize("squeeze", [gzip.compress, bz2.compress, lzma.compress])
def test_a_damaged_stream_is_one_line(tmp_path: Path, name: str, squeeze: Callable[[bytes], bytes]) -> None:
    whole = squeeze(tar((member(WANTED[name], 70_000), bytes(range(256)) * 280)))
    middle = len(whole) // 2
    for content in (whole[:middle], whole[:middle] + b"\xff" * 40 + whole[middle + 40 :]):
        refused(TARS[name], tmp_path / name, content, rf"{name}: damaged archive \(.+\)$")


@any_tar
@pytest.mark.parametrize("squeeze", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_every_compression_of_a_tar_is_read(tmp_path: Path, name: str, squeeze: Callable[[bytes], bytes]) -> None:
    (tmp_path / name).write_bytes(squeeze(tar((member(f"a/{WANTED[name]}", 3), b"abc"))))
    wanted = Path(WANTED[name]).name
    assert archives.read(tmp_path / name, [wanted], LIMIT) == {wanted: b"abc"}


@any_tar
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_a_link_to_nowhere_or_a_device_is_one_line(tmp_path: Path, name: str, kind: bytes) -> None:
    packed = gzip.compress(tar((member(WANTED[name], kind=kind, link="nowhere"), b"")))
    refused(TARS[name], tmp_path / name, packed, rf"{name}: '{WANTED[name]}' in it is a link or a device, not a file")


@any_tar
def test_a_link_to_a_member_is_not_followed_either(tmp_path: Path, name: str) -> None:
    link = member(WANTED[name], kind=tarfile.SYMTYPE, link="other")
    packed = gzip.compress(tar((member("other", 3), b"abc"), (link, b"")))
    refused(TARS[name], tmp_path / name, packed, r" in it is a link ")


@any_zip
def test_a_link_in_a_zip_is_one_line(tmp_path: Path, name: str) -> None:
    packed = zipped({WANTED[name]: b"/etc/passwd"}, mode=stat.S_IFLNK | 0o777)
    refused(ZIPS[name], tmp_path / name, packed, rf"{name}: '{WANTED[name]}' in it is a link or a device, not a file")


@any_tar
def test_a_negative_size_is_one_line_and_no_endless_loop(tmp_path: Path, name: str) -> None:
    for size in (-1, -512, -1024):
        packed = gzip.compress(tar((member("a", 3), b"abc"), (member(WANTED[name], size), b"")))
        refused(TARS[name], tmp_path / name, packed, rf"{name}: damaged archive")


def test_a_sparse_file_is_not_read(tmp_path: Path) -> None:
    info = member("a", 512, tarfile.GNUTYPE_SPARSE)
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:398] = b"00000000100\0"  # its only part is far from where reading begins
    header[398:410] = b"00000000010\0"
    header[483:495] = b"00000001000\0"
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + sum(header[156:512]) + 8 * 32)
    (tmp_path / "a.tar").write_bytes(bytes(header) + bytes(2048))
    with pytest.raises(DataNotFoundError, match="'a' in it is a link or a device, not a file"):
        archives.read(tmp_path / "a.tar", ["a"], LIMIT)


def test_names_cannot_break_the_line(tmp_path: Path) -> None:
    packed = gzip.compress(tar((member("x\n\x1b[2J" + "y" * 70, kind=tarfile.SYMTYPE), b"")))
    refused(TARS["tiny-imagenet.tar.gz"], tmp_path / "tiny-imagenet.tar.gz", packed, r"'x\\n\\x1b\[2Jyyy")


def test_what_the_disk_refuses_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(FileNotFoundError):
        archives.read(tmp_path / "nothing.zip", ["a"], LIMIT)
    (tmp_path / "a.zip").write_bytes(zipped({"a": b"abc"}))
    monkeypatch.setattr(archives, "_pour", full)
    with pytest.raises(OSError, match="No space left") as refusal:
        archives.unpack(tmp_path / "a.zip", tmp_path / "out", LIMIT)
    assert refusal.value.errno == 28


# Limits

BOMB = bytes(40 << 20)


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bombs are of 40 MB here, so that they are made quickly."""
    monkeypatch.setattr(archives, "ALWAYS", 1 << 22)
    monkeypatch.setattr(archives, "RATIO", 10)


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("read", [lines.content, lambda path: idx.read(path, dims=1)], ids=["text", "idx"])
def test_a_gzip_bomb_is_one_line_and_little_memory(tmp_path: Path, read: Callable[[Path], object]) -> None:
    packed = gzip.compress(BOMB, 1)
    with at_most(10 << 20):
        refused(read, tmp_path / "train.de.gz", packed, r"unpacks to 5 MB or more, and the limit is 5 MB; .*yourself")


@pytest.mark.usefixtures("_small")
@any_tar
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_bomb_in_a_tar_is_one_line_and_little_memory(tmp_path: Path, name: str, kind: bytes) -> None:
    packed = gzip.compress(tar((member(WANTED[name], len(BOMB), kind), BOMB)), 1)
    words = "unpacks to 42 MB or more, and the limit is 5 MB" if kind == tarfile.REGTYPE else "damaged archive"
    with at_most(10 << 20):
        refused(TARS[name], tmp_path / name, packed, words)


@pytest.mark.usefixtures("_small")
@any_tar
def test_a_bomb_that_nobody_looks_for_is_not_unpacked_either(tmp_path: Path, name: str) -> None:
    packed = gzip.compress(tar((member("README", len(BOMB)), BOMB), (member(WANTED[name], 3), b"abc")), 1)
    refused(TARS[name], tmp_path / name, packed, "and the limit is 5 MB")


@pytest.mark.usefixtures("_small")
@any_zip
def test_a_bomb_in_a_zip_is_one_line_and_little_memory(tmp_path: Path, name: str) -> None:
    packed = zipped({WANTED[name]: BOMB})
    with at_most(10 << 20):
        refused(ZIPS[name], tmp_path / name, packed, "unpacks to 42 MB or more, and the limit is 5 MB")


@any_zip
def test_a_size_that_lies_is_one_line(tmp_path: Path, name: str) -> None:
    for size in (b"\1\0\0\0", b"\xff\xff\xff\1"):  # less than there is, and more
        packed = bytearray(zipped({WANTED[name]: b"content"}))
        at = packed.index(b"PK\1\2") + 24
        packed[at : at + 4] = size
        refused(ZIPS[name], tmp_path / name, bytes(packed), rf"{name}: damaged archive")


@pytest.mark.usefixtures("_small")
def test_members_that_overlap_count_each_time(tmp_path: Path) -> None:
    packed = zipped({"a": bytes(2 << 20)})
    begin, end = packed.index(b"PK\1\2"), packed.index(b"PK\5\6")
    tail = bytearray(packed[end:])
    tail[8:12] = b"\4\0\4\0"
    tail[12:16] = (4 * (end - begin)).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(packed[:begin] + 4 * packed[begin:end] + bytes(tail))
    with pytest.raises(DataNotFoundError, match="unpacks to 9 MB or more"):
        archives.unpack(tmp_path / "a.zip", tmp_path / "out", LIMIT)
    assert not (tmp_path / "out").exists()


def test_the_limit_of_the_data_set_counts_and_large_archives_may_unpack_to_more(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar((member("a", 2048), bytes(2048))))
    assert archives.read(tmp_path / "a.tar", ["a"], 70_000) == {"a": bytes(2048)}
    with pytest.raises(DataNotFoundError, match="the limit is 1 MB"):
        archives.read(tmp_path / "a.tar", ["a"], 2000)
    content = bytes(range(256)) * (90 << 12)  # 94 MB, to 0.4 MB
    (tmp_path / "a.gz").write_bytes(gzip.compress(content, 1) + gzip.compress(b"", 0) * 30_000)
    assert (tmp_path / "a.gz").stat().st_size > 900_000
    assert archives.contents(tmp_path / "a.gz", LIMIT) == content


def test_too_many_members_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MEMBERS", 3)
    names = ["a", "b", "c", "d"]
    (tmp_path / "a.tar").write_bytes(tar(*((member(name), b"") for name in names)))
    (tmp_path / "a.zip").write_bytes(zipped(dict.fromkeys(names, b"")))
    for name in ("a.tar", "a.zip"):
        with pytest.raises(DataNotFoundError, match=f"{name}: it has more than 3 members; .*unpack it yourself"):
            archives.read(tmp_path / name, names, LIMIT)


@pytest.mark.usefixtures("_small")
def test_archives_are_looked_into_one_level_deep(tmp_path: Path) -> None:
    def inside(content: bytes) -> bytes:
        return gzip.compress(tar((member("de-en.tgz", len(content)), content)))

    text = gzip.compress(tar((member("text", 3), b"abc")))
    for packed, found in ((inside(text), {"text": b"abc"}), (inside(inside(text)), {})):
        (tmp_path / "2014-01.tgz").write_bytes(packed)
        assert archives.find(tmp_path / "2014-01.tgz", ["text"], LIMIT, inside=["de-en.tgz"]) == found
    bomb = gzip.compress(tar((member("text", len(BOMB)), BOMB)), 1)
    (tmp_path / "2014-01.tgz").write_bytes(inside(bomb))
    with pytest.raises(DataNotFoundError, match=r"2014-01.tgz: it unpacks to 4\d MB or more, and the limit is 5 MB"):
        archives.find(tmp_path / "2014-01.tgz", ["text"], LIMIT, inside=["de-en.tgz"])


# Where it is written


@pytest.mark.parametrize("name", ["../victim", "a/../../victim", "/{}/victim", "a/" * 40 + "b"])
@pytest.mark.parametrize("pack", [lambda name: tar((member(name, 1), b"x")), lambda name: zipped({name: b"x"})])
def test_nothing_is_written_outside(tmp_path: Path, name: str, pack: Callable[[str], bytes]) -> None:
    (tmp_path / "archive").write_bytes(pack(name.format(tmp_path)))
    with pytest.raises(DataNotFoundError, match=r"in it (leads out of the folder|is in more than 32 folders)$"):
        archives.unpack(tmp_path / "archive", tmp_path / "in/side", LIMIT)
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


def test_a_name_that_is_a_file_and_a_folder_is_damage(tmp_path: Path) -> None:
    for names in (["a", "a/b"], ["a/b", "a"], ["."], ["x" * 300]):
        (tmp_path / "archive.zip").write_bytes(zipped(dict.fromkeys(names, b"")))
        with pytest.raises(DataNotFoundError, match=r"archive.zip: damaged archive \(.*\)$"):
            archives.unpack(tmp_path / "archive.zip", tmp_path / "in", LIMIT)
        assert {path.name for path in tmp_path.iterdir()} <= {"archive.zip", "in"}


def test_files_and_folders_are_unpacked(tmp_path: Path) -> None:
    files = {"train/n01/1.JPEG": b"one", "./wnids.txt": b"two"}
    infos = [(member(name, len(body)), body) for name, body in files.items()]
    (tmp_path / "a.tar").write_bytes(tar((member("empty", kind=tarfile.DIRTYPE), b""), *infos))
    (tmp_path / "a.zip").write_bytes(zipped({"empty/": b"", **files}))
    for name in ("a.tar", "a.zip"):
        archives.unpack(tmp_path / name, tmp_path / f"{name} out", LIMIT)
        out = tmp_path / f"{name} out"
        found = sorted(path.relative_to(out).as_posix() for path in out.rglob("*"))
        assert found == ["empty", "train", "train/n01", "train/n01/1.JPEG", "wnids.txt"]
        assert (out / "train/n01/1.JPEG").read_bytes() == b"one"
