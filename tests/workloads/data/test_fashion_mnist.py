"""Fashion-MNIST: each way by itself, their order, and what damage does.

A set of twelve pictures stands in for the real one, so SUMS is patched.
"""

import gzip
import hashlib
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from rectified.workloads.data import DataNotFoundError, fetch
from rectified.workloads.data.cache import MARK
from rectified.workloads.data.images import fashion_mnist_files, idx
from rectified.workloads.data.images.fashion_mnist_files import find, load

NAMES = tuple(fashion_mnist_files.SUMS)
ARRAYS = {
    "train-images-idx3-ubyte": torch.arange(8 * 784).reshape(8, 28, 28).to(torch.uint8),
    "train-labels-idx1-ubyte": torch.arange(8, dtype=torch.uint8),
    "t10k-images-idx3-ubyte": torch.arange(4 * 784).reshape(4, 28, 28).to(torch.uint8) // 2,
    "t10k-labels-idx1-ubyte": torch.arange(4, dtype=torch.uint8),
}
PLAIN = {name: idx.pack(array) for name, array in ARRAYS.items()}
GZIPPED = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in PLAIN.items()}


def put(folder: Path, files: dict[str, bytes] = GZIPPED) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@dataclass
class World:
    """Where each way looks, and what `find` said. At first there is nothing anywhere."""

    cache: Path
    system: Path
    web: object
    apt: object
    said: list[str]

    @property
    def home(self) -> Path:
        return self.cache / "fashion-mnist"

    def find(self, folder: Path | None = None) -> Path:
        return find(folder, self.said.append)

    def litter(self) -> list[str]:
        names = [path.name for path in self.cache.iterdir()] if self.cache.exists() else []
        return sorted(set(names) - {"fashion-mnist"})


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, web, apt) -> World:
    monkeypatch.setenv("RECTIFIED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fashion_mnist_files, "SYSTEM", tmp_path / "system")
    monkeypatch.setattr(fashion_mnist_files, "URL", web.url)
    sums = {name: hashlib.sha256(PLAIN[name]).hexdigest() for name in NAMES}
    monkeypatch.setattr(fashion_mnist_files, "SUMS", sums)
    apt.behave("dead")
    return World(tmp_path / "cache", tmp_path / "system", web, apt, [])


def check(folder: Path) -> None:
    for part, name in zip(load(folder), ("train", "train", "t10k", "t10k"), strict=True):
        assert torch.equal(part, ARRAYS[f"{name}-{'images-idx3' if part.dim() == 3 else 'labels-idx1'}-ubyte"])


# The ways, each by itself


@pytest.mark.parametrize("layout", ["", "FashionMNIST/raw", "raw", "fashion-mnist"])
@pytest.mark.parametrize("files", [GZIPPED, PLAIN], ids=["gzipped", "plain"])
def test_a_named_folder_in_every_layout(world: World, tmp_path: Path, layout: str, files) -> None:
    put(tmp_path / "data" / layout, files)
    assert world.find(tmp_path / "data") == tmp_path / "data" / layout
    check(tmp_path / "data" / layout)
    assert world.said == []
    assert not world.cache.exists()


def test_a_named_folder_may_begin_with_a_tilde(world: World, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(put(tmp_path)))
    assert world.find(Path("~")) == tmp_path


def test_a_named_folder_without_the_files_is_an_error_though_the_cache_has_them(world: World, tmp_path: Path) -> None:
    put(world.home)
    with pytest.raises(DataNotFoundError) as refusal:
        world.find(tmp_path / "data")
    text = str(refusal.value)
    for name in NAMES:
        assert name in text
    for place in ("data: no such folder", "data/FashionMNIST/raw", "data/raw", "data/fashion-mnist"):
        assert str(tmp_path / place) in text
    assert world.web.asked == []
    assert world.apt.log == []


def test_a_named_folder_with_a_file_missing_or_another_in_its_place(world: World, tmp_path: Path) -> None:
    folder = put(tmp_path / "data")
    (folder / f"{NAMES[1]}.gz").unlink()
    with pytest.raises(DataNotFoundError, match=rf"{NAMES[1]}\[.gz\] is missing"):
        world.find(folder)
    put(folder, {f"{NAMES[1]}.gz": GZIPPED[f"{NAMES[0]}.gz"]})
    with pytest.raises(DataNotFoundError, match=rf"{NAMES[1]}.gz: it is {NAMES[0]}"):
        world.find(folder)
    put(folder, {f"{NAMES[1]}.gz": GZIPPED[f"{NAMES[1]}.gz"][:-1]})
    with pytest.raises(DataNotFoundError, match=rf"{NAMES[1]}.gz: damaged gzip"):
        world.find(folder)


def test_the_cache(world: World) -> None:
    put(world.home)
    assert world.find() == world.home
    check(world.home)
    assert world.said == []


def test_the_installed_package_is_used_in_place(world: World) -> None:
    folder = put(world.system / "usr/share/datasets/fashion-mnist")
    assert world.find() == folder
    assert not world.cache.exists()


def test_the_download(world: World) -> None:
    world.web.files.update(GZIPPED)
    assert world.find() == world.home
    check(world.home)
    assert world.web.asked == [f"{name}.gz" for name in NAMES]
    assert len(world.said) == 5
    assert world.litter() == []
    assert sorted(path.name for path in world.home.iterdir()) == sorted([*GZIPPED, MARK])
    assert world.find() == world.home  # this time from the cache
    assert len(world.web.asked) == 4


@pytest.mark.parametrize("manner", ["", "no lists"])
def test_apt(world: World, manner: str) -> None:
    put(world.apt.package)
    world.apt.behave(manner)
    assert world.find() == world.home
    check(world.home)
    assert world.litter() == []
    assert sorted(path.name for path in world.home.iterdir()) == sorted([*GZIPPED, MARK])


def test_nothing_leads_there(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataNotFoundError) as failure:
        find()
    lines = str(failure.value).splitlines()
    assert f"the cache: nothing in {world.home}" in lines[1]
    assert "installed" in lines[2]
    assert "no such folder" in lines[2]
    assert f"{world.web.url}t10k-labels-idx1-ubyte.gz: 404" in lines[3]
    assert "E: the network is down" in lines[4]
    advice = "\n".join(lines[5:])
    for words in ("--data", str(world.home), "apt install dataset-fashion-mnist", "RECTIFIED_CACHE"):
        assert words in advice
    assert world.litter() == []
    assert "downloading" in capsys.readouterr().err  # said there by default, and stdout is left to results


def test_nowhere_to_put_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "expanduser", lambda _: (_ for _ in ()).throw(RuntimeError("homeless")))
    with pytest.raises(DataNotFoundError, match="homeless") as failure:
        world.find()
    assert "$RECTIFIED_CACHE" in str(failure.value)


# Their order


def test_the_order_of_the_ways(world: World, tmp_path: Path) -> None:
    named = put(tmp_path / "data")
    put(world.home)
    system = put(world.system / "usr/share/datasets/fashion-mnist")
    world.web.files.update(GZIPPED)
    put(world.apt.package)
    world.apt.behave("")

    def remove(folder: Path) -> None:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()

    assert world.find(named) == named
    assert world.find() == world.home
    remove(world.home)
    assert world.find() == system
    remove(system)
    assert world.web.asked == []
    assert world.find() == world.home
    assert len(world.web.asked) == 4
    remove(world.home)
    world.web.files.clear()
    assert world.apt.log == []
    assert world.find() == world.home
    assert len(world.apt.log) == 1


# Damage


def test_a_wrong_checksum_never_reaches_the_cache_and_stops_the_download(world: World) -> None:
    world.web.files.update(GZIPPED)
    world.web.files[f"{NAMES[0]}.gz"] = gzip.compress(b"a page of the hotel's network")
    with pytest.raises(DataNotFoundError, match="its content differs from the published file"):
        world.find()
    assert not world.home.exists()
    assert world.litter() == []
    assert len(world.web.asked) == 1


@pytest.mark.parametrize("manner", ["cut", "cut chunk", "silent"])
def test_a_failing_download_leads_on_to_apt(world: World, monkeypatch, manner: str) -> None:
    monkeypatch.setattr(fetch, "READ_SECONDS", 0.1)
    world.web.files.update(GZIPPED)
    world.web.manner = manner
    put(world.apt.package)
    world.apt.behave("")
    assert world.find() == world.home
    check(world.home)
    assert world.litter() == []


def test_a_package_with_other_content_never_reaches_the_cache(world: World) -> None:
    put(world.apt.package, {**GZIPPED, f"{NAMES[3]}.gz": gzip.compress(b"other")})
    world.apt.behave("")
    with pytest.raises(DataNotFoundError, match=f"{NAMES[3]}.gz: its content"):
        world.find()
    assert not world.home.exists()
    assert world.litter() == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda home: put(home, {f"{NAMES[2]}.gz": b"x"}),
        lambda home: put(home, {f"{NAMES[2]}.gz": GZIPPED[f"{NAMES[2]}.gz"][:-20]}),
        lambda home: (home / f"{NAMES[2]}.gz").unlink(),
    ],
    ids=["other", "truncated", "missing"],
)
def test_a_damaged_cache_is_reported_set_aside_and_fetched_anew(world: World, damage: Callable[[Path], object]) -> None:
    world.web.files.update(GZIPPED)
    damage(world.find())
    world.said.clear()
    assert world.find() == world.home
    check(world.home)
    assert NAMES[2] in world.said[0]
    assert "fashion-mnist-damaged" in world.said[0]
    assert world.litter() == ["fashion-mnist-damaged"]


@pytest.mark.parametrize("content", ["half", "none", "a link"])
def test_a_users_folder_in_the_cache_stays_and_nothing_is_fetched_over_it(world: World, content: str) -> None:
    theirs = {**GZIPPED, "notes.txt": b"ours"}
    del theirs[f"{NAMES[3]}.gz"]
    if content == "a link":
        world.cache.mkdir()
        world.home.symlink_to(put(world.cache.parent / "elsewhere", {**theirs, MARK: b""}))
    else:
        put(world.home, theirs if content == "half" else {})
    before = {path: path.is_symlink() or path.is_dir() or path.read_bytes() for path in world.cache.parent.rglob("*")}
    world.web.files.update(GZIPPED)
    for _ in range(2):
        with pytest.raises(DataNotFoundError) as refusal:
            world.find()
        for words in (
            r"is missing; rectified did not create \S*fashion-mnist and leaves it alone: complete it, or move it away",
            r"the official download: not tried, since \S*cache/fashion-mnist is in its place\n",
        ):
            assert re.search(words, str(refusal.value))
    now = {path: path.is_symlink() or path.is_dir() or path.read_bytes() for path in world.cache.parent.rglob("*")}
    assert now == before
    assert world.web.asked == world.said == []
    world.home.rename(world.cache / "away")
    assert world.find() == world.home
    check(world.home)


def test_what_was_set_aside_before_stays(world: World) -> None:
    world.web.files.update(GZIPPED)
    for number, text in ((1, b"first"), (2, b"second")):
        put(world.find(), {f"{NAMES[2]}.gz": text})
        world.said.clear()
        assert world.find() == world.home
        assert world.litter() == ["fashion-mnist-damaged", "fashion-mnist-damaged-2"][:number]
    for name, text in zip(world.litter(), (b"first", b"second"), strict=True):
        assert (world.cache / name / f"{NAMES[2]}.gz").read_bytes() == text
        assert f"the folder is set aside as {world.cache / name}" in world.said[0] or text == b"first"


def test_a_damaged_cache_is_among_the_reasons(world: World) -> None:
    put(world.home, {f"{NAMES[0]}.gz": b"x"})
    with pytest.raises(DataNotFoundError, match=f"the cache: .*{NAMES[0]}.gz: its content"):
        world.find()


def test_a_damaged_installed_package_is_passed_over(world: World) -> None:
    put(world.system / "usr/share/datasets/fashion-mnist", {**GZIPPED, f"{NAMES[0]}.gz": b"x"})
    world.web.files.update(GZIPPED)
    assert world.find() == world.home


@pytest.mark.parametrize("way", ["download", "debian_package"])
def test_ctrl_c_leaves_nothing(world: World, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    real = fetch.download

    def download(url: str, path: Path) -> None:
        if path.name.startswith("train"):
            path.write_bytes(b"half")
            raise KeyboardInterrupt
        real(url, path)

    def debian_package(name: str, workshop: Path) -> Path:
        put(workshop / "root" / fashion_mnist_files.PLACE)
        raise KeyboardInterrupt

    monkeypatch.setattr(fetch, way, locals()[way])
    world.web.files.update(GZIPPED if way == "download" else {})
    with pytest.raises(KeyboardInterrupt):
        world.find()
    assert list(world.cache.iterdir()) == []


def test_two_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(2)
    real, found = fetch.download, []

    def download(url: str, path: Path) -> None:
        real(url, path)
        together.wait(5)

    monkeypatch.setattr(fetch, "download", download)
    world.web.files.update(GZIPPED)
    threads = [threading.Thread(target=lambda: found.append(world.find())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [world.home] * 2
    check(world.home)
    assert world.litter() == []


# Reading


def test_pictures_and_labels_must_be_as_many(tmp_path: Path) -> None:
    folder = put(tmp_path, {**GZIPPED, "t10k-labels-idx1-ubyte.gz": GZIPPED["train-labels-idx1-ubyte.gz"]})
    with pytest.raises(ValueError, match="4 pictures, but 8 labels"):
        load(folder)


def test_loading_from_nowhere(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match=r"train-images-idx3-ubyte.* is missing"):
        load(tmp_path)
