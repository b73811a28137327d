"""Elsewhere than on Linux: what needs POSIX says so in a line, and the rest does not need it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import rectified
from rectified import files
from rectified.bench.models import MODELS
from rectified.bench.run import _too_large
from rectified.study.executors import LocalExecutor
from rectified.study.runner import cores

# What Windows' Python lacks is taken away once the libraries, which know about it, are imported.
WINDOWS = """
import multiprocessing, os, signal, sys
import filelock, jinja2, matplotlib.pyplot, matplotlib.backends.backend_pdf, matplotlib.backends.backend_svg, numpy
import PIL.Image, rich.live, rich.progress, torch.utils.tensorboard, torch.distributed, torch.profiler, tyro
import multiprocessing.context, concurrent.futures.process
for name in ("fcntl", "grp", "pwd", "resource", "termios", "tty"):
    sys.modules[name] = None
for name in ("sched_getaffinity", "sysconf", "sysconf_names", "fork", "killpg", "getpgid", "setsid", "geteuid"):
    delattr(os, name)
for name in ("pthread_sigmask", "SIGKILL", "SIGALRM", "SIGSTOP", "SIGHUP", "SIGUSR1", "setitimer"):
    delattr(signal, name)
del multiprocessing.context._concrete_contexts["forkserver"], multiprocessing.context._concrete_contexts["fork"]
sys.platform = "win32"
from rectified.cli import main
sys.exit(main(sys.argv[1:]))
"""


def on_windows(*args, status=0):
    environment = {**os.environ, "PYTHONPATH": str(Path(rectified.__file__).parents[1])}
    command = [sys.executable, "-c", WINDOWS, *args]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == status, done.stderr
    return done


@pytest.mark.parametrize(
    "command",
    [
        ["study", "fashion-mnist-mini"],
        pytest.param(["paper", "figure1", "--scale", "cpu"], marks=pytest.mark.slow),
    ],
)
def test_studies_name_what_they_need_and_the_way_out(command, tmp_path):
    done = on_windows(*command, "--out", str(tmp_path / "out"), status=2)
    (line,) = done.stderr.splitlines()
    assert line.startswith("rectified: studies need Linux or macOS")
    assert "WSL" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_other_commands_begin_without_posix():
    assert "rectified theory" in on_windows("theory", "--help").stdout
    study = Path(__file__).parents[1] / "docs" / "studies" / "orders"
    assert " done" in on_windows("status", str(study)).stdout


@pytest.mark.slow
def test_theory_and_reports_are_made_without_posix(tmp_path):
    on_windows("theory", "--out", str(tmp_path / "theory"), "--paths", "100", "--steps", "20")
    assert (tmp_path / "theory" / "theory.html").exists()
    shutil.copytree(Path(__file__).parents[1] / "docs" / "studies" / "orders", tmp_path / "orders")
    on_windows("report", str(tmp_path / "orders"))
    assert not list((tmp_path / "orders").rglob(".lock"))


def test_an_executor_is_refused_as_the_command_is(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ValueError, match="on Windows use WSL"):
        LocalExecutor(1)


def test_no_temporary_of_another_process_is_swept_where_asking_would_interrupt_it(tmp_path, monkeypatch):
    (tmp_path / f".x.json.{'0' * 16}.rectified-99999999").touch()
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(os, "kill", None)
    files.sweep(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def test_cores_are_counted_where_the_system_does_not_tell_which(monkeypatch):
    assert 1 <= cores() <= os.cpu_count()
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert cores() == os.cpu_count()


def test_a_model_is_taken_to_fit_where_the_system_does_not_tell(monkeypatch):
    monkeypatch.setitem(MODELS, "huge", lambda: [(2**50,)])
    if "SC_AVPHYS_PAGES" in os.sysconf_names:
        assert "GiB" in _too_large("huge", "cpu")
    monkeypatch.setattr(os, "sysconf_names", {"SC_PAGE_SIZE": 30})
    assert _too_large("huge", "cpu") is None
