"""Folders of pictures, one for each class, in ImageNet's layout or Tiny ImageNet's: list, check and decode them.

ImageNet's                          Tiny ImageNet's
train/CLASS/*.JPEG                  train/CLASS/images/*.JPEG
val/CLASS/*.JPEG                    val/images/*.JPEG
                                    val/val_annotations.txt     a file, its class and a box a line, between tabs
                                    wnids.txt                   a class a line
"""

import io
import os
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from ..find import DataNotFoundError, expanded

SUFFIXES = (".jpeg", ".jpg", ".png")


class Files(NamedTuple):
    """The paths of pictures as one tensor, so that processes which map it share a million paths.

    The first picture of every class comes first, then the second of every class, and so on: a beginning of the list
    has pictures of all classes.

    Attributes:
        paths: uint8, the paths inside the folder, concatenated.
        ends: int64 [n], where each path ends.
        labels: int16 [n], the index of each picture's class.
    """

    paths: Tensor
    ends: Tensor
    labels: Tensor

    def path(self, picture: int) -> str:
        """The path of a picture inside the folder, by its number."""
        begin = int(self.ends[picture - 1]) if picture else 0
        return os.fsdecode(self.paths[begin : int(self.ends[picture])].numpy().tobytes())


class ImageFolder(NamedTuple):
    """The pictures that :func:`index` finds in a folder.

    Attributes:
        folder: its path.
        classes: the names of the classes, sorted.
    """

    folder: str
    classes: list[str]
    train: Files
    test: Files


def index(folder: Path) -> ImageFolder:
    """List every picture in a folder of either layout: Tiny ImageNet's if it has one of its two text files.

    Only files whose names end in SUFFIXES count; whether they are pictures shows when they are decoded.

    Raises:
        DataNotFoundError, OSError: the folder has neither layout, or files are missing or left over.
    """
    folder = expanded(folder)
    tiny = any((folder / name).exists() for name in ("wnids.txt", "val/val_annotations.txt"))
    train = {
        name: _pictures(folder, f"train/{name}/images" if tiny else f"train/{name}")
        for name in _folders(folder / "train")
    }
    if tiny:
        _compare(folder / "wnids.txt", (folder / "wnids.txt").read_text(errors="replace").split(), train, "folder")
        test = _annotated(folder)
    else:
        test = {name: _pictures(folder, f"val/{name}") for name in _folders(folder / "val")}
    if len(train) < 2:
        raise DataNotFoundError(
            f"{folder / 'train'}: classes {', '.join(train) or 'none'}; at least two classes are needed"
        )
    for split, found in (("train", train), ("val", test)):
        if empty := [name for name, files in found.items() if not files]:
            raise DataNotFoundError(f"{folder / split}: no {', '.join(SUFFIXES)} of class {_some(empty)}")
    _compare(folder / "val", test, train, "class in train")
    classes = sorted(train)
    return ImageFolder(str(folder.absolute()), classes, _listed(classes, train), _listed(classes, test))


def _listed(classes: Sequence[str], found: Mapping[str, Sequence[str]]) -> Files:
    rows = zip_longest(*(found[name] for name in classes))
    labeled = [(label, path) for row in rows for label, path in enumerate(row) if path is not None]
    paths = [os.fsencode(path) for _, path in labeled]
    return Files(
        torch.frombuffer(bytearray(b"".join(paths)), dtype=torch.uint8),
        torch.tensor([len(path) for path in paths]).cumsum(0),
        torch.tensor([label for label, _ in labeled], dtype=torch.int16),
    )


def _folders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def _pictures(folder: Path, inside: str) -> list[str]:
    """The paths of the pictures in the folder `inside` of `folder`, relative to the latter, sorted."""
    with os.scandir(folder / inside) as entries:
        names = [entry.name for entry in entries if entry.name.lower().endswith(SUFFIXES) and entry.is_file()]
    return [f"{inside}/{name}" for name in sorted(names) if not name.startswith(".")]


def _annotated(folder: Path) -> dict[str, list[str]]:
    """The test pictures of each class, by Tiny ImageNet's annotations."""
    file = folder / "val/val_annotations.txt"
    classes: dict[str, str] = {}
    for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1):
        path, *rest = line.split("\t")
        if len(rest) != 5:
            raise DataNotFoundError(f"{file}: line {number} is {line!r}, not a file, its class and a box, between tabs")
        if f"val/images/{path}" in classes:
            raise DataNotFoundError(f"{file}: line {number} is the second of {path}")
        classes[f"val/images/{path}"] = rest[0]
    _compare(file, classes, _pictures(folder, "val/images"), "file")
    found: dict[str, list[str]] = {name: [] for name in classes.values()}
    for path in sorted(classes):
        found[classes[path]].append(path)
    return found


def _compare(
    where: Path, named: Mapping[str, object] | Sequence[str], there: Mapping[str, object] | Sequence[str], what: str
) -> None:
    """Raise DataNotFoundError for a name that is not there, and for what is there without being named."""
    if without := sorted(set(named).difference(there)):
        raise DataNotFoundError(f"{where}: has {_some(without)}, for which there is no {what}")
    if beside := sorted(set(there).difference(named)):
        raise DataNotFoundError(f"{where}: has no {_some(beside)}, for which there is a {what}")


def _some(names: Sequence[str]) -> str:
    """The first three names, for a message.

    >>> _some(["a", "b"]), _some(["a", "b", "c", "d", "e"])
    ('a, b', 'a, b, c and 2 more')
    """
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def decoded(path: Path) -> Image.Image:
    """Decode a picture to red, green and blue.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not a picture, or damaged; names it.
    """
    content = path.read_bytes()
    try:
        # Of Pillow's decoders these two alone: others start programs.
        image = Image.open(io.BytesIO(content), formats=("JPEG", "PNG"))
        image.load()
        return image if image.mode == "RGB" else image.convert("RGB")  # which would copy it
    except UnidentifiedImageError:
        raise ValueError(f"{path}: neither a JPEG nor a PNG") from None
    except Exception as damage:  # whatever a damaged stream makes of it
        raise ValueError(f"{path}: damaged picture ({damage})") from damage
