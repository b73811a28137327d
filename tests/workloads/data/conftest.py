"""A small world for the data: a web server and an apt-get that do as they are told, and no way to the real ones."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rectified.workloads.data.images import fashion_mnist_files


@dataclass
class Web:
    """What the server gives for a path, how it misbehaves, and what it was asked for."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    manner: str = "whole"  # or "cut", "cut chunk", "reset", "silent"
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            name = self.path.lstrip("/")
            web.asked.append(name)
            self.close_connection = True
            if web.manner == "silent":
                over.wait(10)
            elif name not in web.files:
                self.send_error(404)
            elif web.manner == "cut chunk":
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"ff\r\nfar from 255 bytes")
            else:
                body = web.files[name]
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body if web.manner == "whole" else body[: len(body) // 2])
                if web.manner == "reset":
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        web = Web(f"http://127.0.0.1:{server.server_port}/")
        yield web
        over.set()
        server.shutdown()
        thread.join()


APT_GET = """#!/bin/sh
PATH=/usr/bin:/bin
here={here}
echo "$@" >> $here/log
for last; do case $last in Dir::State::Lists=*) lists=${{last#*=}} ;; esac; done
case "$(cat $here/manner) $last" in
    "hangs "*) sleep 60 & echo $! > {here}/helper; wait ;;
    "dead "*) echo "Reading lists..."; echo "E: the network is down"; echo "E: so that was that"; exit 100 ;;
    "no lists update") touch "${{lists:?}}/fetched"
        echo "E: one of the repositories is dead"; exit 100 ;;  # and yet the lists that matter are there
    "old lists update") touch "${{lists:?}}/fetched" ;;
    "old lists "*|"no lists "*)
        test -n "$lists" -a -e "$lists/fetched" || {{ echo "E: Unable to locate package $last"; exit 100; }}
        echo deb > "$last"_1_all.deb ;;
    *) echo deb > "$last"_1_all.deb ;;
esac
"""

DPKG_DEB = """#!/bin/sh
PATH=/usr/bin:/bin
test "$1" = -x && test "$(cat "$2")" = deb || exit 2
mkdir -p "$3/{place}"
cp {here}/package/* "$3/{place}"
"""


@dataclass
class Apt:
    """A stub apt-get: `package` holds what its package does; `manner` is a case of APT_GET, or ""."""

    here: Path

    @property
    def package(self) -> Path:
        return self.here / "package"

    @property
    def log(self) -> list[str]:
        return (self.here / "log").read_text().splitlines()

    @property
    def helper(self) -> int | None:
        """The process that a hanging apt-get has started by now."""
        with suppress(FileNotFoundError, ValueError):
            return int((self.here / "helper").read_text())
        return None

    def behave(self, manner: str) -> None:
        (self.here / "manner").write_text(manner)


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Apt:
    """A PATH with nothing on it but the stubs."""
    here = tmp_path / "apt"
    (here / "bin").mkdir(parents=True)
    (here / "package").mkdir()
    for name, text in (("apt-get", APT_GET), ("dpkg-deb", DPKG_DEB)):
        (here / "bin" / name).write_text(text.format(here=here, place=fashion_mnist_files.PLACE))
        (here / "bin" / name).chmod(0o755)
    (here / "manner").write_text("")
    (here / "log").write_text("")
    monkeypatch.setenv("PATH", str(here / "bin"))
    return Apt(here)
