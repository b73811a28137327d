"""ImageNet and Tiny ImageNet: in a named folder, in the cache, and in archives, whole and damaged."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from picture_files import imagenet, packed, put, shared_data, tiny_imagenet
from rectified.workloads.data import DataNotFoundError
from rectified.workloads.data.images.image_folder import index
from rectified.workloads.data.images.imagenet_files import IMAGENET, TINY_IMAGENET

LARGE, TINY = imagenet(), tiny_imagenet()


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECTIFIED_CACHE", str(tmp_path / "cache"))


def check(folder: Path) -> None:
    """It holds what was packed, and that alone."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert files == TINY


def zipped(files: dict[str, bytes], inside: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, body in files.items():
            archive.writestr(f"{inside}/{name}", body)
    return content.getvalue()


@pytest.mark.parametrize("inside", ["", "tiny-imagenet-200", "tiny-imagenet"])
def test_a_named_folder(tmp_path: Path, inside: str) -> None:
    folder = put(tmp_path / "data" / inside, TINY)
    assert TINY_IMAGENET.find(tmp_path / "data", 12) == folder
    assert not (tmp_path / "cache").exists()


def test_either_layout_serves_either_task(tmp_path: Path) -> None:
    assert IMAGENET.find(put(tmp_path / "tiny", TINY), 12) == tmp_path / "tiny"
    assert TINY_IMAGENET.find(put(tmp_path / "large", LARGE), 12) == tmp_path / "large"


def test_another_number_of_pictures_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(
        DataNotFoundError, match=r"12 training pictures, not 100000; .* task tiny-imagenet\(images=12\)"
    ):
        TINY_IMAGENET.find(put(tmp_path, TINY), 100_000)


@pytest.mark.parametrize("pack", [packed, zipped])
@pytest.mark.parametrize("itself", [True, False], ids=["the archive", "its folder"])
def test_an_archive_is_unpacked_into_the_cache_once(tmp_path: Path, pack, itself: bool) -> None:
    name = "tiny-imagenet-3.tar.gz" if pack is packed else "tiny-imagenet-3.zip"
    folder = put(tmp_path / "data", {name: pack(TINY, "tiny-imagenet-3")})
    named, said = folder / name if itself else folder, []
    found = TINY_IMAGENET.find(named, 12, said.append)
    check(found)
    assert found.is_relative_to(tmp_path / "cache")
    assert [path.name for path in folder.iterdir()] == [name]
    assert len(said) == 1
    (found / "a mark").touch()
    assert TINY_IMAGENET.find(named, 12, said.append) == found
    assert len(said) == 1
    assert (found / "a mark").exists()
    (home,) = (tmp_path / "cache").iterdir()
    assert home.name.startswith("tiny-imagenet-3-")
    assert TINY_IMAGENET.find(None, 12) == found, "and then it need not be named any more"


def test_another_archive_of_the_same_name_is_another(tmp_path: Path) -> None:
    more = tiny_imagenet(train=5)
    first = TINY_IMAGENET.find(put(tmp_path / "a", {"tiny-imagenet.tar.gz": packed(TINY, "tiny")}), 12)
    second = TINY_IMAGENET.find(put(tmp_path / "b", {"tiny-imagenet.tar.gz": packed(more, "tiny")}), 15)
    assert first != second
    assert len(index(second).train.labels) == 15


@pytest.mark.parametrize("pack", [packed, zipped])
@pytest.mark.parametrize("left", [0.0, 0.5, 0.99])
def test_a_truncated_archive_is_named_and_leaves_nothing(tmp_path: Path, pack, left: float) -> None:
    name, content = "tiny-imagenet.tar.gz" if pack is packed else "tiny-imagenet.zip", pack(TINY, "tiny")
    put(tmp_path / "data", {name: content[: int(left * len(content))]})
    with pytest.raises(DataNotFoundError, match=rf"{name}: damaged archive"):
        TINY_IMAGENET.find(tmp_path / "data", 12)
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_archive_of_something_else_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    put(tmp_path / "data", {"tiny-imagenet.tar.gz": packed({"a": b"b"}, "tiny")})
    with pytest.raises(DataNotFoundError, match=r"tiny-imagenet.tar.gz: holds no folder train"):
        TINY_IMAGENET.find(tmp_path / "data", 12)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("kind", ["outside", "absolute", "link"])
def test_an_archive_cannot_write_outside_the_cache(tmp_path: Path, kind: str) -> None:
    archive, victim = tmp_path / "tiny-imagenet.tar.gz", tmp_path / "victim"
    with tarfile.open(archive, "w:gz") as members:
        member = tarfile.TarInfo({"outside": "../../victim", "absolute": str(victim), "link": "train"}[kind])
        if kind == "link":
            member.type, member.linkname = tarfile.SYMTYPE, str(tmp_path)
        members.addfile(member)
    with pytest.raises(DataNotFoundError, match=r"tiny-imagenet.tar.gz: .* in it (leads out of|is a link)"):
        TINY_IMAGENET.find(archive, 12)
    assert not victim.exists()


def test_without_a_folder_it_is_the_cache_or_advice(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError) as refusal:
        IMAGENET.find(None, 12)
    for words in ("ImageNet was not found", f"nothing in {tmp_path}/cache/imagenet", "image-net.org", "--data FOLDER"):
        assert words in str(refusal.value)
    home = put(tmp_path / "cache/imagenet", LARGE)
    assert IMAGENET.find(None, 12) == home
    put(tmp_path / "cache/tiny-imagenet", {"tiny-imagenet-200.zip": zipped(TINY, "tiny-imagenet-200")})
    check(TINY_IMAGENET.find(None, 12))


@pytest.mark.slow
def test_fifty_real_classes() -> None:
    folder = TINY_IMAGENET.find(shared_data("tiny-imagenet-50"), 25_000)
    found = index(folder)
    assert found.train.labels.bincount().tolist() == [500] * 50
    assert found.test.labels.bincount().tolist() == [50] * 50
    lines = (folder / "val/val_annotations.txt").read_text().splitlines()
    annotated = {f"val/images/{name}": label for name, label, *_ in (line.split("\t") for line in lines)}
    for files, told in ((found.train, lambda path: path.split("/")[1]), (found.test, annotated.get)):
        for picture, label in enumerate(files.labels):
            assert told(files.path(picture)) == found.classes[label]
