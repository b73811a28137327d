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
from rectified.study.executors.executor import write_failure
from rectified.study.storage import first_format
from rectified.study.storage.locks import LOCK, locked
from rectified.study.storage.records import Record
from rectified.study.storage.store import NotAStudyError, Store, write_json
from rectified.workloads.tasks import TASKS, TaskInfo

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
    (tmp_path / f".study.json.{'0' * 16}.rectified-99999999").touch()
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
    found = store.record(RUNS[0])
    assert (found.status, found.rows) == ("missing", [])
    assert found.error.startswith("its rows.jsonl: it is not JSON: ")


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
    assert store.record(RUNS[0]) == Record(RUNS[0], error="its rows.jsonl: it has 1 of 2 rows")
    write_json(done, json.loads(done.read_text()) | {"rows": 1})
    assert store.record(RUNS[0]).status == "done"


def test_opening_what_is_no_study_says_so(tmp_path):
    with pytest.raises(NotAStudyError, match="is not a study"):
        Store.open(tmp_path)


# Tasks of folders that were written before they had a chance level


def with_tasks(out, *tasks):
    out.mkdir()
    runs = [{"task": task["name"], "method": "adam", "lr": 0.1, "seed": 0, "epochs": 1, "batch_size": 1}
            | ({"version": task["version"]} if task.get("version") else {}) for task in tasks]  # fmt: skip
    study = {"kind": "rectified study", "format": 2, "commands": [], "study": {}, "tasks": tasks, "runs": runs}
    (out / "study.json").write_text(json.dumps(study))
    return {name: info.chance for (name, _), info in Store.open(out).tasks().items()}


def old_task(name, metric="test_accuracy", **more):
    return {"name": name, "title": name, "metric": metric, "metric_label": metric, "larger_is_better": True, **more}


def test_a_built_in_task_of_an_older_folder_has_its_chance_level_by_its_name(tmp_path):
    found = with_tasks(
        tmp_path / "study",
        old_task("cifar10"),
        old_task("cifar10(subset=500)"),
        old_task("imagenet", chance=None),  # which is what its folder says
        old_task("fashion-mnist", chance=12.5),
        old_task("fashion-mnist-mini", metric="test_loss"),  # another measure, whose chance level is another
        old_task("tiny-imagenet", version="0123"),  # a user's own of that name
        old_task("gone(x=1)"),
        old_task("my_task.py"),
    )
    assert found == {
        "cifar10": 10.0, "cifar10(subset=500)": 10.0, "imagenet": None, "fashion-mnist": 12.5,
        "fashion-mnist-mini": None, "tiny-imagenet": None, "gone(x=1)": None, "my_task.py": None,
    }  # fmt: skip


def test_reading_an_older_folder_imports_nobodys_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("open('imported', 'w')\n")
    assert with_tasks(tmp_path / "study", old_task("mine.py")) == {"mine.py": None}
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize(
    ("written", "read"),
    [({"cause": "run"}, "run"), ({"cause": "machine"}, "machine"), ({}, ""), ({"cause": "the moon"}, ""),
     ({"cause": ["run"]}, "")],
)  # fmt: skip
def test_the_cause_of_a_failure_is_read_and_what_is_none_is_empty(store, written, read):
    finish(store, RUNS[0])
    done = {"status": "failed", "error": "OSError", "attempts": 1, **written}
    write_json(store.folder(RUNS[0]) / "done.json", done)
    record = store.record(RUNS[0])
    assert (record.status, record.cause) == ("failed", read)


@pytest.mark.parametrize("cause", ["run", "machine"])
def test_a_failure_is_written_with_its_cause(store, cause):
    write_failure(store.folder(RUNS[0]), "it is over", 2, cause)
    record = store.record(RUNS[0])
    assert (record.status, record.error, record.attempts, record.cause) == ("failed", "it is over", 2, cause)


def test_a_study_that_goes_on_keeps_what_its_runs_were_compared_by(tmp_path):
    """Runs that are done measured the validation loss alone; those of a new folder are compared on the test text."""
    old = old_task("language-model", "valid_ppl", compared=["valid_loss", "validation loss, nats"])
    assert with_tasks(tmp_path / "study", old) == {"language-model": pytest.approx(10.41265, rel=1e-6)}
    store, info = Store.open(tmp_path / "study"), TaskInfo.of(TASKS["language-model"], (1,))
    store.add({}, [info], store.runs(), "again")
    [kept] = store.tasks().values()
    assert (kept.comparison[0], kept.chosen_by) == ("valid_loss", None)
    assert kept.steps_per_epoch == info.steps_per_epoch
    assert kept.chance == info.chance
    new = Store(tmp_path / "new")
    new.out.mkdir()
    new.add({}, [info], store.runs(), "first")
    [fresh] = new.tasks().values()
    assert (fresh.comparison[0], fresh.chosen_by[0]) == ("test_loss", "valid_loss")


def test_a_folder_of_the_first_edition_is_compared_by_what_it_measured():
    [info] = first_format.tasks([RunKey("language-model", "adam", 0.1, 0, 1, 1)]).values()
    assert (info.comparison[0], info.chosen_by) == ("valid_loss", None)


def test_a_description_that_was_guessed_yields_to_that_of_a_call(tmp_path):
    """A folder that lost its study.json, and is continued first by a call for another task."""
    words = RunKey(task="language-model", method="adam", lr=0.1, seed=0, epochs=1, batch_size=32)
    store = Store(tmp_path / "study")
    folder = store.folder(words)
    folder.mkdir(parents=True)
    write_json(folder / "config.json", {"run": words.as_dict()})
    add(store, RUNS)
    assert words in store.runs()
    key = ("language-model", "")
    assert store.tasks()[key].chosen_by is None  # guessed: all that runs of old folders measured
    store.add({}, [TaskInfo.of(TASKS["language-model"], (32,))], [words], "rectified study language-model")
    found = store.tasks()[key]
    assert (found.comparison[0], found.chosen_by[0]) == ("test_loss", "valid_loss")
    add(store, RUNS)
    assert store.tasks()[key] == found
