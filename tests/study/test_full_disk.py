"""A full disk stops a study with a clear word; what is there stays whole, and the study goes on when there is room."""

import errno
import io
import os
import subprocess
from pathlib import Path

import pytest
from mini_runs import DATA, MINI
from rich.console import Console

from rectified.study import Study
from rectified.study.execution.execute import execute
from rectified.study.execution.limits import Limits
from rectified.study.executors import LocalExecutor
from rectified.study.runner import run_study
from rectified.study.storage import store as store_module

STUDY = Study("fashion-mnist-mini", "adam", 0.01, 0, epochs=2, batch_sizes=100)


def study(out):
    """Its exit status and what it said."""
    console = Console(width=400, record=True, file=io.StringIO())
    limits = Limits(checkpoint_every=0.1)
    status = run_study(STUDY, out, LocalExecutor(1), "rectified study ...", console, limits)
    return status, console.export_text()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 16 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs to mount a small file system")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("no_figures")
def test_a_worker_that_finds_the_disk_full_stops_the_study_and_it_goes_on_with_room(small_disk, tmp_path):
    out = small_disk / "out"
    bystander = small_disk / "thesis.tex"
    bystander.write_text("years of work")
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(os.statvfs(small_disk).f_bavail * 4096 - 300_000))  # less than a checkpoint

    status, said = study(out)
    assert status == 1
    assert f"the disk of {out} is full" in said
    assert "continue with: rectified study ..." in said
    assert bystander.read_text() == "years of work"
    left = [path for path in out.rglob("*") if path.is_file()]
    assert not [path for path in left if path.name.startswith(".") and path.name != ".lock"]

    ballast.unlink()
    assert study(out)[0] == 0
    list(execute(STUDY.runs()[0], MINI.load(DATA[MINI.name]), tmp_path / "undisturbed"))
    assert next(out.glob("runs/*/rows.jsonl")).read_bytes() == (tmp_path / "undisturbed" / "rows.jsonl").read_bytes()


@pytest.mark.parametrize("name", ["study.json", pytest.param("results.csv", marks=pytest.mark.slow)])
def test_the_parent_says_it_too(name, tmp_path, monkeypatch):
    write = store_module.write

    def full(path: Path, content):
        if path.name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(store_module, "write", full)
        status, said = study(tmp_path / "out")
        with pytest.raises(OSError, match="No space left"):  # Python is not told of it by a status
            STUDY.run(tmp_path / "out", workers=1, progress=False)
    assert status == 1
    assert f"{name}'): stopped" in said
    assert "continue with: rectified study ..." in said
    assert study(tmp_path / "out")[0] == 0
