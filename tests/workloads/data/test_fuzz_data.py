"""Data files with random damage, through every reader: documented exceptions only, little memory, nothing outside."""

import bz2
import gzip
import io
import lzma
import os
import random
import shutil
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from picture_files import binary, cifar, packed, pickled, picture, tiny_imagenet
from rectified.workloads.data import DataNotFoundError
from rectified.workloads.data.images import cifar10_files, idx, image_folder
from rectified.workloads.data.images.imagenet_files import TINY_IMAGENET
from rectified.workloads.data.text import iwslt14, lines, own_text, pairs, wikitext

MEMORY = 200  # MB that reading any of the files may add; the readers themselves stop at 67
REFUSED = (DataNotFoundError,)


def zipped(files: Mapping[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return content.getvalue()


class Case(NamedTuple):
    """A file as it should be, its name, what reads it, and what that may raise."""

    name: str
    content: bytes
    read: Callable[[Path], object]
    raises: tuple[type[Exception], ...] = REFUSED


def cases() -> list[Case]:
    batches = cifar(2)
    bins = packed({f"{name}.bin": binary(*batch) for name, batch in batches.items()}, "cifar-10-batches-bin")
    pickles = packed({name: pickled(*batch) for name, batch in batches.items()}, "cifar-10-batches-py")
    sides = {"de": "Ein Satz.\nNoch einer.\n", "en": "A sentence.\nOne more.\n"}
    talks = {f"train.tags.de-en.{side}": text.encode() * 12 for side, text in sides.items()}
    for test in iwslt14.TESTS:
        for side in sides:
            talks[f"IWSLT14.{test}.de-en.{side}.xml"] = f'<seg id="1"> {side} {test} </seg>\n'.encode()
    pair = packed(talks, "de-en")
    rows = "".join(f"Sentence {i}.\tSatz {i}.\tby someone\n" for i in range(40)).encode()
    wiki = zipped({f"wikitext-2/{name}": f" = {name} = \n a b c \n".encode() * 30 for name in wikitext.SUMS})
    pictures = tiny_imagenet(2, 2, 1)
    labels = struct.pack(">HBBI", 0, 8, 1, 600) + bytes(range(200)) * 3
    damaged = (*REFUSED, ValueError)
    there = (*REFUSED, OSError)
    found = [
        Case("deu-eng.zip", zipped({"deu.txt": rows, "_about.txt": b"by Tatoeba"}), _pairs),
        Case("deu.txt", gzip.compress(rows), _pairs),
        Case("wikitext-2-v1.zip", wiki, wikitext.load, damaged),
        Case("2014-01.tgz", packed({"de-en.tgz": pair}, "2014-01"), _pairs),
        Case("cifar-10-python.tar.gz", pickles, cifar10_files.find),
        Case("tiny-imagenet.zip", zipped(pictures), _unpacked, there),
        Case("labels.gz", gzip.compress(labels), lambda path: idx.read(path, dims=1), damaged),
        Case("labels", labels, lambda path: idx.read(path, dims=1), damaged),
        Case("train.txt", gzip.compress(b"some words\n" * 50), lambda path: own_text.identify(path.parent)),
        Case("train.de.gz", gzip.compress(rows), lines.content),
        Case("a.JPEG", picture(1), image_folder.decoded, damaged),
        Case("a.png", picture(1, kind="PNG"), image_folder.decoded, damaged),
    ]
    for squeeze in (gzip.compress, bz2.compress, lzma.compress, bytes):
        found += [
            Case("cifar-10-binary.tar.gz", squeeze(gzip.decompress(bins)), cifar10_files.load, damaged),
            Case("de-en.tgz", squeeze(gzip.decompress(pair)), _pairs),
            Case("tiny-imagenet.tar.gz", squeeze(gzip.decompress(packed(pictures, "tiny"))), _unpacked, there),
        ]
    return found


def _pairs(path: Path) -> object:
    return pairs.load(path, "de", "en")


def _unpacked(path: Path) -> object:
    return TINY_IMAGENET.find(path, 4, lambda line: None)


def damaged(draw: random.Random, whole: bytes, others: list[bytes]) -> bytes:
    """The file with one to three kinds of damage."""
    content = whole
    for _ in range(draw.choice((1, 1, 2, 3))):
        kind = draw.choice((flipped, cut, spliced, repeated, overwritten, in_zip, in_tar, in_tar))
        content = kind(draw, bytearray(content), others) or content
    return content


def flipped(draw: random.Random, content: bytearray, others: list[bytes]) -> bytes:
    for _ in range(draw.randint(1, 8) if content else 0):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(content)


def cut(draw: random.Random, content: bytearray, others: list[bytes]) -> bytes:
    return bytes(content[: draw.randint(0, len(content))])


def spliced(draw: random.Random, content: bytearray, others: list[bytes]) -> bytes:
    other = draw.choice(others)
    return bytes(content[: draw.randint(0, len(content))]) + other[draw.randint(0, len(other)) :]


def repeated(draw: random.Random, content: bytearray, others: list[bytes]) -> bytes:
    size = draw.choice((4, 30, 512, 1024))
    at = draw.choice((0, size, draw.randint(0, len(content))))
    return bytes(content[:at] + content[at : at + size] * draw.randint(1, 20) + content[at:])


def overwritten(draw: random.Random, content: bytearray, others: list[bytes]) -> bytes:
    value = draw.choice((b"\0", b"\xff", b"\x7f\xff\xff\xff", b"../../victim\0", draw.randbytes(8)))
    at = draw.randint(0, len(content))
    content[at : at + len(value)] = value
    return bytes(content)


def in_zip(draw: random.Random, content: bytearray, others: list[bytes]) -> bytes | None:
    """Flags, methods, sizes, names and kinds of the members of a zip file, in one header of a member or in both."""
    marks = [at for mark in (b"PK\3\4", b"PK\1\2", b"PK\5\6") for at in _all(content, mark)]
    if not marks:
        return None
    for at in draw.sample(marks, min(len(marks), draw.randint(1, 4))):
        field, size = draw.choice(((6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (18, 4), (20, 4), (22, 4), (24, 4)))
        field, size = draw.choice(((field, size), (26, 2), (28, 2), (30, 2), (38, 4), (42, 4), (46, 12)))
        value = draw.choice((b"\1\0", b"\x0c\0", b"\x0e\0", b"\x63\0", b"\xff" * 4, b"\0\0\xff\xa1", b"../../victim"))
        content[at + field : at + field + size] = value[:size].ljust(size, b"\0")
    return bytes(content)


def in_tar(draw: random.Random, content: bytearray, others: list[bytes]) -> bytes | None:
    """Sizes, kinds, names and links of the members of a tar file, with the right checksum."""
    try:
        plain = bytearray(gzip.decompress(content)) if content.startswith(b"\x1f\x8b") else content
    except Exception:  # it has been damaged before
        return None
    headers = [at - 257 for at in _all(plain, b"ustar") if at >= 257 and at % 512 == 257]
    if not headers:
        return None
    for at in draw.sample(headers, min(len(headers), draw.randint(1, 3))):
        header = plain[at : at + 512]
        if len(header) < 512:
            continue
        for _ in range(draw.randint(1, 3)):
            field, value = draw.choice(
                (
                    (124, draw.choice((b"77777777777\0", b"-0000000001\0", b"\x80" + bytes(7) + b"\xff" * 4))),
                    (124, b"\xff" * 8 + struct.pack(">i", draw.choice((-1, -512, -1024, -4096)))),
                    (124, b"\x80" + b"\x7f" * 11),
                    (156, draw.choice((b"1", b"2", b"3", b"5", b"6", b"7", b"x", b"g", b"L", b"K", b"S", b"X", b"\0"))),
                    (0, draw.choice((b"../../victim\0", b"/tmp/victim\0", b"a\nb\0", b"\xff\xfe\0", b"\0"))),
                    (157, draw.choice((b"nowhere\0", b"../victim\0", bytes(header[:99]) + b"\0"))),
                    (386, b"00000000100\0" + b"77777777777\0"),
                )
            )
            header[field : field + len(value)] = value
        total = sum(header[:148]) + 8 * 32 + sum(header[156:])
        header[148:156] = b"%06o\0 " % total
        plain[at : at + 512] = header
    return gzip.compress(plain, 1) if content.startswith(b"\x1f\x8b") else bytes(plain)


def _all(content: bytes | bytearray, mark: bytes) -> list[int]:
    found, at = [], content.find(mark)
    while at >= 0:
        found.append(at)
        at = content.find(mark, at + 1)
    return found


def tree(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def memory() -> int:
    """The most that this process has had in memory, in MB, since the last call of `forget`."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) >> 10


def forget() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def fuzz(tmp_path: Path, seed: int, number: int) -> None:
    draw, all_cases = random.Random(seed), cases()
    contents = [case.content for case in all_cases]
    place, outside = tmp_path / "in/the/folder", tmp_path / "victim"
    outside.mkdir()
    (outside / "file").write_bytes(b"theirs")
    before = tree(outside)
    refused = 0
    for i in range(number):
        case = all_cases[i % len(all_cases)]
        place.mkdir(parents=True)
        content = damaged(draw, case.content, contents)
        (place / case.name).write_bytes(content)
        if case.name == "train.txt":
            for part in ("valid", "test"):
                (place / f"{part}.txt").write_text(f"a text to {part}\n")
        given = tree(place)
        forget()
        start, where = memory(), f"case {i} of seed {seed}: {case.name}"
        try:
            case.read(place / case.name)
        except case.raises as refusal:
            refused += 1
            lines_said = str(refusal).splitlines()
            assert len(lines_said) == 1 or all(line.startswith("  ") for line in lines_said[1:]), where
        except Exception as other:
            pytest.fail(f"{where}: {other!r}")
        assert memory() - start < MEMORY, where
        assert tree(place) == given, where
        shutil.rmtree(tmp_path / "in")
        left = [*(tmp_path / "cache").glob(".*")] if (tmp_path / "cache").exists() else []
        assert not left, where
        assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_symlink()], where
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        assert {path.name for path in tmp_path.iterdir()} == {"victim", "cwd"}, where
    assert tree(outside) == before
    assert not [*Path.cwd().iterdir()]
    assert refused > number // 2


@pytest.fixture(autouse=True)
def _world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("needs Linux's /proc")
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setenv("RECTIFIED_CACHE", str(tmp_path / "cache"))
    for sync in ("sync", "fsync"):  # they are most of the time here
        monkeypatch.setattr(os, sync, lambda *_: None)


def test_the_files_are_read_as_they_are(tmp_path: Path) -> None:
    for case in cases():
        (tmp_path / case.name).write_bytes(case.content)
        if case.name not in ("cifar-10-python.tar.gz", "train.txt"):  # not as published; with two files more
            case.read(tmp_path / case.name)


def test_some_damaged_files(tmp_path: Path) -> None:
    fuzz(tmp_path, 0, 192)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 5))
def test_many_damaged_files(tmp_path: Path, seed: int) -> None:
    fuzz(tmp_path, seed, 1000)
