"""A run that ended without its metric has failed for everybody: verdict, page, console, status, export, paper."""

import csv
import json
from dataclasses import replace

import pytest

from made_by_hand import add
from rectified import cli
from rectified.study import InvalidOption, Study, StudyResults
from rectified.study.paper.catalog import EXPERIMENTS, Scaled
from rectified.study.paper.result_files import write_result
from rectified.study.storage.store import Store, write_json

STUDY = Study("fashion-mnist-mini", "adam,radam", 0.1, [0, 1], epochs=1)
WHY = "the run ended, but test_accuracy is nan after the last epoch"


@pytest.fixture
def store(tmp_path):
    """Four runs that are done by their own word; the last one's metric is NaN."""
    store = Store(tmp_path / "study")
    store.out.mkdir()
    runs = [run.key for run in STUDY.runs()]
    add(store, runs)
    for run, accuracy in zip(runs, (80.0, 81.0, 85.0, float("nan")), strict=True):
        folder = store.folder(run)
        folder.mkdir(parents=True)
        row = {"epoch": 1, "step": 60, "train_loss": 0.5, "test_accuracy": accuracy, "test_loss": 0.5}
        (folder / "rows.jsonl").write_text(json.dumps(row) + "\n")
        write_json(folder / "done.json", {"status": "done", "step": 60, "seconds": 1.0, "attempts": 1})
    return store


def statuses(text):
    return [row["status"] for row in csv.DictReader(text.splitlines())]


def test_it_is_failed_in_the_results_and_in_the_verdict(store):
    results = StudyResults.read(store)
    assert [record.status for record in results.records] == ["done", "done", "done", "failed"]
    assert results.records[-1].reason == WHY
    assert "1 of 4 runs has no result yet (1 failed), so all of this may change." in results.settings[0].verdict.runs
    assert statuses(results.csv()) == ["done", "done", "done", "failed"]


def test_it_is_failed_in_the_status(store, capsys):
    assert cli.main(["status", str(store.out)]) == 1
    said = capsys.readouterr().out
    assert "4 runs: 3 done, 1 failed" in said
    assert f"failed: radam lr 0.1 seed 1: {WHY}" in said


def test_it_is_failed_in_the_report_and_its_tables(store):
    assert cli.main(["report", str(store.out)]) == 0
    assert WHY in (store.out / "report.html").read_text()
    assert statuses((store.out / "results.csv").read_text()) == ["done", "done", "done", "failed"]


@pytest.mark.parametrize("kind", ["csv", "markdown", "latex"])
def test_it_is_failed_in_what_is_exported(store, kind, capsys):
    assert cli.main(["export", str(store.out), "--format", kind]) == 0
    said = capsys.readouterr().out
    assert "failed" in said
    assert "nan" not in said.replace(WHY, "")


def test_it_is_unfinished_in_a_table_of_the_paper(store):
    found = EXPERIMENTS["table2"]
    grid = {"tasks": "fashion-mnist-mini", "methods": "adam,radam", "lrs": (0.1,), "seeds": (0, 1), "epochs": 1}
    small = replace(found, runs={"cpu": Scaled(grid, "everything")}, picture="robustness")
    write_result(small, "cpu", store, STUDY)
    rows = list(csv.DictReader((store.out / "table2.csv").read_text().splitlines()))
    found = [(row["method"], row["seeds"], row["unfinished"]) for row in rows]
    assert found == [("adam", "2", "0"), ("radam", "1", "1")]
    assert rows[1]["mean"] == "85.0"


@pytest.mark.usefixtures("no_figures")
def test_the_next_call_runs_it_again_and_nothing_else(store, capsys):
    axes = ["--methods", "adam,radam", "--lrs", "0.1", "--seeds", "0,1", "--epochs", "1", "--workers", "1"]
    assert cli.main(["study", "fashion-mnist-mini", *axes, "--out", str(store.out)]) == 0
    said = capsys.readouterr().out
    assert "3 of 4 runs are already finished" in said
    assert "[4/4] radam lr 0.1 seed 1: done test_accuracy " in said
    assert statuses((store.out / "results.csv").read_text()) == ["done"] * 4


@pytest.mark.usefixtures("no_figures")
def test_a_study_from_python_returns_its_results(tmp_path, capsys):
    results = STUDY.run(tmp_path / "out", workers=1, progress=False)
    assert capsys.readouterr().out == ""
    assert [record.status for record in results.records] == ["done"] * 4
    assert results == StudyResults.read(Store.open(tmp_path / "out"))
    assert results.csv() == (tmp_path / "out/results.csv").read_text()
    assert results.verdict in (tmp_path / "out/report.html").read_text()
    (command,) = results.commands
    assert command == f"{STUDY.command} --out {tmp_path / 'out'}"
    with pytest.raises(InvalidOption, match="workers is 0: it must be a whole number, at least 1"):
        STUDY.run(tmp_path / "other", workers=0)
    assert not (tmp_path / "other").exists()
