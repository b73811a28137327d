"""Pictures in folders: both layouts, what may be missing in them or too much, and the pictures themselves."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from picture_files import imagenet, picture, put, tiny_imagenet
from rectified.workloads.data import DataNotFoundError
from rectified.workloads.data.images.image_folder import Files, decoded, index
from rectified.workloads.data.images.imagenet_files import IMAGENET, TINY_IMAGENET

LARGE, TINY = imagenet(), tiny_imagenet()


def pairs(files: Files) -> list[tuple[str, int]]:
    return [(files.path(i), int(label)) for i, label in enumerate(files.labels)]


# What is in a folder


def test_imagenets_layout(tmp_path: Path) -> None:
    """The first pictures of all classes, then the second ones: a subset has all classes."""
    found = index(put(tmp_path, LARGE))
    assert (found.folder, found.classes) == (str(tmp_path), ["n00", "n01", "n02"])
    for files, split, count in ((found.train, "train", 4), (found.test, "val", 2)):
        assert pairs(files) == [
            (f"{split}/n0{label}/{split}_{label}_{number}.JPEG", label) for number in range(count) for label in range(3)
        ]


def test_classes_of_unequal_size_and_names_in_any_script(tmp_path: Path) -> None:
    files = ["train/b/1.jpg", "train/b/2.PNG", "train/b/ü.jpeg", "train/ä/ .jpg", "val/b/x.jpg", "val/ä/y.jpg"]
    found = index(put(tmp_path, dict.fromkeys(files, b"")))
    assert pairs(found.train) == [
        ("train/b/1.jpg", 0),
        ("train/ä/ .jpg", 1),
        ("train/b/2.PNG", 0),
        ("train/b/ü.jpeg", 0),
    ]
    assert pairs(found.test) == [("val/b/x.jpg", 0), ("val/ä/y.jpg", 1)]


def test_what_is_no_picture_by_its_name_is_passed_over(tmp_path: Path) -> None:
    beside = [
        "train/n00/readme.txt",
        "train/n01/.hidden.jpg",
        "train/.git/a.jpg",
        "val/n00/b.JPEG.part",
        "val/list.txt",
    ]
    assert pairs(index(put(tmp_path, {**LARGE, **dict.fromkeys(beside, b"")})).train) == pairs(index(tmp_path).train)
    assert len(index(tmp_path).train.labels) == 12
    assert len(index(tmp_path).test.labels) == 6


def test_tiny_imagenets_layout(tmp_path: Path) -> None:
    found = index(put(tmp_path, TINY))
    assert found.classes == ["n00", "n01", "n02"]
    assert pairs(found.train) == [
        (f"train/n0{label}/images/n0{label}_{number}.JPEG", label) for number in range(4) for label in range(3)
    ]
    assert sorted(pairs(found.test)) == sorted((f"val/images/val_{number}.JPEG", number % 3) for number in range(6))


def removed(name: str) -> Callable[[Path], None]:
    return lambda folder: shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


def added(name: str, content: bytes = b"") -> Callable[[Path], object]:
    return lambda folder: put(folder, {name: content})


def annotated(change: Callable[[list[str]], list[str]]) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        file = folder / "val/val_annotations.txt"
        file.write_text("".join(change(file.read_text().splitlines(keepends=True))))

    return edit


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (removed("train"), r"train'"),
        (removed("val"), r"val'"),
        (removed("val/n01"), r"val: has no n01, for which there is a class in train"),
        (added("val/n09/a.jpg"), r"val: has n09, for which there is no class in train"),
        (removed("train/n02"), r"val: has n02, for which there is no class in train"),
        (
            lambda folder: [path.unlink() for path in (folder / "train/n01").iterdir()],
            r"train: no .jpeg.* of class n01$",
        ),
        (lambda folder: [path.unlink() for path in (folder / "val/n00").iterdir()], r"val: no .jpeg.* of class n00$"),
        (
            lambda folder: [shutil.rmtree(folder / "train" / name) for name in ("n00", "n02")],
            r"classes n01; at least two",
        ),
        (lambda folder: [shutil.rmtree(path) for path in (folder / "train").iterdir()], r"classes none; at least two"),
    ],
)
def test_what_is_amiss_in_imagenets_layout_is_named(
    tmp_path: Path, damage: Callable[[Path], object], words: str
) -> None:
    damage(put(tmp_path, LARGE))
    with pytest.raises((DataNotFoundError, OSError), match=words):
        index(tmp_path)
    with pytest.raises(DataNotFoundError, match=words.rstrip("$")):
        IMAGENET.find(tmp_path, 12)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (removed("wnids.txt"), r"wnids.txt'"),
        (removed("val/val_annotations.txt"), r"val_annotations.txt'"),
        (removed("val/images"), r"val/images'"),
        (removed("train/n01/images"), r"train/n01/images'"),
        (removed("train/n01"), r"wnids.txt: has n01, for which there is no folder"),
        (added("train/n09/images/a.jpg"), r"wnids.txt: has no n09, for which there is a folder"),
        (removed("val/images/val_3.JPEG"), r"annotations.txt: has val/images/val_3.JPEG, for which there is no file"),
        (added("val/images/val_9.JPEG"), r"annotations.txt: has no val/images/val_9.JPEG, for which there is a file"),
        (
            annotated(lambda lines: lines[:2]),
            r"has no val/images/val_2.JPEG, .*val_3.JPEG, .*val_4.JPEG and 1 more, for",
        ),
        (
            annotated(lambda lines: [*lines[:-1], lines[-1][:-9]]),
            r"line 6 is 'val_5.JPEG\\tn02\\t0.*', not a file, its",
        ),
        (annotated(lambda lines: [*lines, lines[1]]), r"line 7 is the second of val_1.JPEG"),
        (
            annotated(lambda lines: [line.replace("n01", "n07") for line in lines]),
            r"val: has n07, .* no class in train",
        ),
        (
            annotated(lambda lines: [line.replace("n01", "n00") for line in lines]),
            r"val: has no n01, .* a class in train",
        ),
    ],
)
def test_what_is_amiss_in_tiny_imagenets_layout_is_named(tmp_path: Path, damage, words: str) -> None:
    damage(put(tmp_path, TINY))
    with pytest.raises((DataNotFoundError, OSError), match=words):
        index(tmp_path)
    with pytest.raises(DataNotFoundError, match=words):
        TINY_IMAGENET.find(tmp_path, 12)


# A picture


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_picture_is_red_green_blue_whatever_it_was(tmp_path: Path, mode: str) -> None:
    """ImageNet has gray ones and CMYK ones, and a PNG whose name ends as a JPEG's."""
    content = picture(3, 50, 40, mode=mode)
    image = decoded(put(tmp_path, {"a.JPEG": content}) / "a.JPEG")
    assert (image.mode, image.size) == ("RGB", (50, 40))
    assert np.array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))
    png = picture(3, 50, 40, kind="PNG")
    assert np.array_equal(
        np.asarray(decoded(put(tmp_path, {"b.JPEG": png}) / "b.JPEG")), np.asarray(Image.open(io.BytesIO(png)))
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "neither a JPEG nor a PNG"),
        (b"<html>not found</html>", "neither a JPEG nor a PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "neither a JPEG nor a PNG"),
        (picture(0, kind="GIF"), "neither a JPEG nor a PNG"),
        (picture(0)[:400], "damaged picture"),
        (picture(0)[:-100], "damaged picture"),
        (picture(0, kind="PNG")[:-100], "damaged picture"),
    ],
)
def test_what_is_no_picture_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=rf"a.JPEG: {words}"):
        decoded(put(tmp_path, {"a.JPEG": content}) / "a.JPEG")


def test_a_disk_that_fails_is_no_damaged_picture(tmp_path: Path) -> None:
    """A run goes on from its checkpoint after the one, and starts over after the other."""
    with pytest.raises(FileNotFoundError):
        decoded(tmp_path / "a.JPEG")
