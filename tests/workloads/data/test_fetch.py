"""The two ways to fetch, each against a stub that misbehaves."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from rectified.workloads.data import fetch
from rectified.workloads.data.images import cifar10_files, fashion_mnist_files
from rectified.workloads.data.images.imagenet_files import TINY_IMAGENET
from rectified.workloads.data.text import one_billion, pairs, wikitext


@pytest.fixture
def workshop(tmp_path: Path) -> Path:
    folder = tmp_path / "a workshop"  # a path with a space
    folder.mkdir()
    return folder


def gone(pid: int) -> bool:
    """Whether the process is no more, or a zombie whose new parent has not looked yet."""
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


def test_a_download_arrives(web, tmp_path: Path) -> None:
    web.files["file.gz"] = os.urandom(300_000)
    fetch.download(web.url + "file.gz", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == web.files["file.gz"]


@pytest.mark.parametrize("manner", ["cut", "cut chunk", "reset"])
def test_a_connection_cut_in_the_middle_is_an_oserror_and_no_file(web, tmp_path: Path, manner: str) -> None:
    web.files["file.gz"], web.manner = os.urandom(300_000), manner
    with pytest.raises(OSError, match=r"file.gz: .*(150000 bytes read, 150000 more|IncompleteRead|reset)") as failure:
        fetch.download(web.url + "file.gz", tmp_path / "file")
    assert "\n" not in str(failure.value)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_an_oserror(web, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"file.gz: 404 Not Found$"):
        fetch.download(web.url + "file.gz", tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_a_published_sum_is_compared(web, tmp_path: Path) -> None:
    web.files["file.gz"] = b"a page of the hotel's network"
    right = hashlib.md5(web.files["file.gz"]).hexdigest()
    with pytest.raises(OSError, match=rf"file.gz: its MD5 is {right}, the published one is {'0' * 32}"):
        fetch.download(web.url + "file.gz", tmp_path / "file", md5="0" * 32)
    assert list(tmp_path.iterdir()) == []
    fetch.download(web.url + "file.gz", tmp_path / "file", md5=right)
    assert (tmp_path / "file").read_bytes() == web.files["file.gz"]


def test_a_download_without_end_is_an_oserror_and_no_file(web, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(fetch, "LIMIT", 2 << 20)
    web.files["file.gz"] = bytes(2 << 20)
    fetch.download(web.url + "file.gz", tmp_path / "file")
    (tmp_path / "file").unlink()
    web.files["file.gz"] += b"x"
    with pytest.raises(OSError, match=r"file.gz: it is larger than 2 MB, which is too large for any of the data sets$"):
        fetch.download(web.url + "file.gz", tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_downloads_are_encrypted() -> None:
    urls = [module.URL for module in (cifar10_files, fashion_mnist_files, one_billion, pairs, wikitext)]
    assert [url for url in urls if not url.startswith("https://")] == []
    assert "http://" not in TINY_IMAGENET.origin


def test_others_may_read_what_was_downloaded(web, tmp_path: Path) -> None:
    web.files["file.gz"] = b"content"
    fetch.download(web.url + "file.gz", tmp_path / "file")
    (tmp_path / "usual").touch()
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_server_that_never_answers(web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "READ_SECONDS", 0.1)
    web.manner = "silent"
    start = time.monotonic()
    with pytest.raises(OSError, match=r"file.gz: .*timed out"):
        fetch.download(web.url + "file.gz", tmp_path / "file")
    assert time.monotonic() - start < 2
    assert list(tmp_path.iterdir()) == []


def test_nobody_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(OSError, match=r"file.gz: Failed to establish a new connection: .*refused"):
        fetch.download("http://127.0.0.1:9/file.gz", tmp_path / "file")


def test_a_host_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(OSError, match=r"^http://far.invalid/file.gz: Failed to resolve 'far.invalid'"):
        fetch.download("http://far.invalid/file.gz", tmp_path / "file")


def test_a_host_that_does_not_answer_a_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(fetch, "CONNECT_SECONDS", 0.2)
    with socket.socket() as host, ExitStack() as queue:
        host.bind(("127.0.0.1", 0))
        host.listen(0)
        for _ in range(4):  # a full queue: further connections hang
            waiting = queue.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(host.getsockname())
        start = time.monotonic()
        with pytest.raises(OSError, match=r"file.gz: no connection within 0.2 s"):
            fetch.download(f"http://127.0.0.1:{host.getsockname()[1]}/file.gz", tmp_path / "file")
    assert time.monotonic() - start < 2


def test_connecting_is_quick_and_reading_patient() -> None:
    assert fetch.CONNECT_SECONDS <= 5 < fetch.READ_SECONDS


def test_a_proxy_is_asked(web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy")
    monkeypatch.setenv("http_proxy", web.url)
    web.files["http://far.invalid/file.gz"] = b"by the proxy"
    fetch.download("http://far.invalid/file.gz", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"by the proxy"


def test_without_pooch_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(OSError, match=r"file.gz: a download needs pooch; pip install 'rectified\[study\]'"):
        fetch.download("http://127.0.0.1:9/file.gz", tmp_path / "file")


def test_nothing_is_imported_before_something_is_fetched() -> None:
    code = "import sys, rectified.workloads.tasks; print({'pooch', 'requests'} & set(sys.modules))"
    python = [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"]
    assert subprocess.run(python, capture_output=True, text=True, check=True).stdout == "set()\n"


def test_the_package_by_the_lists_that_are_there(apt, workshop: Path) -> None:
    (apt.package / "file").write_text("content")
    root = fetch.debian_package("some-package", workshop)
    assert [path.read_text() for path in root.rglob("file")] == ["content"]
    (only,) = apt.log
    assert only.endswith("download some-package")
    assert "Dir::State::Lists" not in only


@pytest.mark.parametrize("manner", ["old lists", "no lists"])  # of the second, one repository is dead
def test_the_package_by_lists_of_our_own(apt, workshop: Path, manner: str) -> None:
    (apt.package / "file").write_text("content")
    apt.behave(manner)
    root = fetch.debian_package("some-package", workshop)
    assert [path.read_text() for path in root.rglob("file")] == ["content"]
    assert [line.split()[-2:] for line in apt.log] == [
        ["download", "some-package"],
        [f"Dir::State::Lists={workshop / 'lists'}".split()[-1], "update"],
        ["download", "some-package"],
    ]


def test_apts_folders_lie_in_the_workshop(apt, workshop: Path) -> None:
    apt.behave("no lists")
    with pytest.raises(OSError, match="dpkg-deb"):  # the package is empty
        fetch.debian_package("some-package", workshop)
    assert all(f"Dir::Cache={workshop / 'cache'}" in line for line in apt.log)
    assert (workshop / "lists/partial").is_dir()
    assert (workshop / "cache/archives/partial").is_dir()
    assert "#clear APT::Update::Post-Invoke;" in (workshop / "apt.conf").read_text()


def test_apts_first_words_are_the_reason(apt, workshop: Path) -> None:
    apt.behave("dead")
    with pytest.raises(OSError, match="the network is down") as failure:
        fetch.debian_package("some-package", workshop)
    steps = [reason.split(":")[0] for reason in str(failure.value).split("; ")]
    assert steps == ["apt-get download", "apt-get update", "apt-get download with these lists"]
    assert "so that was that" not in str(failure.value)


@pytest.mark.parametrize("tool", ["apt-get", "dpkg-deb"])
def test_a_machine_without_the_tools(apt, workshop: Path, tool: str) -> None:
    (apt.here / "bin" / tool).unlink()
    with pytest.raises(OSError, match=f"there is no {tool} here"):
        fetch.debian_package("some-package", workshop)
    assert apt.log == []


def test_an_apt_that_hangs_is_killed(apt, workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "APT_SECONDS", 0.3)
    apt.behave("hangs")
    start = time.monotonic()
    with pytest.raises(OSError, match=r"apt-get download: not done within 0.3 s"):
        fetch.debian_package("some-package", workshop)
    assert time.monotonic() - start < 5
    assert len(apt.log) == 1
    assert apt.helper is None or gone(apt.helper)


def test_ctrl_c_ends_apt_and_its_helpers(apt, workshop: Path) -> None:
    def interrupt(*_: object) -> None:
        if apt.helper:
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise KeyboardInterrupt

    apt.behave("hangs")
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    try:
        with pytest.raises(KeyboardInterrupt):
            fetch.debian_package("some-package", workshop)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert apt.helper is not None
    assert gone(apt.helper)
