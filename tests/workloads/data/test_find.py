"""Every data set: ~ in front of what a user names is a home folder, and a home that is none is one line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rectified.workloads.data import DataNotFoundError
from rectified.workloads.data.images import cifar10_files, fashion_mnist_files, image_folder, imagenet_files
from rectified.workloads.data.text import one_billion, pairs, wikitext

FINDERS = {
    "cifar10": cifar10_files.find,
    "fashion-mnist": fashion_mnist_files.find,
    "imagenet": lambda folder: imagenet_files.IMAGENET.find(folder, 10),
    "one billion": one_billion.find,
    "pairs": lambda folder: pairs.find(folder, "de", "en"),
    "wikitext": wikitext.find,
}
LOADERS = {
    "cifar10": cifar10_files.load,
    "fashion-mnist": fashion_mnist_files.load,
    "image folder": image_folder.index,
    "one billion": one_billion.load,
    "pairs": lambda folder: pairs.load(folder, "de", "en"),
    "wikitext": wikitext.load,
}
anyone = pytest.mark.parametrize(
    "reader", [*FINDERS.values(), *LOADERS.values()], ids=[*FINDERS, *(f"{name} load" for name in LOADERS)]
)


@anyone
def test_a_tilde_is_the_home(reader: Callable[[Path], object], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises((DataNotFoundError, OSError)) as refusal:
        reader(Path("~/nowhere"))
    assert str(tmp_path / "nowhere") in str(refusal.value)
    assert "~" not in str(refusal.value)


@anyone
def test_a_home_of_nobody_is_one_line(reader: Callable[[Path], object]) -> None:
    with pytest.raises(DataNotFoundError, match=r"^~nobody-of-that-name/x: Could not determine home directory$"):
        reader(Path("~nobody-of-that-name/x"))
