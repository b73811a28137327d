"""A study's folder from a stranger: reading it runs nothing of theirs, and touches nothing outside of it."""

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import rectified
from made_by_hand import unpack
from rectified import cli
from rectified.study.storage import validation
from rectified.study.storage.archive import NAME

SOURCE = Path(__file__).parents[2] / "docs" / "studies" / "orders"
PLANTED = ("planted", "planted_task", "scipy", "jinja2", "matplotlib", "tensorboard", "rich", "cloudpickle", "yaml")
METHODS = [
    "planted.Evil",
    "planted.Evil(lr=0.1)",
    "adam+planted.Evil(3)",
    "matched-lr(planted.Evil)",
    "torch.optim.planted.Evil",
    "torch.optim.lr_scheduler.planted",
    "torch.optim..planted.Evil",
    "adam(warmup=planted.Evil)",
    "adam(eps=__import__('planted'))",
    "./planted.py:Evil",
]
TASKS = ["planted_task.py", "planted_task.py:TASK", "planted:TASK", "language-model(data=planted)", "planted.TASK(x=1)"]


def state(folder):
    """Names, kinds and contents below a folder, and when each last changed."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in sorted(folder.rglob("*"))
    }


def _plant_in_archive(path, place):
    """Runs of planted methods and tasks, and files that would lie elsewhere, each with the digest of its line."""
    head, first, *rest = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    value = json.loads(first)
    named = [{"method": method} for method in METHODS] + [{"task": task} for task in TASKS]
    runs = [{**value, "run": {**value["run"], **each}} for each in named]
    names = ("../../outside/thesis.tex", str(place / "ran"), "checkpoint.pt", "__init__.py", "\x1b]0;owned\x07")
    runs += [{**value, "files": {**value["files"], name: "cos\nsystem\n(S'touch ran'\ntR."}} for name in names]
    planted = [json.dumps({**each, "sha256": validation.digest(each)}).encode() + b"\n" for each in runs]
    path.write_bytes(gzip.compress(b"".join([head, *planted, first, *rest])))


@pytest.fixture
def received(tmp_path):
    """A folder with planted modules, pickles and links, next to one that is none of its business."""
    outside, out = tmp_path / "outside", tmp_path / "received"
    outside.mkdir()
    (outside / "thesis.tex").write_text("years of work")
    (outside / "figures").mkdir()
    (outside / "figures" / "mine.svg").write_text("mine")
    (outside / "run").mkdir()
    (outside / "run" / "checkpoint.pt").write_text("mine")
    shutil.copytree(SOURCE, out)
    _plant_in_archive(out / NAME, tmp_path)
    shutil.copyfile(out / NAME, tmp_path / "planted.gz")
    shutil.copyfile(SOURCE / NAME, out / NAME)
    unpack(out)
    shutil.copyfile(tmp_path / "planted.gz", out / NAME)
    shutil.rmtree(out / "figures", ignore_errors=True)
    for name in PLANTED:
        (out / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})\nTASK = Evil = None\n")
    path = out / "study.json"
    study = json.loads(path.read_text())
    runs = study["cells" if "cells" in study else "runs"]
    named = [{**runs[0], "method": method} for method in METHODS] + [{**runs[0], "task": task} for task in TASKS]
    runs.extend(named)
    study["commands"] = [*study["commands"], "rectified study planted_task.py --baseline planted.Evil \x1b]0;owned\x07"]
    path.write_text(json.dumps(study))
    folders = sorted(path for path in (out / ("cells" if (out / "cells").is_dir() else "runs")).iterdir())
    shutil.rmtree(folders[0])
    folders[0].symlink_to(outside / "run")
    for folder, name in zip(folders[1:5], ("done.json", "rows.jsonl", ".lock", "checkpoint.pt"), strict=True):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(outside / "thesis.tex")
    (folders[5] / "rows.jsonl").unlink()
    os.mkfifo(folders[5] / "rows.jsonl")
    (folders[6] / "checkpoint.pt").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    (out / ".lock").unlink(missing_ok=True)
    (out / ".lock").symlink_to(outside / "new")
    for name in ("report.html", "results.csv"):
        (out / name).unlink(missing_ok=True)
        (out / name).symlink_to(outside / "thesis.tex")
    (out / "figures").symlink_to(outside / "figures")
    return out


@pytest.mark.parametrize("command", ["status", "report", "export"])
def test_reading_it_imports_nothing_and_writes_nowhere_else(command, received, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(received)
    before, paths = state(tmp_path / "outside"), list(sys.path)
    modules = set(sys.modules)
    status = cli.main([command, "."])
    said = "".join(capsys.readouterr())
    assert status in ((2,) if command == "report" else (0, 1))
    assert state(tmp_path / "outside") == before
    assert not (tmp_path / "ran").exists()
    assert not {name for name in set(sys.modules) - modules if name.partition(".")[0].startswith("planted")}
    assert sys.path == paths, "what is imported later might be the folder's"
    assert "\x1b" not in said
    if command == "report":
        assert "a link; figures are not written through links" in said
        assert not (received / "report.html").is_symlink()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["status", "report", "export"])
def test_so_it_is_in_a_process_of_its_own(command, received, tmp_path):
    before = state(tmp_path / "outside")
    environment = {**os.environ, "PYTHONPATH": str(Path(rectified.__file__).parents[1])}
    call = [sys.executable, "-P", "-m", "rectified.cli", command, "."]
    done = subprocess.run(call, cwd=received, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode in ((2,) if command == "report" else (0, 1)), done.stderr
    assert "Traceback" not in done.stderr
    assert state(tmp_path / "outside") == before
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("command", ["status", "export", "pack"])
def test_nor_does_a_received_archive(command, tmp_path, capsys, monkeypatch):
    """With nothing but its archive, of which the runs are read that are what they seem."""
    out, outside = tmp_path / "received", tmp_path / "outside"
    outside.mkdir()
    (outside / "thesis.tex").write_text("years of work")
    shutil.copytree(SOURCE, out)
    for name in PLANTED:
        (out / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})\nTASK = Evil = None\n")
    _plant_in_archive(out / NAME, tmp_path)
    before, modules = state(outside), set(sys.modules)
    monkeypatch.chdir(out)
    status = cli.main([command, "."])
    said = "".join(capsys.readouterr())
    assert status == (2 if command == "pack" else 0)
    assert "line 17 is left out: radam" in said
    assert "has a file '../../outside/thesis.tex'" in said
    assert "\x1b" not in said
    assert not (tmp_path / "ran").exists()
    assert not {name for name in set(sys.modules) - modules if name.partition(".")[0].startswith("planted")}
    assert state(outside) == before
    assert not (out / "cells").exists()
    assert not (out / "runs").exists()
    if command == "status":
        assert "160 done" in said
