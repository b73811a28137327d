"""Small data sets of pictures, in memory and in official formats: CIFAR-10's two versions, both ImageNets'."""

import io
import os
import pickle
import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rectified.workloads.data.images.pictures import Pictures

TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
CIFAR = (*TRAIN, "test_batch")


def shared_data(name: str) -> Path:
    """What there is of that name among the real data, which lies beside the repository; else the test is skipped."""
    place = os.environ.get("RECTIFIED_SHARED_DATA") or Path(__file__).parents[1] / "../shared/data"
    path = Path(place, name)
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return path


def by_brightness(name: str, count: int = 32) -> Pictures:
    """Pictures of four classes for the task of that name, as bright as their class says, the same to test."""
    labels = torch.arange(count) % 4
    shape = (3, 32, 32) if name.startswith("cifar10") else (28, 28)
    images = (60 * labels + 20).reshape(-1, *[1] * len(shape)).expand(count, *shape).to(torch.uint8)
    return Pictures(images, labels.to(torch.uint8), images, labels.to(torch.uint8))


def cifar(each: int = 4) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Labels [each] and pixels [each, 3072] of every file, all different."""
    draw = np.random.default_rng(0)
    return {
        name: (draw.integers(0, 10, each, np.uint8), draw.integers(0, 256, (each, 3072), np.uint8)) for name in CIFAR
    }


def binary(labels: np.ndarray, pixels: np.ndarray) -> bytes:
    """A file of the binary version."""
    return np.concatenate([labels[:, None], pixels], axis=1).tobytes()


def pickled(labels: np.ndarray, pixels: np.ndarray) -> bytes:
    """A file of the python version, as Python 3 would write it."""
    return pickle.dumps({"batch_label": "a batch", "labels": labels.tolist(), "data": pixels}, protocol=4)


def pickled_by_python_2(labels: np.ndarray, pixels: np.ndarray) -> bytes:
    """The same with the opcodes of Python 2.7, which wrote the official files: strings are of bytes."""

    def number(value: int) -> bytes:
        return b"K" + struct.pack("<B", value) if value < 256 else b"M" + struct.pack("<H", value)

    def string(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value

    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + number(0) + b"\x85" + string(b"b") + b"\x87R"
    uint8 = b"cnumpy\ndtype\n" + string(b"u1") + number(0) + number(1) + b"\x87R"
    uint8 += b"(" + number(3) + string(b"|") + b"NNN" + b"J\xff\xff\xff\xff" * 2 + number(0) + b"tb"
    shape = number(len(pixels)) + number(3072) + b"\x86"
    data = empty + b"(" + number(1) + shape + uint8 + b"\x89" + string(pixels.tobytes()) + b"tb"
    items = string(b"batch_label") + string(b"training batch 1 of 5")
    items += string(b"labels") + b"](" + b"".join(number(label) for label in labels.tolist()) + b"e"
    items += string(b"data") + data
    return b"\x80\x02}(" + items + b"u."


def put(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write them."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def packed(files: Mapping[str, bytes], inside: str) -> bytes:
    """A .tar.gz of them in a folder."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, body in files.items():
            member = tarfile.TarInfo(f"{inside}/{name}")
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    return content.getvalue()


def picture(seed: int, width: int = 64, height: int = 64, kind: str = "JPEG", mode: str = "RGB") -> bytes:
    """A file with a smooth picture of its own."""
    colors = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    image = Image.fromarray(colors).resize((width, height), Image.Resampling.BICUBIC).convert(mode)
    content = io.BytesIO()
    image.save(content, kind, quality=90)
    return content.getvalue()


def imagenet(classes: int = 3, train: int = 4, test: int = 2, width: int = 80, height: int = 60) -> dict[str, bytes]:
    """Files of ImageNet's layout, so many of each class."""
    return {
        f"{split}/n0{label}/{split}_{label}_{number}.JPEG": picture(
            100 * label + number + 50 * (split == "val"), width, height
        )
        for split, count in (("train", train), ("val", test))
        for label in range(classes)
        for number in range(count)
    }


def tiny_imagenet(classes: int = 3, train: int = 4, test: int = 2) -> dict[str, bytes]:
    """Files of Tiny ImageNet's layout; the test pictures of the classes in turn."""
    files = {"wnids.txt": "".join(f"n0{label}\n" for label in reversed(range(classes))).encode()}
    for label in range(classes):
        files[f"train/n0{label}/n0{label}_boxes.txt"] = b"not a picture\n"
        for number in range(train):
            files[f"train/n0{label}/images/n0{label}_{number}.JPEG"] = picture(100 * label + number)
    lines = [f"val_{number}.JPEG\tn0{number % classes}\t0\t1\t62\t63\n" for number in range(classes * test)]
    files["val/val_annotations.txt"] = "".join(lines).encode()
    for number in range(classes * test):
        files[f"val/images/val_{number}.JPEG"] = picture(1000 + number)
    return files
