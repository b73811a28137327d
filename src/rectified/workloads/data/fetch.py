"""Two ways to get files from elsewhere: a download, and a Debian package unpacked without root.

Both are in time or fail, and every failure is an OSError that says what happened.
"""

import http.client
import os
import queue
import shutil
import signal
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0  # without a single byte
APT_SECONDS = 300.0  # for one command

APT_CONF = """\
// The hooks of the system's own updates (clean-ups, messages to desktops) must not run for a private one.
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
// As root, apt would fetch as a user of its own, who may not enter our folder.
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::http::Timeout "10";
Acquire::https::Timeout "10";
"""


def download(url: str, path: Path) -> None:
    """Write what `url` answers to `path`; proxies as the environment says."""
    opener = urllib.request.build_opener(_PatientReader())
    try:
        with opener.open(url, timeout=READ_SECONDS) as answer, path.open("wb") as file:
            shutil.copyfileobj(answer, file)
            promised = answer.headers.get("Content-Length", "")
            received = file.tell()
    except urllib.error.HTTPError as refusal:
        with refusal:
            raise OSError(f"{url}: {refusal.code} {refusal.reason}") from None
    except (OSError, http.client.HTTPException) as failure:
        raise OSError(f"{url}: {failure}") from failure
    if promised.isdecimal() and received != int(promised):
        raise OSError(f"{url}: cut off after {received} of {promised} bytes")


def debian_package(name: str, workshop: Path) -> Path:
    """Let apt download the package, unpack it inside the folder `workshop`; the folder that stands for /.

    Neither root nor apt's own package lists are needed: where they are missing (a fresh container) or old,
    lists of our own are fetched into the workshop. Nothing is installed, and nothing outside is written.
    """
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise OSError(f"there is no {tool} here")
    for folder in ("lists/partial", "cache/archives/partial", "root"):
        (workshop / folder).mkdir(parents=True)
    (workshop / "apt.conf").write_text(APT_CONF)
    apt = ["apt-get", "-q", "-c", "apt.conf", "-o", f"Dir::Cache={workshop / 'cache'}"]
    own_lists = ["-o", f"Dir::State::Lists={workshop / 'lists'}"]
    reasons: list[str] = []

    def works(title: str, *command: str) -> bool:
        try:
            _run(title, command, workshop)
        except TimeoutError:  # where one command hangs, the next would
            raise
        except OSError as reason:
            reasons.append(str(reason))
            return False
        return True

    if not works("apt-get download", *apt, "download", name):
        # One dead repository of many fails the update, and may not matter: it is the second download that counts.
        works("apt-get update", *apt, *own_lists, "update")
        if not works("apt-get download with these lists", *apt, *own_lists, "download", name):
            raise OSError("; ".join(reasons))
    for package in workshop.glob("*.deb"):
        _run("dpkg-deb", ["dpkg-deb", "-x", package.name, "root"], workshop)
    return workshop / "root"


def _run(title: str, command: Sequence[str], folder: Path) -> None:
    """Run to success within APT_SECONDS, else OSError with the command's own words."""
    # In a session of its own, so that the kill reaches apt's helpers as well: they would go on writing.
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=APT_SECONDS)
        except BaseException as interruption:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()  # Popen itself does not wait once more after a Ctrl-C
            if isinstance(interruption, subprocess.TimeoutExpired):
                raise TimeoutError(f"{title}: not done within {APT_SECONDS:g} s") from None
            raise
    if process.returncode != 0:
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        causes = [line for line in lines if line.startswith("E:")]  # of apt's errors, the first causes the rest
        words = [*causes[:1], *lines[-1:], "it said nothing"][0]
        raise OSError(f"{title}: {words} (exit status {process.returncode})")


class _PatientReader(urllib.request.HTTPHandler):
    """urllib has one time limit for everything; ours connects quickly or not at all, then is patient."""

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, req)


class _Connection(http.client.HTTPConnection):
    """Has CONNECT_SECONDS in all: neither the look-up of a name nor a host's many addresses prolong it."""

    def connect(self) -> None:
        outcomes: queue.SimpleQueue[socket.socket | OSError] = queue.SimpleQueue()

        def dial() -> None:
            try:
                outcomes.put(socket.create_connection((self.host, self.port), CONNECT_SECONDS))
            except OSError as failure:
                outcomes.put(failure)

        # A look-up cannot be interrupted, only left behind: hence a thread, and a daemon.
        threading.Thread(target=dial, daemon=True).start()
        try:
            outcome = outcomes.get(timeout=CONNECT_SECONDS)
        except queue.Empty:
            raise TimeoutError(f"no connection within {CONNECT_SECONDS:g} s") from None
        if isinstance(outcome, OSError):
            raise outcome
        outcome.settimeout(self.timeout)
        self.sock = outcome
