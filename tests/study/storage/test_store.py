"""The folder: what it refuses, what it keeps, what its tables say."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from made_by_hand import add
from rectified.study.config.runs import RunKey
from rectified.study.storage.locks import LOCK, locked
from rectified.study.storage.records import Record
from rectified.study.storage.store import NotAStudyError, Store, write_json

HEAD = {"task": "fashion-mnist-mini", "epochs": 2, "batch_size": 100}
RUNS = [RunKey(method=method, lr=0.1, seed=seed, **HEAD) for method in ("adam", "sgd") for seed in (0, 1)]


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "study")
    store.out.mkdir()
    add(store, RUNS)
    return store


def finish(store, run, status="done", accuracy=50.0):
    folder = store.folder(run)
    folder.mkdir(parents=True)
    row = {"epoch": 1, "step": 60, "train_loss": 0.1 + 0.2, "test_accuracy": accuracy}
    (folder / "rows.jsonl").write_text(json.dumps(row) + "\n")
    write_json(folder / "done.json", {"status": status, "seconds": 1.5, "attempts": 1, "host": "here"})


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(NotAStudyError, match="holds something that is not a study"):
        Store(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_what_a_study_killed_as_it_began_leaves_over_is_no_obstacle(tmp_path):
    (tmp_path / ".lock").touch()
    (tmp_path / ".study.json.99999999").touch()
    store = Store(tmp_path)
    with store.locked():
        add(store, RUNS)
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "study.json"}


def test_a_file_is_refused(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(NotAStudyError, match="is a file"):
        Store(tmp_path / "out")


def test_a_foreign_study_json_is_refused(tmp_path):
    (tmp_path / "study.json").write_text("{}")
    with pytest.raises(NotAStudyError, match=r"study\.json"):
        Store(tmp_path)


def test_a_second_study_on_the_folder_is_refused_while_the_first_runs(store):
    with store.locked(), pytest.raises(NotAStudyError, match="in use"), Store(store.out).locked():
        pass
    with Store(store.out).locked():
        pass


def held_by_another(folder):
    """A process that holds the folder's lock until it is killed, and its child, to which it does not pass it on."""
    code = """
import subprocess, sys
from pathlib import Path
from rectified.study.storage.locks import locked
with locked(Path(sys.argv[1]), wait=False):
    child = subprocess.Popen(["sleep", "60"], close_fds=False, stdout=subprocess.DEVNULL)
    print(child.pid, flush=True)
    child.wait()
"""
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    return process, int(process.stdout.readline())


def test_the_system_ends_a_lock_with_its_holder(store, tmp_path):
    folder = store.folder(RUNS[1])
    folder.mkdir(parents=True, exist_ok=True)
    holder, child = held_by_another(folder)
    try:
        assert store.running(RUNS[1])
        with pytest.raises(BlockingIOError), locked(folder, wait=False):
            pass
        assert store.running(RUNS[1])  # whoever asks does not disturb
        holder.kill()
        holder.communicate()
        assert not store.running(RUNS[1])
    finally:
        os.kill(child, signal.SIGKILL)
    with locked(folder, wait=False):
        assert store.running(RUNS[1])
    assert not store.running(RUNS[1])
    assert (folder / LOCK).read_bytes() == b""


def test_asking_makes_nothing_and_needs_no_more_than_to_read(store, monkeypatch):
    assert not store.running(RUNS[2])
    assert not store.folder(RUNS[2]).exists()
    store.folder(RUNS[2]).mkdir(parents=True)
    assert not store.running(RUNS[2])  # as in a folder of an earlier version
    assert not list(store.folder(RUNS[2]).iterdir())
    opened = Path.open

    def read_only(path, mode="r", *rest):
        if mode != "r":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, mode, *rest)

    with locked(store.folder(RUNS[2]), wait=False):
        monkeypatch.setattr(Path, "open", read_only)
        assert store.running(RUNS[2])
    assert not store.running(RUNS[2])


def test_runs_of_earlier_calls_stay_behind_the_new_ones(store):
    new = RunKey(method="radam", lr=0.1, seed=0, **HEAD)
    add(store, [new, RUNS[0]], "again")
    assert store.runs() == [new, RUNS[0], *RUNS[1:]]
    assert store.commands == ["rectified study", "again"]


def test_a_baseline_stays_until_another_is_named(store):
    """A study that grows by a call without --baseline keeps the one it has."""
    add(store, RUNS, baseline="sgd")
    add(store, RUNS)
    assert store.baseline == "sgd"
    add(store, RUNS, baseline="adam")
    assert store.baseline == "adam"


def test_only_what_has_a_readable_done_json_is_finished(store):
    for run in RUNS[:2]:
        finish(store, run)
    (store.folder(RUNS[1]) / "done.json").write_text('{"status": "do')
    assert [record.status for record in store.records()] == ["done", "missing", "missing", "missing"]


def test_a_truncated_row_makes_the_run_missing(store):
    finish(store, RUNS[0])
    with (store.folder(RUNS[0]) / "rows.jsonl").open("a") as rows:
        rows.write('{"epoch": 2, "tr')
    assert store.record(RUNS[0]) == Record(RUNS[0])


def test_results_hold_one_row_a_run_in_order_and_nothing_of_time_or_place(store):
    finish(store, RUNS[0], accuracy=91.25)
    finish(store, RUNS[1], status="diverged")
    finish(store, RUNS[3], status="failed")
    store.write_tables()
    rows = list(csv.DictReader((store.out / "results.csv").read_text().splitlines()))
    key = ["task", "epochs", "batch_size", "method", "lr", "seed"]
    assert list(rows[0]) == [*key, "status", "epochs_done", "train_loss", "test_accuracy"]
    assert [row["status"] for row in rows] == ["done", "diverged", "missing", "failed"]
    assert rows[0]["test_accuracy"] == "91.25"
    assert float(rows[0]["train_loss"]) == 0.1 + 0.2
    assert rows[1]["test_accuracy"] == rows[1]["train_loss"] == ""
    timings = list(csv.DictReader((store.out / "timings.csv").read_text().splitlines()))
    assert timings[0]["seconds"] == "1.5"
    assert timings[0]["host"] == "here"


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"good": 1})
    with pytest.raises(TypeError):
        write_json(path, {"bad": object()})
    assert json.loads(path.read_text()) == {"good": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["x.json"]


def test_rows_that_were_lost_make_the_run_missing(store):
    """As after the machine's end, whatever is left of a file."""
    finish(store, RUNS[0])
    done = store.folder(RUNS[0]) / "done.json"
    write_json(done, json.loads(done.read_text()) | {"rows": 2})
    assert store.record(RUNS[0]) == Record(RUNS[0])
    write_json(done, json.loads(done.read_text()) | {"rows": 1})
    assert store.record(RUNS[0]).status == "done"


def test_opening_what_is_no_study_says_so(tmp_path):
    with pytest.raises(NotAStudyError, match="holds no study"):
        Store.open(tmp_path)
