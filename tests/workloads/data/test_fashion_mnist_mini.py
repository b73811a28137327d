"""The miniature of Fashion-MNIST that the package ships; one slow test makes it again from the real set."""

import hashlib
import runpy
import struct
from pathlib import Path

import pytest
import torch

from rectified.workloads.data import DataNotFoundError, archives
from rectified.workloads.data.images import fashion_mnist_files
from rectified.workloads.data.images.fashion_mnist_files import find, load, mini

NAMES = tuple(fashion_mnist_files.SUMS)


def test_the_miniature_is_stratified_and_in_no_order_of_classes() -> None:
    parts = load(mini())
    for images, labels, count in ((*parts[:2], 600), (*parts[2:], 100)):
        assert images.shape == (10 * count, 28, 28)
        assert images.dtype == labels.dtype == torch.uint8
        assert labels.bincount().tolist() == [count] * 10
        assert (labels[1:] < labels[:-1]).any()
        assert 60 < images.float().mean() < 85  # clothes on a dark ground
        assert len(images.flatten(1).unique(dim=0)) == len(images)


def test_the_miniature_is_what_it_was() -> None:
    content = b"".join(archives.contents(mini() / f"{name}.gz", 1 << 30) for name in NAMES)
    assert hashlib.sha256(content).hexdigest() == "1d8bacf68763c5484f91d4e99175191a1861bfe69343c2c1740d52cd4dc6d401"
    for path in mini().glob("*.gz"):
        assert path.read_bytes()[3:8] == bytes(5)  # neither name nor time


def test_the_miniature_brings_its_license() -> None:
    assert "2017 Zalando SE" in (mini() / "LICENSE").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_real_set_is_the_published_one_and_the_miniature_comes_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECTIFIED_CACHE", str(tmp_path))
    try:
        folder = find()
    except DataNotFoundError as reason:
        pytest.skip(str(reason))
    # The published sums are of gzip files that were packed at these times, with their names in them.
    published = {
        "train-images-idx3-ubyte": (1504176606, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        "train-labels-idx1-ubyte": (1504176606, "25c81989df183df01b3e8a0aad5dffbe"),
        "t10k-images-idx3-ubyte": (1504176627, "bef4ecab320f06d8554ea6380940ec79"),
        "t10k-labels-idx1-ubyte": (1504176627, "bb300cfdad3c16e7a12a480ee83cd310"),
    }
    for name, (packed, md5) in published.items():
        raw = (folder / f"{name}.gz").read_bytes()
        if raw[3] == 0:  # Debian's: no name
            raw = struct.pack("<HBBIBB", 0x8B1F, 8, 8, packed, 0, 3) + name.encode() + b"\0" + raw[10:]
        assert hashlib.md5(raw).hexdigest() == md5

    make = runpy.run_path(str(Path(__file__).parents[3] / "tools/make_fashion_mnist_mini.py"))
    make["main"](tmp_path / "mini")
    for name in NAMES:
        made, kept = (archives.contents(place / f"{name}.gz", 1 << 30) for place in (tmp_path / "mini", mini()))
        assert made == kept
