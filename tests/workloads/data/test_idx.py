"""The IDX reader: what it reads, and what it refuses by name."""

import gzip
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rectified.workloads.data import DataNotFoundError
from rectified.workloads.data.images import idx

HEADER = struct.pack(">HBB3I", 0, 8, 3, 2, 3, 4)
WHOLE = HEADER + bytes(range(24))


@pytest.mark.parametrize("squeeze", [bytes, gzip.compress], ids=["plain", "gzipped"])
@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_it_reads_gzipped_and_plain_files_whatever_their_name(tmp_path: Path, squeeze, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(squeeze(WHOLE))
    array = idx.read(path, dims=3)
    assert array.dtype == torch.uint8
    assert torch.equal(array, torch.arange(24, dtype=torch.uint8).reshape(2, 3, 4))
    array += 1  # its memory is its own: writing is allowed
    assert torch.equal(idx.read(path, dims=3), torch.arange(24, dtype=torch.uint8).reshape(2, 3, 4))


@given(shape=st.lists(st.integers(0, 5), min_size=1, max_size=4), data=st.data())
def test_what_is_packed_reads_back(tmp_path_factory: pytest.TempPathFactory, shape: list[int], data) -> None:
    array = torch.tensor(
        data.draw(st.lists(st.integers(0, 255), min_size=(n := torch.Size(shape).numel()), max_size=n)),
        dtype=torch.uint8,
    ).reshape(shape)
    path = tmp_path_factory.getbasetemp() / "packed"
    path.write_bytes(idx.pack(array))
    back = idx.read(path, dims=len(shape))
    assert back.shape == array.shape
    assert torch.equal(back, array)


def test_packing_follows_the_picture_and_not_the_memory() -> None:
    array = torch.arange(6, dtype=torch.uint8).reshape(2, 3).T
    assert idx.pack(array)[-6:] == bytes([0, 3, 1, 4, 2, 5])


def test_only_bytes_are_packed() -> None:
    with pytest.raises(ValueError, match=r"torch\.int64"):
        idx.pack(torch.tensor([1]))


@pytest.mark.parametrize(
    ("damaged", "complaint"),
    [
        pytest.param(b"", "not an IDX file", id="empty"),
        pytest.param(b"\0\0\x08", "not an IDX file", id="three bytes"),
        pytest.param(b"<html>no such page</html>", "not an IDX file", id="web page"),
        pytest.param(b"\0\1" + WHOLE[2:], "not an IDX file", id="magic"),
        pytest.param(b"\0\0\x0d" + WHOLE[3:], r"0x0d \(float32\).*unsigned bytes", id="floats"),
        pytest.param(b"\0\0\x77" + WHOLE[3:], r"0x77 \(no type", id="unknown type"),
        pytest.param(b"\0\0\x08\1\0\0\0\2ab", "1 dimensions, expected 3", id="labels"),
        pytest.param(WHOLE[:15], "within its header", id="half a header"),
        pytest.param(WHOLE[:-1], r"truncated: 23 bytes.*\(2, 3, 4\) promises 24", id="truncated"),
        pytest.param(HEADER, "truncated: 0 bytes", id="header only"),
        pytest.param(b"\0\0\x08\3" + b"\xff" * 12, "truncated", id="huge promise"),
        pytest.param(WHOLE + b"xy", "2 bytes too many", id="trailing garbage"),
        pytest.param(gzip.compress(WHOLE[:-1]), "truncated: 23 bytes", id="truncated, gzipped"),
        pytest.param(gzip.compress(WHOLE + b"x"), "1 bytes too many", id="trailing garbage, gzipped"),
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong(tmp_path: Path, damaged: bytes, complaint: str) -> None:
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=complaint) as refusal:
        idx.read(path, dims=3)
    assert str(refusal.value).count(str(path)) == 1


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param(gzip.compress(WHOLE)[:-9], id="gzip truncated"),
        pytest.param(gzip.compress(WHOLE) + b"xy", id="garbage behind gzip"),
        pytest.param(b"\x1f\x8b\x08" + b"\0" * 7 + b"\xff" * 9, id="gzip nonsense"),
        pytest.param(gzip.compress(WHOLE)[:-8] + b"\0" * 8, id="gzip checksum"),
    ],
)
def test_a_damaged_gzip_file_is_named(tmp_path: Path, damaged: bytes) -> None:
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(damaged)
    with pytest.raises(DataNotFoundError, match=rf"^{path}: damaged gzip file \([^\n]+\)$"):
        idx.read(path, dims=3)


def test_a_missing_file_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        idx.read(tmp_path / "nothing", dims=1)
