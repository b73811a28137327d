"""Folders of earlier versions are still read: cells/ for runs/, no tasks and no study in study.json."""

import gzip
import json
import shutil
from pathlib import Path

import pytest
from markupsafe import escape

from made_by_hand import add, unpack
from rectified import cli
from rectified.study import Study, StudyResults
from rectified.study.config.runs import RunKey
from rectified.study.execution.checkpoint import read_checkpoint, write_checkpoint
from rectified.study.execution.execute import execute
from rectified.study.execution.limits import Limits
from rectified.study.storage.first_format import baseline
from rectified.study.storage.packing import pack
from rectified.study.storage.store import Store

STUDIES = Path(__file__).parents[3] / "docs" / "studies"


@pytest.mark.parametrize(
    ("commands", "named"),
    [
        ([], None),
        (["rectified study x --baseline adam", "rectified study x --lrs 1"], "adam"),
        (["rectified study x --baseline adam", "rectified study x '--baseline=radam(beta2=0.9)'"], "radam(beta2=0.9)"),
        (["rectified study x --baseline 'adam(eps=1)' --lrs 1"], "adam(eps=1)"),
    ],
)
def test_the_baseline_that_the_study_was_last_called_with(commands, named):
    assert baseline(commands) == named


def begun_earlier(out, tasks=("fashion-mnist-mini",), methods=("adam", "sgd"), command="rectified study x"):
    """A folder as the first version left it, each run done."""
    cells = [
        {"task": task, "method": method, "lr": 0.1, "seed": 0, "epochs": 1, "batch_size": 100}
        for task in tasks
        for method in methods
    ]
    out.mkdir(parents=True)
    (out / "study.json").write_text(json.dumps({"kind": "rectified study", "commands": [command], "cells": cells}))
    for i, cell in enumerate(cells):
        folder = out / "cells" / RunKey(**cell).old_id
        folder.mkdir(parents=True)
        row = {"epoch": 1, "step": 60, "train_loss": 0.5, "test_accuracy": 80.0 + i, "test_loss": 0.5}
        (folder / "rows.jsonl").write_text(json.dumps(row) + "\n")
        (folder / "done.json").write_text(json.dumps({"status": "done", "step": 60, "seconds": 1.0, "attempts": 1}))
    return out


@pytest.mark.usefixtures("no_figures")
def test_it_is_read_and_reported(tmp_path, capsys):
    out = begun_earlier(tmp_path / "old", command="rectified study x --baseline sgd")
    store = Store.open(out)
    assert [record.status for record in store.records()] == ["done", "done"]
    assert store.baseline == "sgd"
    assert cli.main(["report", str(out)]) == cli.main(["status", str(out)]) == cli.main(["export", str(out)]) == 0
    said = capsys.readouterr().out
    assert "2 runs: 2 done" in said
    assert "method − sgd, paired by seed" in said
    page = (out / "report.html").read_text()
    assert "tensorboard --logdir cells" in page
    assert "Differences from sgd" in page
    assert (out / "results.csv").read_text().count("done") == 3, "two, and a column"


def test_it_goes_on_in_its_own_folders(tmp_path):
    store = Store(begun_earlier(tmp_path / "old"))
    before = store.runs()
    new = RunKey("fashion-mnist-mini", "radam", 0.1, 0, 1, 100)
    add(store, [new], baseline="radam")
    assert store.runs() == [new, *before]
    assert store.folder(new) == store.out / "cells" / new.old_id
    assert [record.status for record in store.records()] == ["missing", "done", "done"]
    assert store.baseline == "radam", "as the call that made it go on has it"


@pytest.mark.slow
@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("packed", [True, False])
def test_a_committed_study_goes_on_in_its_folders_and_from_its_checkpoints(packed, tmp_path, capsys):
    """With a run that an earlier version had begun, whose checkpoint calls it a cell and has no single steps."""
    out = shutil.copytree(STUDIES / "cifar10", tmp_path / "cifar10")
    if not packed:
        unpack(out)
    study = Study("fashion-mnist-mini", "radam", 0.01, 0, epochs=2, batch_sizes=500)
    (run,) = study.runs()
    store, data = Store.open(out), run.task.load(run.task.find(None, print))
    before = store.runs()
    assert {record.status for record in store.records()} == {"done"}
    list(execute(run, data, tmp_path / "whole"))
    folder = out / "cells" / run.key.old_id
    begun = execute(run, data, folder, limits=Limits(checkpoint_every=0.0))
    assert next(begun).kind == "row"
    begun.close()
    state = read_checkpoint(folder)
    state["cell"] = state.pop("run")
    del state["steps"]
    write_checkpoint(folder, state)

    assert study.run(out, workers=1).by_key[run.key].status == "done"
    assert f"[0/1] {run.key}: resumed epoch 2 of 2, after step 12" in capsys.readouterr().out
    assert (folder / "rows.jsonl").read_bytes() == (tmp_path / "whole" / "rows.jsonl").read_bytes()
    assert store.runs() == [run.key, *before]
    assert not (out / "runs").exists()
    there = [run.key] if packed else store.runs()
    assert {path.name for path in (out / "cells").iterdir()} == {key.old_id for key in there}
    assert {record.status for record in Store.open(out).records()} == {"done"}
    _, *rest = (STUDIES / "cifar10" / "results.csv").read_text().splitlines()
    assert (out / "results.csv").read_text().splitlines()[2:] == rest
    study.run(out, workers=1)
    assert "1 of 1 runs are already finished" in capsys.readouterr().out


@pytest.mark.usefixtures("no_figures")
def test_a_task_and_a_method_that_this_version_does_not_know_are_read(tmp_path, capsys):
    methods = ("adam", "from-the-future", "somewhere.Else+their.Warmup(3)")
    out = begun_earlier(tmp_path / "old", ("fashion-mnist-mini", "of-another-version"), methods)
    for command in ("report", "status", "export"):
        assert cli.main([command, str(out)]) == 0
        assert "of-another-version" in capsys.readouterr().out
    page = (out / "report.html").read_text()
    assert "Not drawn, because this version does not know" in page
    assert "their.Warmup(3)" in page


@pytest.mark.parametrize("name", sorted(path.parent.name for path in STUDIES.glob("*/study.json")))
def test_the_committed_studies_are_packed_whole(name, tmp_path):
    """Read from folders they are the same, and packing these gives the same lines."""
    out = shutil.copytree(STUDIES / name, tmp_path / name, ignore=shutil.ignore_patterns("runs", "cells"))
    records = Store.open(out).records()
    assert Store.open(out).problems() == []
    assert "missing" not in {record.status for record in records}
    unpack(out)
    assert Store.open(out).records() == records
    again = pack(Store.open(out), remove_folders=True)
    assert again.left_out == ()
    committed = (STUDIES / name / again.path.name).read_bytes()
    assert gzip.decompress(again.path.read_bytes()) == gzip.decompress(committed)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fashion-mnist", "multi30k"])
def test_the_studies_of_the_docs_are_reported_as_they_are_committed(name, tmp_path):
    out = shutil.copytree(STUDIES / name, tmp_path / name)
    assert cli.main(["report", str(out)]) == 0
    for file in ("results.csv", "timings.csv", "study.json", "runs.jsonl.gz"):
        assert (out / file).read_bytes() == (STUDIES / name / file).read_bytes(), f"run make docs for {file}"
    (setting,) = StudyResults.read(Store.open(out)).settings
    for page in (out / "report.html", STUDIES / name / "report.html"):
        for sentence in (*setting.verdict.answer, *setting.verdict.at_best, setting.verdict.chance):
            assert escape(sentence) in page.read_text(), f"run make docs for {page}"


def test_a_folder_of_a_newer_version_is_refused_in_a_line(tmp_path, capsys):
    out = begun_earlier(tmp_path / "new")
    study = json.loads((out / "study.json").read_text())
    (out / "study.json").write_text(json.dumps({**study, "format": 99}))
    assert cli.main(["status", str(out)]) == 2
    assert "was written by a newer version of rectified; update this one to read it" in capsys.readouterr().err
