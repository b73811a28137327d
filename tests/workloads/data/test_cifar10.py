"""CIFAR-10: every version of its files, and what may be wrong with them; files of four pictures stand in for them."""

import gzip
import hashlib
import os
import pickle
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from picture_files import CIFAR, TRAIN, binary, cifar, packed, pickled, pickled_by_python_2, put
from rectified.workloads.data import DataNotFoundError
from rectified.workloads.data.cache import MARK
from rectified.workloads.data.images import cifar10_files

BATCHES = cifar()
BIN = {f"{name}.bin": binary(*batch) for name, batch in BATCHES.items()}
PY = {name: pickled_by_python_2(*batch) for name, batch in BATCHES.items()}
LAYOUTS = {
    "binary": BIN,
    "python": PY,
    "binary within": {f"cifar-10-batches-bin/{name}": content for name, content in BIN.items()},
    "python within": {f"cifar-10-batches-py/{name}": content for name, content in PY.items()},
    "binary packed": {"cifar-10-binary.tar.gz": packed(BIN, "cifar-10-batches-bin")},
    "python packed": {"cifar-10-python.tar.gz": packed(PY, "cifar-10-batches-py")},
}


def sums(files: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.md5(content).hexdigest() for name, content in files.items()}


@pytest.fixture(autouse=True)
def _these_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECTIFIED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cifar10_files, "BINARY", sums(BIN))
    monkeypatch.setattr(cifar10_files, "PYTHON", sums(PY))
    monkeypatch.setattr(cifar10_files, "MD5", None)


def check(place: Path) -> None:
    """The twenty pictures in the order of the files, each red, then green, then blue, row by row."""
    data = cifar10_files.load(place)
    pixels = [BATCHES[name][1][i].reshape(3, 32, 32) for name in TRAIN for i in range(4)]
    assert data.train_images.dtype == data.train_labels.dtype == torch.uint8
    assert np.array_equal(data.train_images.numpy(), np.stack(pixels))
    assert data.train_labels.tolist() == [int(label) for name in TRAIN for label in BATCHES[name][0]]
    assert np.array_equal(data.test_images.numpy().reshape(4, 3072), BATCHES["test_batch"][1])
    assert data.test_labels.tolist() == BATCHES["test_batch"][0].tolist()


# Where it is


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_named_folder_in_every_layout(tmp_path: Path, layout: str) -> None:
    folder = put(tmp_path / "data", LAYOUTS[layout])
    found = cifar10_files.find(folder)
    assert found == (folder if layout in ("binary", "python") else folder / os.path.commonpath(LAYOUTS[layout]))
    check(found)
    assert not (tmp_path / "cache").exists()


def test_an_archive_may_be_named_itself(tmp_path: Path) -> None:
    archive = put(tmp_path, LAYOUTS["binary packed"]) / "cifar-10-binary.tar.gz"
    assert cifar10_files.find(archive) == archive
    check(archive)


def test_the_python_version_as_python_3_writes_it(tmp_path: Path) -> None:
    check(put(tmp_path, {name: pickled(*batch) for name, batch in BATCHES.items()}))


def test_the_cache_and_the_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, web) -> None:
    monkeypatch.setattr(cifar10_files, "URL", f"{web.url}cifar-10-binary.tar.gz")
    with pytest.raises(DataNotFoundError, match="nothing in") as refusal:
        cifar10_files.find(say=lambda line: None, fetch=False)
    assert web.asked == []
    for words in ("--data FOLDER", str(tmp_path / "cache" / "cifar-10"), "RECTIFIED_CACHE"):
        assert words in str(refusal.value)
    web.files.update(LAYOUTS["binary packed"])
    said: list[str] = []
    home = cifar10_files.find(say=said.append)
    assert home == tmp_path / "cache" / "cifar-10"
    assert sorted(path.name for path in home.iterdir()) == sorted([*BIN, MARK])
    check(home)
    assert len(said) == 2
    assert cifar10_files.find(fetch=False) == home
    assert len(web.asked) == 1


def test_a_download_with_other_content_does_not_reach_the_cache(tmp_path: Path, monkeypatch, web) -> None:
    monkeypatch.setattr(cifar10_files, "URL", f"{web.url}cifar-10-binary.tar.gz")
    web.files["cifar-10-binary.tar.gz"] = packed({**BIN, "test_batch.bin": BIN["data_batch_1.bin"]}, "somewhere")
    with pytest.raises(DataNotFoundError, match=r"test_batch.bin: it is data_batch_1.bin"):
        cifar10_files.find(say=lambda line: None)
    monkeypatch.setattr(cifar10_files, "MD5", "c32a1d4ab5d03f1284b67883e8d87530")
    with pytest.raises(DataNotFoundError, match=r"tar.gz: its MD5 is [0-9a-f]{32}, the published one is c32a1d4a"):
        cifar10_files.find(say=lambda line: None)
    assert list((tmp_path / "cache").iterdir()) == []


# What is wrong with it


@pytest.mark.parametrize("version", ["binary", "python"])
def test_a_missing_file_is_named(tmp_path: Path, version: str) -> None:
    folder = put(tmp_path, LAYOUTS[version])
    next(folder.glob("data_batch_3*")).unlink()
    with pytest.raises(DataNotFoundError, match=r"data_batch_3(.bin)? is missing"):
        cifar10_files.find(folder)
    with pytest.raises(DataNotFoundError, match=r"data_batch_3(.bin)? is missing"):
        cifar10_files.load(folder)


@pytest.mark.parametrize("version", ["binary", "python"])
def test_a_file_in_anothers_place_is_named_with_what_it_is(tmp_path: Path, version: str) -> None:
    folder = put(tmp_path, LAYOUTS[version])
    fourth, second = next(folder.glob("data_batch_4*")), next(folder.glob("data_batch_2*"))
    fourth.write_bytes(second.read_bytes())
    with pytest.raises(DataNotFoundError, match=rf"{fourth.name}: it is {second.name}"):
        cifar10_files.find(folder)


@pytest.mark.parametrize("version", ["binary", "python"])
def test_one_other_byte_is_enough(tmp_path: Path, version: str) -> None:
    folder = put(tmp_path, LAYOUTS[version])
    path = next(folder.glob("test_batch*"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        DataNotFoundError, match=rf"{path.name}: its content differs from the published file \(wrong MD5\)"
    ):
        cifar10_files.find(folder)


@pytest.mark.parametrize("left", [0, 1, 3072, 3073 * 3 + 7])
def test_a_truncated_binary_file_is_named(tmp_path: Path, left: int) -> None:
    folder = put(tmp_path, {**BIN, "data_batch_5.bin": BIN["data_batch_5.bin"][:left]})
    with pytest.raises(
        ValueError, match=rf"data_batch_5.bin: {left} bytes are not a multiple of the record size, 3073"
    ):
        cifar10_files.load(folder)


@pytest.mark.parametrize("left", [0, 1, 200, 3072 * 4])
def test_a_truncated_pickle_is_named(tmp_path: Path, left: int) -> None:
    folder = put(tmp_path, {**PY, "data_batch_5": PY["data_batch_5"][:left]})
    with pytest.raises(ValueError, match=r"data_batch_5: not a pickled batch of CIFAR-10"):
        cifar10_files.load(folder)


@pytest.mark.parametrize("write", [binary, pickled])
def test_a_label_that_there_is_not_is_named(tmp_path: Path, write) -> None:
    files, suffix = (BIN, ".bin") if write is binary else (PY, "")
    labels, pixels = BATCHES["data_batch_2"]
    wrong = {f"data_batch_2{suffix}": write(np.array([*labels[:3], 11], np.uint8), pixels)}
    with pytest.raises(ValueError, match=rf"data_batch_2{suffix}: holds label.* 11; there are ten, from 0"):
        cifar10_files.load(put(tmp_path, {**files, **wrong}))


@pytest.mark.parametrize(
    "batch",
    [
        {"labels": [1, 2, 3], "data": np.zeros((4, 3072), np.uint8)},
        {"labels": [1, 2], "data": np.zeros((2, 3072), np.float32)},
        {"labels": [], "data": np.zeros((0, 3072), np.uint8)},
        {"labels": [-1], "data": np.zeros((1, 3072), np.uint8)},
        {"labels": [1]},
        {"labels": [1], "data": np.array([[None] * 3072])},
        ["a list"],
    ],
)
def test_a_pickle_of_something_else_is_named(tmp_path: Path, batch: object) -> None:
    folder = put(tmp_path, {**PY, "data_batch_1": pickle.dumps(batch, protocol=4)})
    with pytest.raises(ValueError, match="data_batch_1: "):
        cifar10_files.load(folder)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_calls_something_is_refused_and_nothing_is_called(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "called"

    class Call:
        def __reduce__(self):
            return os.system, (f"touch {mark}",)

    attack = pickle.dumps({"labels": [Call()], "data": np.zeros((1, 3072), np.uint8)}, protocol=protocol)
    pickle.loads(attack)
    assert mark.exists(), "so this is one that would"
    mark.unlink()
    folder = put(tmp_path / "data", {**PY, "test_batch": attack})
    with pytest.raises(ValueError, match=r"test_batch: .*it names posix.system"):
        cifar10_files.load(folder)
    with pytest.raises(DataNotFoundError, match=r"test_batch: its content"):
        cifar10_files.find(folder)
    assert not mark.exists()


@pytest.mark.parametrize("damage", ["truncated", "changed", "no deflate", "later no deflate", "no gzip", "empty"])
def test_a_damaged_archive_is_named(tmp_path: Path, damage: str) -> None:
    whole = LAYOUTS["binary packed"]["cifar-10-binary.tar.gz"]
    middle, tar, stream = len(whole) // 2, gzip.decompress(whole), zlib.compressobj(wbits=-15)
    content = {
        "truncated": whole[:middle],
        "changed": whole[:middle] + bytes(64) + whole[middle + 64 :],
        "no deflate": whole[:10] + b"\xff" * 9 + whole[19:],
        "later no deflate": whole[:10] + stream.compress(tar[:20_000]) + stream.flush(zlib.Z_SYNC_FLUSH) + b"\xff" * 99,
        "no gzip": tar[1:],
        "empty": b"",
    }[damage]
    folder = put(tmp_path, {"cifar-10-binary.tar.gz": content})
    with pytest.raises(DataNotFoundError, match=r"cifar-10-binary.tar.gz: (damaged archive|holds no |.*its content)"):
        cifar10_files.find(folder)


def test_an_archive_without_one_of_the_files_is_named(tmp_path: Path) -> None:
    files = {name: content for name, content in BIN.items() if name != "data_batch_2.bin"}
    folder = put(tmp_path, {"cifar-10-binary.tar.gz": packed(files, "cifar-10-batches-bin")})
    with pytest.raises(DataNotFoundError, match=r"cifar-10-binary.tar.gz: holds no data_batch_2.bin"):
        cifar10_files.find(folder)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="no such folder or archive"):
        cifar10_files.find(tmp_path / "nowhere")


# The real one


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.undo()
    folder = os.environ.get("RECTIFIED_CIFAR10")
    if not folder:
        pytest.skip("RECTIFIED_CIFAR10 names no folder with the real CIFAR-10")
    return cifar10_files.find(Path(folder))


def test_the_real_set_is_whole_and_both_versions_are_the_same(real: Path, tmp_path: Path) -> None:
    data = cifar10_files.load(real)
    for images, labels, each in ((data.train_images, data.train_labels, 5000), (*data[2:], 1000)):
        assert images.shape == (10 * each, 3, 32, 32)
        assert labels.bincount().tolist() == [each] * 10
    # What everybody takes for CIFAR-10's means.
    means = data.train_images.double().mean((0, 2, 3)) / 255
    assert means.tolist() == pytest.approx([0.4914, 0.4822, 0.4465], abs=1e-4)
    parts = zip(CIFAR, [*data.train_images.split(10_000), data.test_images], strict=True)
    labels = torch.cat([data.train_labels, data.test_labels]).split(10_000)
    files = {
        name: pickled_by_python_2(own.numpy(), images.flatten(1).numpy())
        for (name, images), own in zip(parts, labels, strict=True)
    }
    for mine, theirs in zip(cifar10_files.load(put(tmp_path, files)), data, strict=True):
        assert torch.equal(mine, theirs)
