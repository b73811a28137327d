"""The plan: every run, the time, the disk, and nothing run, fetched or written."""

import re

import pytest

from rectified import cli
from rectified.workloads.data import cache
from rectified.workloads.data.images import fashion_mnist_files as fashion_mnist

MINI = ["study", "fashion-mnist-mini", "--methods", "adam,sgd(lr=0.5)", "--lrs", "0.01,0.1", "--seeds", "0,1"]
MINI += ["--epochs", "2", "--workers", "1", "--out", "out"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(text):
    """Seconds and bytes."""
    time = re.search(r"time: about ([\d.]+) (s|min|h), by 1 worker at once", text)
    disk = re.search(r"disk: about (\d+) (kB|MB) in the end, and (\d+) MB more while it runs", text)
    seconds = float(time[1]) * {"s": 1, "min": 60, "h": 3600}[time[2]]
    return seconds, int(disk[1]) * {"kB": 1e3, "MB": 1e6}[disk[2]], int(disk[3]) * 1e6


def test_a_plan_tells_what_the_study_then_takes(here, capsys):
    assert cli.main([*MINI, "--plan"]) == 0
    said = capsys.readouterr().out
    assert "6 runs, seeds 0, 1; in out" in said
    assert said.count("··") == 3
    assert not list(here.iterdir())
    seconds, disk, meanwhile = told(said)

    assert cli.main(MINI) == 0
    capsys.readouterr()
    took = sum(float(line.split(",")[1]) for line in (here / "out/timings.csv").read_text().splitlines()[1:])
    left = sum(path.stat().st_size for path in here.glob("out/runs/*/events*"))
    assert took / 10 < seconds < 10 * took, "an order of magnitude: machines are noisy"
    assert 0.7 < disk / left < 1.3
    assert 5e6 < meanwhile < 8e6, "6,000 + 1,000 pictures of 784 bytes, and a small model's checkpoints"

    assert cli.main([*MINI, "--seeds", "0,1,2", "--plan"]) == 0
    said = capsys.readouterr().out
    assert "9 runs, seeds 0, 1, 2; 6 are there already; in out" in said
    assert "●●·" in said
    assert cli.main([*MINI, "--plan"]) == 0
    assert "time:" not in capsys.readouterr().out


def test_a_plan_fetches_nothing(here, monkeypatch, capsys):
    monkeypatch.setenv("RECTIFIED_CACHE", str(here / "cache"))
    monkeypatch.setattr(fashion_mnist, "SYSTEM", here)
    monkeypatch.setattr(fashion_mnist, "fetch", None)
    assert cli.main(["study", "fashion-mnist", "--plan"]) == 0
    said = capsys.readouterr().out
    assert "the data of Fashion-MNIST is not on this machine; its time is not known before it is" in said
    assert "36 runs, seeds 0, 1, 2; in runs/fashion-mnist" in said
    assert not cache.root().exists()


def test_a_plan_for_a_folder_that_holds_something_else(here, capsys):
    (here / "out").mkdir()
    (here / "out" / "thesis.tex").touch()
    assert cli.main([*MINI, "--plan"]) == 2
    assert "holds something that is not a study" in capsys.readouterr().err
