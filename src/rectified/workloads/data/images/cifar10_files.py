"""CIFAR-10: find its files in either official layout, packed or unpacked, or fetch them; check them, read them.

60,000 color pictures, 32 x 32, in ten classes (Krizhevsky 2009, "Learning multiple layers of features from tiny
images"). The binary version's files are records of a label and 3,072 bytes, red, green and blue; the python version's,
dictionaries of the same, pickled, which are read without running anything.
"""

import hashlib
import io
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import archives, fetch
from ..find import DataNotFoundError, Place, Say, Way, expanded, to_stderr
from .pictures import Pictures

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"  # of the archive there, as published on the data set's page
LIMIT = 1 << 29  # bytes of an unpacked archive: either version has 0.19 GB
PIXELS = 3 * 32 * 32

# MD5 of each file, the training ones in their order. Of the archives as published on the data set's page; of the
# python files as its mirrors check them.
BINARY = {
    "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
    "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
    "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
    "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
    "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
    "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
}
PYTHON = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
# What may lie in a folder: the versions unpacked, and the archives that hold them.
VERSIONS = ("cifar-10-batches-bin", "cifar-10-batches-py", "cifar-10-binary.tar.gz", "cifar-10-python.tar.gz")
WANTED = "one of " + ", ".join(VERSIONS)
ADVICE = f"""What you can do:
  - fetch {URL} or cifar-10-python.tar.gz next to it on any machine and
    name its folder with --data FOLDER, packed or unpacked, or put its six files into {{cache}}
  - if the cache cannot be written: set RECTIFIED_CACHE to a folder that can"""


def load(folder: Path) -> Pictures:
    """Read the six files in the folder or archive that `find()` returned.

    Raises:
        DataNotFoundError: a file is missing, or the archive is damaged.
        ValueError: a file is not in its format; names it.
    """
    folder = expanded(folder)
    _, files = _files(folder)
    batches = [_read(f"{folder}: {name}", content()) for name, content in files.items()]
    train, test = batches[:-1], batches[-1]
    return Pictures(torch.cat([images for images, _ in train]), torch.cat([labels for _, labels in train]), *test)


def find(folder: Path | None = None, say: Say = to_stderr, fetch: bool = True) -> Path:
    """Find the folder or archive with the data and verify it: in `folder`, or by the first of WAYS that works.

    Args:
        folder: the user's, which holds one of VERSIONS or is one; nothing else is tried then.
        say: is called with one line for whatever takes time or is damaged.
        fetch: if False, only look on this machine.

    Raises:
        DataNotFoundError: `folder` does not hold the data, or no way led to it.
    """
    if folder is not None:
        return _PLACE.named(folder, ("", *VERSIONS), WANTED)
    return _PLACE.by(WAYS if fetch else WAYS[:1], ADVICE, say)


def _downloaded(say: Say) -> Path:
    def make(folder: Path) -> None:
        say(f"CIFAR-10: downloading {URL}, 170 MB")
        archive = folder / "cifar-10-binary.tar.gz"
        fetch.download(URL, archive, MD5)
        for name, content in archives.read(archive, BINARY, LIMIT).items():
            (folder / name).write_bytes(content)
        archive.unlink()

    return _PLACE.kept(make, say)


def _check(place: Path) -> Path:
    """Return the folder or archive if all six files are in it, as published."""
    sums, files = _files(place)
    names = {md5: name for name, md5 in sums.items()}
    for name, content in files.items():
        md5 = hashlib.md5(content(), usedforsecurity=False).hexdigest()
        if md5 != sums[name]:
            what = f"it is {names[md5]}" if md5 in names else "its content differs from the published file (wrong MD5)"
            raise DataNotFoundError(f"{place}: {name}: {what}")
    return place


def _files(place: Path) -> tuple[Mapping[str, str], dict[str, Callable[[], bytes]]]:
    """The MD5 sums of the version in a folder or archive, and a reader for each of its files, in order."""
    if place.is_file():
        sums = PYTHON if "python" in place.name else BINARY
        packed = archives.read(place, sums, LIMIT)
        return sums, {name: io.BytesIO(content).getvalue for name, content in packed.items()}
    if not place.is_dir():
        raise DataNotFoundError(f"{place}: no such folder or archive")
    sums = max((BINARY, PYTHON), key=lambda sums: sum((place / name).is_file() for name in sums))
    missing = [name for name in sums if not (place / name).is_file()]
    if missing:
        raise DataNotFoundError(f"{place}: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")
    return sums, {name: (place / name).read_bytes for name in sums}


def _read(where: str, content: bytes) -> tuple[Tensor, Tensor]:
    """Read a file's pictures, uint8 [n, 3, 32, 32], and labels, uint8 [n]."""
    if where.endswith(".bin"):
        if not content or len(content) % (1 + PIXELS):
            raise ValueError(f"{where}: {len(content)} bytes are not a multiple of the record size, {1 + PIXELS}")
        records = torch.frombuffer(bytearray(content), dtype=torch.uint8).reshape(-1, 1 + PIXELS)
        images, labels = records[:, 1:].contiguous(), records[:, 0].contiguous()
    else:
        images, labels = _unpickled(where, content)
    if int(labels.max()) > 9:
        raise ValueError(f"{where}: holds label {int(labels.max())}; there are ten, from 0")
    return images.reshape(-1, 3, 32, 32), labels


def _unpickled(where: str, content: bytes) -> tuple[Tensor, Tensor]:
    try:
        batch = _Plain(io.BytesIO(content), encoding="latin1").load()
        images, labels = torch.from_numpy(batch["data"]), torch.tensor(batch["labels"])
    except Exception as damage:  # whatever a damaged stream makes of it
        raise ValueError(f"{where}: not a pickled batch of CIFAR-10 ({damage})") from damage
    if images.dtype != torch.uint8 or images.shape != (len(labels), PIXELS) or not len(labels):
        raise ValueError(f"{where}: has {len(labels)} labels and data {images.dtype} {tuple(images.shape)}")
    if not 0 <= int(labels.min()) <= int(labels.max()) <= 9:
        raise ValueError(f"{where}: holds labels {int(labels.min())} to {int(labels.max())}; there are ten, from 0")
    return images, labels.to(torch.uint8)


class _Plain(pickle.Unpickler):
    """An unpickler of arrays of numbers that rejects everything else that a pickle may name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        ):
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise pickle.UnpicklingError(f"it names {module}.{name}")


_PLACE = Place("cifar-10", "CIFAR-10", _check)
WAYS: tuple[Way, ...] = (("the cache", _PLACE.cached), ("the official download", _downloaded))
