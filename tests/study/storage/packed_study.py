"""A study with a run of every kind, to pack, and the lines of its archive."""

import gzip
import json

from made_by_hand import add
from rectified.study.config.runs import RunKey
from rectified.study.execution import checkpoint
from rectified.study.execution.first_steps import StepRecord, write_steps
from rectified.study.execution.gradients import EDGES, Histogram, write_histograms
from rectified.study.executors.executor import write_failure
from rectified.study.storage.run_files import digests
from rectified.study.storage.run_folder import RunFolder
from rectified.study.storage.store import Store, write_json

HEAD = {"task": "fashion-mnist-mini", "epochs": 2, "batch_size": 100}


def key(method, seed=0):
    return RunKey(method=method, lr=0.1, seed=seed, **HEAD)


DONE, CONTROL, DIVERGED = key("radam"), key("matched-lr(radam)"), key("adam")
FAILED, OUT_OF_TIME, BEGUN, WAITING = (key("sgd", seed) for seed in range(4))
RUNS = [DONE, CONTROL, DIVERGED, FAILED, OUT_OF_TIME, BEGUN, WAITING]
ENDED = {DONE, CONTROL, DIVERGED, FAILED, OUT_OF_TIME}


def write_run(store, run, accuracy=80.0, status="done"):
    """The run's folder, as a worker leaves it."""
    folder = store.folder(run)
    folder.mkdir(parents=True)
    write_json(folder / "config.json", {"run": run.as_dict(), "versions": {"torch": "2.9"}, "command": "rectified"})
    rows = [
        {"epoch": epoch, "step": 60 * epoch, "train_loss": 0.1 + 0.2, "test_accuracy": accuracy + epoch}
        for epoch in range(1, 1 + (2 if status == "done" else 1))
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if status == "begun":
        (folder / checkpoint.NAME).write_bytes(b"state")
        return folder
    write_steps(folder, [StepRecord(step, 1 / step, 0.5, 0.1) for step in range(1, 4)])
    write_histograms(folder, [Histogram(step, 5, (step,) * (len(EDGES) - 1)) for step in (1, 2)])
    done = {"status": status, "step": 120, "rows": len(rows), "seconds": 1.5, "attempts": 1, "host": "here"}
    done |= {"ended": "2026-11-28T17:00:00+00:00", "versions": {"torch": "2.9"}, "sha256": digests(RunFolder(folder))}
    write_json(folder / "done.json", done)
    (folder / "events.out.tfevents.1.here").write_bytes(b"drawn")
    (folder / ".lock").touch()
    return folder


def a_study(out):
    """A study with a run of every kind."""
    store = Store(out)
    store.out.mkdir()
    add(store, RUNS, "rectified study fashion-mnist-mini", baseline="adam")
    write_run(store, DONE)
    write_run(store, CONTROL, 70.0)
    write_run(store, DIVERGED, 10.0, "diverged")
    write_failure(store.folder(FAILED), "Traceback\nValueError: ü ☃", 1, "run")
    write_run(store, OUT_OF_TIME, status="begun")
    write_failure(store.folder(OUT_OF_TIME), "it has had its minutes", 2)
    write_run(store, BEGUN, status="begun")
    return Store.open(store.out)


def lines(path):
    return gzip.decompress(path.read_bytes()).splitlines(keepends=True)


def rewrite(path, change):
    """The archive with its lines as `change` returns them, well compressed."""
    path.write_bytes(gzip.compress(b"".join(change(lines(path))), mtime=0))
