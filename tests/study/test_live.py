"""What a person sees: every state of every run, and an honest estimate."""

import io

import pytest
from rich.console import Console

from rectified.study.config.runs import Cell
from rectified.study.console.live import View, summary
from rectified.study.executors import Event
from rectified.study.storage.records import Record
from rectified.workloads.tasks import TASKS

TASK = TASKS["fashion-mnist-mini"]
CELLS = [Cell(TASK.name, method, 0.1, seed, 2, 100) for method in ("adam", "sgd") for seed in (0, 1)]


def row(epoch, accuracy):
    return {"epoch": epoch, "step": 60 * epoch, "train_loss": 1.0, "test_accuracy": accuracy}


def play(terminal):
    console = Console(record=True, width=90, force_terminal=terminal, file=io.StringIO())
    with View(console, [Record(cell) for cell in CELLS]) as view:
        view.take(Event("started", CELLS[0]))
        view.take(Event("row", CELLS[0], row(1, 40.0)))
        view.take(Event("row", CELLS[0], row(2, 81.5)))
        view.take(Event("done", CELLS[0]))
        view.take(Event("started", CELLS[1]))
        view.take(Event("retry", CELLS[1], text="its worker process died (signal SIGKILL)"))
        view.take(Event("started", CELLS[1]))
        view.take(Event("diverged", CELLS[1]))
        view.take(Event("failed", CELLS[2], text="Traceback\n  ...\nOSError: disk on fire"))
        console.print(view.table())
    return console.export_text()


def test_without_a_terminal_every_run_gets_a_line():
    lines = play(terminal=False).splitlines()
    assert lines[0].startswith("[1/4] adam lr 0.1 seed 0: done test_accuracy 81.50, about ")
    assert "adam lr 0.1 seed 1: retry its worker process died (signal SIGKILL)" in lines[1]
    assert lines[2].startswith("[2/4] adam lr 0.1 seed 1: diverged")
    assert lines[3].startswith("[3/4] sgd lr 0.1 seed 0: failed OSError: disk on fire")


@pytest.mark.parametrize("terminal", [False, True])
def test_a_run_that_goes_on_counts_what_it_had_and_what_is_amiss_is_said_everywhere(terminal):
    console = Console(record=True, width=120, force_terminal=terminal, file=io.StringIO())
    with View(console, [Record(cell) for cell in CELLS]) as view:
        view.take(Event("started", CELLS[0]))
        view.take(Event("resumed", CELLS[0], row(1, 40.0), "epoch 2 of 2, after step 70"))
        assert view.epochs[CELLS[0]] == 1
        assert view.speed.seconds({CELLS[0]: 1}) is None, "the row is of an earlier call"
        view.take(Event("row", CELLS[0], row(2, 41.0)))
        view.take(Event("retry", CELLS[0], text="its worker process died (signal SIGKILL)"))
        assert view.epochs[CELLS[0]] == 0
        assert view.speed.seconds({CELLS[0]: 1}) is not None
        view.take(Event("note", CELLS[0], text="checkpoint.pt is damaged; the run begins anew"))
    text = console.export_text()
    assert "note checkpoint.pt is damaged; the run begins anew" in text
    assert ("resumed epoch 2 of 2, after step 70" in text) != terminal


@pytest.mark.parametrize("terminal", [False, True])
def test_the_table_shows_every_state_and_the_bar_counts_epochs(terminal):
    text = play(terminal)
    assert "●✕ 81.5" in text
    assert "!·" in text
    assert "6/8" in text


def test_the_summary_counts_what_went_wrong():
    records = [
        Record(CELLS[0], "done", [row(2, 80.0)]),
        Record(CELLS[1], "done", [row(2, 82.0)]),
        Record(CELLS[2], "diverged"),
        Record(CELLS[3], "failed", error="x"),
    ]
    console = Console(record=True, width=90, file=io.StringIO())
    console.print(summary(records))
    text = console.export_text()
    for words in ("81.00", "80.00 to 82.00", "1 diverged", "1 failed"):
        assert words in text


def test_the_time_left_is_that_of_as_many_at_once_as_there_were(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("rectified.study.console.live.time.monotonic", lambda: now[0])
    with View(Console(file=io.StringIO()), [Record(cell) for cell in CELLS]) as view:
        for cell in CELLS[:2]:
            view.take(Event("started", cell))
        for now[0], epoch in ((10.0, 1), (20.0, 2)):
            for cell in CELLS[:2]:
                view.take(Event("row", cell, row(epoch, 50.0)))
        view.take(Event("done", CELLS[0]))
        assert view._left() == "about 20 s left", "four epochs of 10 s by two workers, of which one has just ended"
        view.take(Event("done", CELLS[1]))
        for cell in CELLS[2:]:
            view.take(Event("started", cell))
        for now[0], epoch in ((30.0, 1), (40.0, 2)):
            view.take(Event("row", CELLS[2], row(epoch, 50.0)))
        view.take(Event("done", CELLS[2]))
        assert view._left() == "about 20 s left", "the last cell has a worker to itself"
