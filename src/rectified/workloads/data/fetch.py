"""Fetching files: downloads with pooch, and Debian packages unpacked without root.

Both respect their time limits, and every failure is an OSError with a one-line message that says what was tried.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0  # without a single byte
APT_SECONDS = 300.0  # for one command
CHUNK = 1 << 20  # bytes
LIMIT = 1 << 30  # bytes of a download: the largest, CIFAR-10's, has 0.17 GB

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


def download(url: str, path: Path, md5: str | None = None) -> None:
    """Download `url` to the file `path`, through the proxies in the environment.

    Args:
        md5: the published checksum of the file, if any.

    Raises:
        OSError: there is no connection within CONNECT_SECONDS or no byte for READ_SECONDS; the response is truncated,
            an error, larger than LIMIT or has another checksum; or pooch is not installed. No file is left then.
    """
    try:
        import pooch  # type: ignore[import-untyped]
        from requests import RequestException
    except ImportError as error:
        raise OSError(f"{url}: a download needs {error.name}; pip install 'rectified[study]'") from None
    # Not pooch.retrieve, whose files only their owner can read, while a cache may be shared.
    get = pooch.HTTPDownloader(chunk_size=CHUNK, timeout=(CONNECT_SECONDS, READ_SECONDS))
    try:
        with path.open("wb") as file:
            get(url, _Limited(file), None)
        if md5 is not None and (found := pooch.file_hash(str(path), alg="md5")) != md5:
            raise OSError(f"its MD5 is {found}, the published one is {md5}")
    except BaseException as failure:
        path.unlink(missing_ok=True)
        if isinstance(failure, (OSError, RequestException)):
            raise OSError(f"{url}: {_cause(failure)}") from failure
        raise


class _Limited:
    """A file that accepts at most LIMIT bytes of a download, so that a server cannot fill the disk."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.flush = file, file.flush

    def write(self, content: bytes) -> int:
        if self.file.tell() + len(content) > LIMIT:
            raise OSError(f"it is larger than {LIMIT // 10**6:,} MB, which is too large for any of the data sets")
        return self.file.write(content)


def _cause(failure: Exception) -> str:
    """Why a download failed, without the messages of the libraries around it."""
    from requests import ConnectTimeout, HTTPError

    if isinstance(failure, HTTPError) and failure.response is not None:
        return f"{failure.response.status_code} {failure.response.reason}"
    if isinstance(failure, ConnectTimeout):
        return f"no connection within {CONNECT_SECONDS:g} s"
    cause = failure.args[0] if failure.args and isinstance(failure.args[0], Exception) else failure
    reason = str(getattr(cause, "reason", cause))
    return reason.partition("): ")[2] or reason  # what stands before names an object of urllib3's


def debian_package(name: str, workshop: Path) -> Path:
    """Download a package with apt and unpack it inside the folder `workshop`; return the folder that stands for /.

    This needs neither root nor apt's own package lists: if they are missing (in a fresh container) or outdated, lists
    are fetched into the workshop. Nothing is installed, and nothing is written outside of the workshop.

    Raises:
        OSError: there is no apt, it cannot get the package, or a command takes longer than APT_SECONDS.
    """
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise OSError(f"there is no {tool} here")
    for folder in ("lists/partial", "cache/archives/partial", "root"):
        (workshop / folder).mkdir(parents=True)
    (workshop / "apt.conf").write_text(APT_CONF)
    apt = ["apt-get", "-q", "-c", "apt.conf", "-o", f"Dir::Cache={workshop / 'cache'}"]
    own_lists = ["-o", f"Dir::State::Lists={workshop / 'lists'}"]
    reasons = []
    for title, command in {
        "apt-get download": [*apt, "download", name],
        "apt-get update": [*apt, *own_lists, "update"],
        "apt-get download with these lists": [*apt, *own_lists, "download", name],
    }.items():
        try:
            _run(title, command, workshop)
        except TimeoutError:  # where one command hangs, the next one would
            raise
        except OSError as reason:  # a dead repository fails the update, and may not matter to the package
            reasons.append(str(reason))
            continue
        if "download" in command:
            break
    else:
        raise OSError("; ".join(reasons))
    for package in workshop.glob("*.deb"):
        _run("dpkg-deb", ["dpkg-deb", "-x", package.name, "root"], workshop)
    return workshop / "root"


def _run(title: str, command: Sequence[str], folder: Path) -> None:
    """Run a command within APT_SECONDS; a failure raises an OSError with the command's own message."""
    # In its own session, so that a kill also reaches apt's helpers, which would continue to write.
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
        except BaseException as interruption:  # the time limit, or Ctrl-C
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
