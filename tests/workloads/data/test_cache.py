"""The cache: all or nothing, whoever interrupts and whoever else is at it."""

import os
import threading
import time
from pathlib import Path

import pytest

from rectified.workloads.data import cache


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RECTIFIED_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def whole(folder: Path) -> None:
    if (folder / "file").read_text() != "right":
        raise ValueError("wrong file")


def write(text: str):
    return lambda folder: (folder / "file").write_text(text)


def test_the_root_is_the_first_of_three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("RECTIFIED_CACHE", "~/own")
    assert cache.root() == tmp_path / "own"
    monkeypatch.setenv("RECTIFIED_CACHE", "")
    assert cache.root() == Path("/xdg/rectified")
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert cache.root() == tmp_path / ".cache/rectified"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.root() == tmp_path / ".cache/rectified"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECTIFIED_CACHE", "here")
    assert cache.root() == tmp_path / "here"


def test_a_user_without_a_home_is_an_oserror(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    with pytest.raises(OSError, match="no location for a cache"):
        cache.root()


def test_what_is_made_and_right_is_published(home: Path) -> None:
    assert cache.fill("set", write("right"), whole) == home / "set"
    assert sorted(path.relative_to(home).as_posix() for path in home.rglob("*")) == [
        "set",
        f"set/{cache.MARK}",
        "set/file",
    ]


def test_it_is_not_there_until_it_is_whole(home: Path) -> None:
    def make(folder: Path) -> None:
        assert folder.is_dir()
        assert not list(folder.iterdir())
        assert folder.stat().st_dev == home.stat().st_dev
        assert not (home / "set").exists()
        write("right")(folder)

    def check(folder: Path) -> None:
        assert not (home / "set").exists()
        whole(folder)

    cache.fill("set", make, check)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, OSError, ZeroDivisionError])
def test_nothing_half_written_stays(home: Path, interruption: type[BaseException]) -> None:
    def make(folder: Path) -> None:
        write("ri")(folder)
        (folder.parent / "workshop").mkdir()
        raise interruption

    with pytest.raises(interruption):
        cache.fill("set", make, whole)
    assert list(home.iterdir()) == []


def test_what_is_made_wrong_does_not_stay(home: Path) -> None:
    with pytest.raises(ValueError, match="wrong file"):
        cache.fill("set", write("wrong"), whole)
    assert list(home.iterdir()) == []


def test_the_slower_of_two_takes_what_the_quicker_made(home: Path) -> None:
    both_made = threading.Barrier(2)
    found: list[Path] = []

    def fill() -> None:
        def make(folder: Path) -> None:
            write("right")(folder)
            both_made.wait(5)

        found.append(cache.fill("set", make, whole))

    threads = [threading.Thread(target=fill) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [home / "set"] * 2
    assert [path.name for path in home.iterdir()] == ["set"]
    whole(home / "set")


def test_the_quicker_one_is_checked_and_never_overwritten(home: Path) -> None:
    def make(folder: Path) -> None:
        write("right")(folder)
        (home / "set").mkdir()
        write("wrong")(home / "set")

    with pytest.raises(ValueError, match="wrong file"):
        cache.fill("set", make, whole)
    assert (home / "set/file").read_text() == "wrong"


def test_a_place_that_cannot_be_written_is_an_oserror(home: Path) -> None:
    home.write_text("a file where the folder should be")
    with pytest.raises(OSError, match=r"cache"):
        cache.fill("set", write("right"), whole)


def test_a_file_in_the_place_of_the_folder_is_an_oserror(home: Path) -> None:
    home.mkdir()
    (home / "set").write_text("a file")
    with pytest.raises(OSError, match="set"):
        cache.fill("set", write("right"), whole)
    assert [path.name for path in home.iterdir()] == ["set"]


def test_set_aside_keeps_all_and_does_not_mind_being_late(home: Path) -> None:
    (home / "set-damaged-2").mkdir(parents=True)  # a user's
    for text in ("first", "second"):
        (home / "set").mkdir(parents=True)
        write(text)(home / "set")
        aside = cache.set_aside("set")
        assert aside is not None
        assert (aside / "file").read_text() == text
    assert cache.set_aside("set") is None
    assert sorted(path.name for path in home.iterdir()) == ["set-damaged", "set-damaged-2", "set-damaged-3"]
    assert not [*(home / "set-damaged-2").iterdir()]


def test_two_that_set_aside_at_once_take_two_names(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "set").mkdir(parents=True)
    real = Path.rename

    def late(path: Path, to: Path) -> Path:
        if to.name == "set-damaged":
            to.mkdir()
            write("another process")(to)
        return real(path, to)

    monkeypatch.setattr(Path, "rename", late)
    assert cache.set_aside("set") == home / "set-damaged-2"
    assert (home / "set-damaged/file").read_text() == "another process"


def test_only_what_has_the_mark_is_ours(home: Path) -> None:
    assert cache.is_ours(cache.fill("set", write("right"), whole))
    (home / "other").mkdir()
    assert not cache.is_ours(home / "other")
    assert not cache.is_ours(home / "nothing")
    (home / "link").symlink_to(home / "set")
    assert not cache.is_ours(home / "link")
    (home / "other" / cache.MARK).symlink_to(home / "set" / cache.MARK)
    assert not cache.is_ours(home / "other")


def age(path: Path) -> None:
    then = time.time() - 25 * 3600
    os.utime(path, (then, then))


def test_what_killed_processes_left_goes_after_a_day(home: Path) -> None:
    for name in (".set-old", ".set-new", ".other-old"):
        (home / name).mkdir(parents=True)
        (home / name / cache.MARK).touch()
        if name.endswith("old"):
            age(home / name)
    cache.fill("set", write("right"), whole)
    assert sorted(path.name for path in home.iterdir()) == [".other-old", ".set-new", "set"]


def test_what_a_killed_process_leaves_has_the_mark() -> None:
    ours: list[bool] = []
    cache.fill("set", lambda folder: [write("right")(folder), ours.append(cache.is_ours(folder.parent))], whole)
    assert ours == [True]


def test_a_users_hidden_folders_and_links_are_not_swept(home: Path, tmp_path: Path) -> None:
    (home / ".set-of-mine").mkdir(parents=True)
    write("mine")(home / ".set-of-mine")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / cache.MARK).touch()
    (home / ".set-link").symlink_to(tmp_path / "elsewhere")
    for path in (home / ".set-of-mine", tmp_path / "elsewhere"):
        age(path)
    cache.fill("set", write("right"), whole)
    assert (home / ".set-of-mine/file").read_text() == "mine"
    assert (tmp_path / "elsewhere" / cache.MARK).exists()
    assert (home / ".set-link").is_symlink()


def test_links_in_what_is_swept_are_not_followed(home: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    write("mine")(tmp_path / "elsewhere")
    (home / ".set-old").mkdir(parents=True)
    (home / ".set-old" / cache.MARK).touch()
    (home / ".set-old/link").symlink_to(tmp_path / "elsewhere")
    age(home / ".set-old")
    cache.fill("set", write("right"), whole)
    assert not (home / ".set-old").exists()
    assert (tmp_path / "elsewhere/file").read_text() == "mine"


def test_a_name_is_no_pattern(home: Path) -> None:
    (home / ".seta-old").mkdir(parents=True)
    (home / ".seta-old" / cache.MARK).touch()
    age(home / ".seta-old")
    cache.fill("set[a]", write("right"), whole)
    assert (home / ".seta-old").exists()


def test_bytes_are_on_the_disk_before_the_rename(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []

    def fsync(handle: int) -> None:
        name = Path(f"/proc/self/fd/{handle}").readlink().name
        synced.append(f"{name} {(home / 'set').exists()}")

    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc")
    monkeypatch.setattr(os, "fsync", fsync)
    cache.fill("set", write("right"), whole)
    assert sorted(synced[:2]) == [f"{cache.MARK} False", "file False"]
    assert synced[2:] == ["set False", "cache True"]
