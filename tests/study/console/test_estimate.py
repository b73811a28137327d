"""The plan: every run, the time, the disk, and nothing run, fetched or written."""

import io
import re

import pytest
from rich.console import Console

from rectified import cli
from rectified.study.analysis.results import Setting
from rectified.study.config.study import Study
from rectified.study.console import estimate
from rectified.study.runner import task_infos
from rectified.study.storage.records import Record
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
    time = re.search(
        r"time: about [\d.]+ (?:s|min|h) with 1 worker: (\d+ s|\d+ min) to start, ([\d.]+) (s|min|h) "
        r"of training; writing the report takes extra time",
        text,
    )
    disk = re.search(r"disk: about (\d+) (kB|MB) at the end, and (\d+) MB more while the study runs", text)
    seconds = float(time[2]) * {"s": 1, "min": 60, "h": 3600}[time[3]]
    return seconds, int(disk[1]) * {"kB": 1e3, "MB": 1e6}[disk[2]], int(disk[3]) * 1e6


@pytest.mark.slow
@pytest.mark.usefixtures("no_figures")
def test_a_plan_tells_what_the_study_then_takes(here, capsys):
    assert cli.main([*MINI, "--plan"]) == 0
    said = capsys.readouterr().out
    assert "6 runs, seeds 0, 1; in out" in said
    assert said.count("··") == 3
    assert "\ntiming a few steps of Fashion-MNIST, " in said, "no terminal: it says why nothing comes"
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
    assert "9 runs, seeds 0, 1, 2; 6 already finished; in out" in said
    assert "●●·" in said
    assert cli.main([*MINI, "--plan"]) == 0
    assert "time:" not in capsys.readouterr().out


def test_a_plan_fetches_nothing(here, monkeypatch, capsys):
    monkeypatch.setenv("RECTIFIED_CACHE", str(here / "cache"))
    monkeypatch.setattr(fashion_mnist, "SYSTEM", here)
    monkeypatch.setattr(fashion_mnist, "fetch", None)
    assert cli.main(["study", "fashion-mnist", "--plan"]) == 0
    said = capsys.readouterr().out
    assert "the data of Fashion-MNIST is not on this machine, so its time cannot be estimated yet" in said
    assert "36 runs, seeds 0, 1, 2; in runs/fashion-mnist" in said
    assert not cache.root().exists()


def test_a_plan_for_a_folder_that_holds_something_else(here, capsys):
    (here / "out").mkdir()
    (here / "out" / "thesis.tex").touch()
    assert cli.main([*MINI, "--plan"]) == 2
    assert "holds something that is not a study" in capsys.readouterr().err


def test_the_time_has_every_start_in_it(monkeypatch):
    """Two runs of ten seconds by one worker; and with ranks a start for each."""
    monkeypatch.setattr(estimate, "seconds_to_start", lambda: 7.0)
    runs = Study("fashion-mnist-mini", "adam", [0.1], [0, 1], epochs=2).runs()
    setting = Setting.of(runs[0].key, {(info.name, info.version): info for info in task_infos(runs)})
    records = {run.key: Record(run.key) for run in runs}
    settings = {run.key: setting for run in runs}
    cost = estimate.Cost(epoch=5.0, events=1, checkpoint=1, data=1, start=12.0)

    def said(ranks):
        console = Console(record=True, width=200, file=io.StringIO())
        estimate._print_costs(runs, records, settings, {setting: cost}, 1, console, ranks)
        return console.export_text().splitlines()[0]

    end = "; writing the report takes extra time"
    assert said(1) == f"time: about 32 s with 1 worker: 12 s to start, 20 s of training{end}"
    assert said(2) == (
        f"time: about 46 s with 1 worker: 12 s to start, 14 s for 2 starts of 2 ranks, 20 s of training{end}"
    )


def test_more_ranks_than_examples_are_refused_as_the_run_would(here, capsys):
    flags = ["--batch-sizes", "2", "--ranks", "3"]
    assert cli.main([*MINI, *flags]) == 2
    refused = capsys.readouterr().err
    assert "a batch of 2 has fewer examples than that" in refused
    assert cli.main([*MINI, *flags, "--plan"]) == 2
    assert capsys.readouterr() == ("", refused)


@pytest.mark.parametrize("plan", [[], ["--plan"]])
@pytest.mark.parametrize("task", ["language-model", "cifar10", "fashion-mnist", "translation", "my_task.py"])
def test_data_that_are_not_there_are_refused_in_one_line(task, plan, here, capsys):
    cli.main(["init", "my_task.py"])
    capsys.readouterr()
    (here / "notes.txt").write_text("to do")
    for place, says in (("nothere", "no such folder"), ("notes.txt", "neither a folder nor an archive")):
        assert cli.main(["study", task, "--out", "out", "--data", place, *plan]) == 2
        assert capsys.readouterr() == ("", f"rectified: {place}: {says}\n")
    assert not (here / "out").exists()


def test_a_table_of_the_paper_refuses_them_too(here, capsys):
    assert cli.main(["paper", "figure1", "--data", "nothere"]) == 2
    assert capsys.readouterr() == ("", "rectified: nothere: no such folder\n")


def test_a_folder_without_the_data_is_refused_before_anything_is_printed(here, capsys):
    (here / "empty").mkdir()
    assert cli.main(["study", "language-model", "--data", "empty", "--plan"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "empty does not hold WikiText-2" in err
