"""A terminal that knows few characters, or that goes away, ends no command."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

import rectified
from rectified.cli import main

SOURCES = str(Path(rectified.__file__).parents[1])
STUDY = Path(__file__).parents[2] / "docs" / "studies" / "fashion-mnist"


def called(*arguments, encoding="utf-8", **options):
    environment = {**os.environ, "PYTHONPATH": SOURCES, "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "rectified.cli", *map(str, arguments)]
    return subprocess.run(command, env=environment, stderr=subprocess.PIPE, timeout=120, check=False, **options)


@pytest.mark.parametrize(
    "encoding", ["ascii", *(pytest.param(name, marks=pytest.mark.slow) for name in ("cp1252", "latin-1"))]
)
def test_a_terminal_that_is_not_utf_8_gets_plain_characters(encoding):
    done = called("status", STUDY, encoding=encoding, stdout=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode(encoding)
    assert "ooooo 88." in text
    assert "o done" in text
    assert "?" not in text


def test_utf_8_keeps_every_character():
    done = called("status", STUDY, stdout=subprocess.PIPE)
    assert "●●●●● 88." in done.stdout.decode()


def test_a_reader_who_leaves_ends_nothing():
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = called("export", STUDY, "--format", "csv", stdout=writing)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_closed_stdout_ends_nothing():
    command = f'"{sys.executable}" -m rectified.cli status "{STUDY}" >&-'
    environment = {**os.environ, "PYTHONPATH": SOURCES}
    done = subprocess.run(["sh", "-c", command], env=environment, stderr=subprocess.PIPE, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_full_disk_behind_stdout_is_said():
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with Path("/dev/full").open("w") as full:
        done = called("export", STUDY, "--format", "csv", stdout=full)
    assert done.returncode == 1
    assert done.stderr.startswith(b"rectified: no space left on the disk")


def test_the_version_is_one_line():
    done = called("--version", stdout=subprocess.PIPE)
    assert done.stdout.decode().startswith(f"rectified {rectified.__version__}, torch ")


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, capsys):
    """As root one may write everywhere, so that the system's refusal is imitated."""

    def refuse(path, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert main(["verdict", str(STUDY / "results.csv"), "--metric", "test_accuracy", "--out", str(tmp_path / "x")]) == 2
    said = capsys.readouterr().err
    assert (
        said == f"rectified: {tmp_path / 'x'}: Permission denied; choose another location, or make this one writable\n"
    )


def test_an_out_below_a_file_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["theory", "--out", str(tmp_path / "file" / "x"), "--paths", "100"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "Not a directory" in said
