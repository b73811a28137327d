"""How a study stands is read from its folder alone, whether it runs, was killed or is done."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from made_by_hand import add
from rectified import cli
from rectified.study.analysis.results import StudyResults
from rectified.study.config.runs import RunKey
from rectified.study.console.status import mixtures, print_status, standing
from rectified.study.execution.checkpoint import NAME
from rectified.study.storage.locks import locked
from rectified.study.storage.records import Record
from rectified.study.storage.store import Store, write_json

HEAD = {"task": "fashion-mnist-mini", "epochs": 4, "batch_size": 100}
RUNS = [RunKey(method=method, lr=0.1, seed=seed, **HEAD) for method in ("adam", "sgd") for seed in (0, 1, 2)]


@pytest.fixture
def store(tmp_path):
    """One run done, one diverged, one failed, one running (the lock is held), one interrupted, one not begun."""
    store = Store(tmp_path / "study")
    store.out.mkdir()
    add(store, RUNS, "rectified study fashion-mnist-mini")
    for run, epochs in zip(RUNS, (4, 2, 1, 3, 2), strict=False):
        folder = store.folder(run)
        folder.mkdir(parents=True)
        rows = [{"epoch": epoch, "step": 60 * epoch, "test_accuracy": 80.0} for epoch in range(1, epochs + 1)]
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ends = ({"status": "done", "seconds": 40.0}, {"status": "diverged", "seconds": 20.0})
    for run, end in zip(RUNS, (*ends, {"status": "failed", "error": "Traceback\nValueError: no"}), strict=False):
        write_json(store.folder(run) / "done.json", end)
    (store.folder(RUNS[4]) / NAME).touch()
    with (store.folder(RUNS[3]) / "rows.jsonl").open("a") as rows:
        rows.write('{"epoch": 4, "st')  # being written
    with locked(store.folder(RUNS[3]), wait=False):
        yield store


def standings(store, runs):
    running = [store.running(run) for run in runs]
    results = StudyResults.read(store)
    return [standing(store, results, run, here) for run, here in zip(runs, running, strict=True)]


def said(store):
    console = Console(record=True, width=150, file=io.StringIO())
    return print_status(store, console), console.export_text()


def test_every_state_is_told(store):
    states = standings(store, RUNS)
    assert [here.state for here in states] == ["done", "diverged", "failed", "running", "waiting", "waiting"]
    assert [len(here.rows) for here in states] == [4, 2, 0, 3, 2, 0]
    status, text = said(store)
    assert status == 1
    assert "6 runs: 1 done, 1 diverged, 1 failed, 1 running, 2 waiting" in text
    assert "failed: adam lr 0.1 seed 2: ValueError: no" in text
    assert "running: sgd lr 0.1 seed 0: epoch 4 of 4, last written 0 s ago" in text
    assert "interrupted: sgd lr 0.1 seed 1: epoch 3 of 4, last written 0 s ago" in text
    # 60 s for 6 epochs; left are 4 of the failed, 1 of the running, 2 of the interrupted, 4
    assert "finished runs took 60 s in total; about 2 min left" in text
    assert "nothing runs" not in text
    assert "numbers: test accuracy, %, mean over seeds" in text


def test_reading_changes_nothing_and_a_truncated_end_is_no_end(store):
    (store.folder(RUNS[0]) / "done.json").write_text('{"status": "do')
    before = {path: path.stat().st_mtime_ns for path in store.out.rglob("*")}
    assert "1 diverged, 1 failed, 1 running, 3 waiting" in said(store)[1]
    assert {path: path.stat().st_mtime_ns for path in store.out.rglob("*")} == before


@pytest.mark.parametrize("name", ["fashion-mnist", "large-gradients", "orders"])
def test_committed_studies_are_still_done(name):
    status, text = said(Store.open(Path(__file__).parents[3] / "docs" / "studies" / name))
    assert status == 0
    assert "waiting," not in text
    assert " failed" not in text.replace("! failed", "")
    assert "left" not in text


def test_of_a_study_that_is_not_there(tmp_path, capsys):
    assert cli.main(["status", str(tmp_path)]) == 2
    assert "is not a study" in capsys.readouterr().err


@pytest.mark.slow
def test_a_running_study_and_a_killed_one(tmp_path):
    out = tmp_path / "out"
    axes = ["--methods", "adam,sgd", "--lrs", "0.01", "--seeds", "0", "--epochs", "40", "--workers", "1"]
    command = [sys.executable, "-m", "rectified.cli", "study", "fashion-mnist-mini", *axes, "--out", str(out)]
    study = subprocess.Popen([*command, "--checkpoint-every", "0.1"], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(out.glob(f"runs/*/{NAME}")):
        assert study.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    store = Store.open(out)
    assert [here.state for here in standings(store, store.runs())] == ["running", "waiting"]
    assert said(store)[0] == 0
    # The second study is refused; the first does not notice.
    second = subprocess.run(command, capture_output=True, text=True)
    assert second.returncode == 2
    assert "is in use by another study" in second.stderr
    assert study.poll() is None
    os.kill(study.pid, signal.SIGKILL)
    study.wait()
    while standings(store, store.runs())[0].state == "running":  # its worker dies of it
        assert time.monotonic() < deadline
        time.sleep(0.05)
    text = said(store)[1]
    assert "interrupted: adam lr 0.01 seed 0: epoch " in text
    assert "nothing is running; continue with: rectified study fashion-mnist-mini" in text


def test_a_mixture_of_versions_is_named_with_its_counts():
    def record(seed, **versions):
        return Record(RunKey("fashion-mnist-mini", "adam", 0.1, seed, 4, 100), "done", versions=versions)

    assert mixtures([record(0, torch="2.13", commit="a"), record(1, torch="2.13", commit="a")]) == []
    assert mixtures([record(0, torch="2.13"), record(1, torch="2.14"), record(2, torch="2.14")]) == [
        "note: runs used different versions: torch 2.13 (1 run), 2.14 (2 runs); see timings.csv for each run"
    ]
    assert "ranks 1 (1 run), 2 (1 run);" in mixtures([record(0, torch="2"), record(1, torch="2", ranks="2")])[0]
    assert "commit a then b (1 run)" in mixtures([record(0, commit="a then b")])[0]
