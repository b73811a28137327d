"""The benchmark of image training on a GPU, rehearsed on the CPU: its settings, numbers and table."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "benchmarks" / "gpu"))
import image_training as bench

from rectified.workloads.tasks import parse_task


@pytest.fixture
def small(monkeypatch):
    """Batches of 16 pictures, which a CPU trains on in a tenth of a second."""
    monkeypatch.setattr(bench, "BATCH", 16)
    monkeypatch.setattr(bench, "TRAINED", 4000)
    monkeypatch.setattr(bench, "TESTED", 1000)


@pytest.mark.usefixtures("small")
def test_a_rehearsal_measures_and_projects(tmp_path, monkeypatch, capsys):
    out = tmp_path / "out.json"
    monkeypatch.setattr(sys, "argv", ["image_training.py", str(out), "--device", "cpu", "--seconds", "0.1"])
    assert bench.main() == 0
    found, printed = json.loads(out.read_text()), capsys.readouterr().out
    assert found["failed"] == {}
    assert list(found["settings"]) == ["float32", "float32, channels_last", "bfloat16, channels_last"]
    for name, t in found["settings"].items():
        assert t["rounds"] >= 2
        assert t["images_per_s"] == pytest.approx(16e3 / t["step_ms"])
        assert t["minutes"] == pytest.approx(164 * (250 * t["step_ms"] / 1000 + t["evaluation_s"]) / 60)
        assert re.search(rf"^\| {re.escape(name)} \| [\d,]+ \|", printed, re.MULTILINE)
    assert found["settings"]["float32"]["speedup"] == 1


def test_its_settings_are_tasks_and_the_projection_is_of_the_papers_recipe():
    for setting in bench.SETTINGS:
        task = parse_task(f"cifar10({setting.options})")
        assert (task.images, task.epochs, task.batch_size) == (bench.TRAINED, bench.EPOCHS, bench.BATCH)
    assert len({setting.name for setting in bench.SETTINGS}) == len(bench.SETTINGS)


@pytest.mark.usefixtures("small")
def test_a_setting_that_fails_is_named_and_the_others_are_measured(tmp_path, monkeypatch, capsys):
    settings = (bench.Setting("good"), bench.Setting("bad", "autocast=float64"))
    monkeypatch.setattr(bench, "SETTINGS", settings)
    monkeypatch.setattr(sys, "argv", ["image_training.py", str(tmp_path / "o"), "--device", "cpu", "--seconds", "0"])
    assert bench.main() == 1
    printed = capsys.readouterr().out
    assert "Failed: bad: ValueError: autocast is 'float64'" in printed
    assert "| good |" in printed


def test_without_what_the_tasks_need_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "NEEDED", ("PIL", "no_such_module"))
    monkeypatch.setattr(sys, "argv", ["image_training.py", str(tmp_path / "o"), "--device", "cpu"])
    assert bench.main() == 0
    assert capsys.readouterr().out.startswith("Skipped: the tasks need no_such_module")


def test_a_loss_that_is_not_finite_ends_a_setting():
    data, _ = bench.pictures(None, "cpu")
    arm = bench.Arm(bench.Setting("any"), data, "cpu")
    arm.batches = iter([(torch.full((2, 3, 32, 32), torch.nan), torch.zeros(2, dtype=torch.long))])
    with pytest.raises(ArithmeticError, match="the loss is nan after 0 steps"):
        arm.step()
