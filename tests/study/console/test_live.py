"""What a person sees: every state of every run, and an honest estimate."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from made_by_hand import results_of, tasks_of
from rectified.study.config.runs import RunKey
from rectified.study.console.live import View, grid, measure, show, summary
from rectified.study.executors import Event
from rectified.study.storage.records import Record
from rectified.workloads.tasks import TASKS, TaskInfo

TASK = TASKS["fashion-mnist-mini"]
RUNS = [RunKey(TASK.name, method, 0.1, seed, 2, 100) for method in ("adam", "sgd") for seed in (0, 1)]


def row(epoch, accuracy):
    return {"epoch": epoch, "step": 60 * epoch, "train_loss": 1.0, "test_accuracy": accuracy}


def play(terminal):
    console = Console(record=True, width=90, force_terminal=terminal, file=io.StringIO())
    with View(console, [Record(run) for run in RUNS], tasks_of(RUNS)) as view:
        view.take(Event("started", RUNS[0]))
        view.take(Event("row", RUNS[0], row(1, 40.0)))
        view.take(Event("row", RUNS[0], row(2, 81.5)))
        view.take(Event("done", RUNS[0]))
        view.take(Event("started", RUNS[1]))
        view.take(Event("retry", RUNS[1], text="its worker process died (signal SIGKILL)"))
        view.take(Event("started", RUNS[1]))
        view.take(Event("diverged", RUNS[1]))
        view.take(Event("failed", RUNS[2], text="Traceback\n  ...\nOSError: disk on fire"))
        console.print(view.table())
    return console.export_text()


def test_without_a_terminal_every_run_gets_a_line():
    lines = play(terminal=False).splitlines()
    assert lines[0] == "[1/4] adam lr 0.1 seed 0: done test_accuracy 81.50", "too early to say what is left"
    assert "adam lr 0.1 seed 1: retry its worker process died (signal SIGKILL)" in lines[1]
    assert lines[2].startswith("[2/4] adam lr 0.1 seed 1: diverged")
    assert lines[3].startswith("[3/4] sgd lr 0.1 seed 0: failed OSError: disk on fire")


@pytest.mark.parametrize("terminal", [False, True])
def test_a_run_that_goes_on_counts_what_it_had_and_what_is_amiss_is_said_everywhere(terminal):
    console = Console(record=True, width=120, force_terminal=terminal, file=io.StringIO())
    with View(console, [Record(run) for run in RUNS], tasks_of(RUNS)) as view:
        view.take(Event("started", RUNS[0]))
        view.take(Event("resumed", RUNS[0], row(1, 40.0), "epoch 2 of 2, after step 70"))
        assert view.epochs[RUNS[0]] == 1
        assert view.speed.seconds({RUNS[0]: 1}) is None, "the row is of an earlier call"
        view.take(Event("row", RUNS[0], row(2, 41.0)))
        assert view.speed.seconds({RUNS[0]: 1}) is None, "the worker's start is in it"
        view.take(Event("retry", RUNS[0], text="its worker process died (signal SIGKILL)"))
        assert view.epochs[RUNS[0]] == 0
        view.take(Event("note", RUNS[0], text="checkpoint.pt is damaged; the run starts over"))
    text = console.export_text()
    assert "note checkpoint.pt is damaged; the run starts over" in text
    assert ("resumed epoch 2 of 2, after step 70" in text) != terminal


@pytest.mark.parametrize("terminal", [False, True])
def test_the_table_shows_every_state_and_the_bar_counts_epochs(terminal):
    text = play(terminal)
    assert "●✕ 81.5" in text
    assert "!·" in text
    assert "6/8" in text


def test_the_summary_counts_what_went_wrong():
    records = [
        Record(RUNS[0], "done", [row(2, 80.0)]),
        Record(RUNS[1], "done", [row(2, 82.0)]),
        Record(RUNS[2], "diverged"),
        Record(RUNS[3], "failed", error="x"),
    ]
    console = Console(record=True, width=90, file=io.StringIO())
    console.print(summary(results_of(records)))
    text = console.export_text()
    for words in ("81.00", "80.00 to 82.00", "1 diverged", "1 failed"):
        assert words in text


@pytest.fixture
def now(monkeypatch):
    times = [0.0]
    monkeypatch.setattr("rectified.study.console.live.time.monotonic", lambda: times[0])
    return times


def test_the_time_left_is_that_of_as_many_at_once_as_there_were(now):
    with View(Console(file=io.StringIO()), [Record(run) for run in RUNS], tasks_of(RUNS)) as view:
        for run in RUNS[:2]:
            view.take(Event("started", run))
        for now[0], epoch in ((100.0, 1), (200.0, 2)):
            for run in RUNS[:2]:
                view.take(Event("row", run, row(epoch, 50.0)))
        view.take(Event("done", RUNS[0]))
        assert view._left() == "about 3 min left", "four epochs of 100 s by two workers, of which one has just ended"
        view.take(Event("done", RUNS[1]))
        for run in RUNS[2:]:
            view.take(Event("started", run))
        for now[0], epoch in ((300.0, 1), (400.0, 2)):
            view.take(Event("row", RUNS[2], row(epoch, 50.0)))
        view.take(Event("done", RUNS[2]))
        assert view._left() == "about 3 min left", "the last run has a worker to itself"


@pytest.mark.parametrize("epochs", [1, 2])
def test_the_time_left_is_said_when_it_is_known_and_has_no_start_in_it(now, epochs):
    runs = [RunKey(TASK.name, "adam", 0.1, seed, epochs, 100) for seed in range(6)]
    with View(Console(file=io.StringIO()), [Record(run) for run in runs], tasks_of(runs)) as view:
        said = []
        for i in range(0, 6, 2):
            for run in runs[i : i + 2]:
                view.take(Event("started", run))
            now[0] += 50 * (i == 0)  # the workers start
            for epoch in range(1, epochs + 1):
                now[0] += 2
                for run in runs[i : i + 2]:
                    view.take(Event("row", run, row(epoch, 50.0)))
            for run in runs[i : i + 2]:
                view.take(Event("done", run))
                said.append(view._left())
        assert said[:2] == ["", ""]
        assert said[2] == f"about {epochs * 2} s left", "three of six have ended, and three are left: one under way"
        assert said[5] == ""


LANGUAGE = replace(
    TaskInfo.of(TASKS["language-model"], (128,)),
    compared=("test_loss", "test loss, nats"),
    chosen_by=("valid_loss", "validation loss, nats"),
)
WORDS = [RunKey(LANGUAGE.name, "adam", 0.1, seed, 2, 128) for seed in (0, 1)]
EARLY = {"epoch": 1, "step": 9, "valid_ppl": 148.4, "valid_loss": 5.0}
LATE = {**EARLY, "epoch": 2, "test_ppl": 54.6, "test_loss": 4.0}


LANGUAGES = {(LANGUAGE.name, LANGUAGE.version): LANGUAGE}


def shown(tables, width=90, terminal=False):
    console = Console(record=True, width=width, force_terminal=terminal, file=io.StringIO())
    show(console, tables)
    return console.export_text()


def test_the_numbers_are_what_is_compared_where_the_rows_have_it():
    task = LANGUAGE
    assert measure(task, [EARLY, LATE]) == task.chosen_by
    assert measure(task, [LATE]) == task.comparison
    assert measure(task, [{"epoch": 1, task.metric: 1.0}])[0] == task.metric, "as an earlier version wrote"
    states = dict.fromkeys(WORDS, "running")
    text = shown(grid(WORDS, states, {WORDS[0]: EARLY, WORDS[1]: LATE}, LANGUAGES))
    assert "▸▸ 5.00 " in text
    assert f"numbers: {task.chosen_by[1]}, mean over seeds" in text
    text = shown(grid(WORDS, dict.fromkeys(WORDS, "done"), dict.fromkeys(WORDS, LATE), LANGUAGES))
    assert "●● 4.00 " in text
    assert f"numbers: {task.comparison[1]}, mean over seeds" in text
    assert "numbers" not in shown(grid(WORDS, states, {}, LANGUAGES)), "there are none"


def test_a_line_says_what_is_compared():
    console = Console(record=True, width=90, file=io.StringIO())
    with View(console, [Record(run) for run in WORDS], LANGUAGES) as view:
        view.take(Event("started", WORDS[0]))
        view.take(Event("row", WORDS[0], LATE))
        view.take(Event("done", WORDS[0]))
    assert "done test_loss 4.00" in console.export_text()


def test_titles_and_legends_stay_whole_in_narrow_tables():
    """A table is as wide as its cells, and what stands around it is not."""
    states = dict(zip(RUNS, ("done", "diverged", "failed", "waiting"), strict=True))
    text = shown(grid(RUNS, states, {RUNS[0]: row(2, 80.0)}, tasks_of(RUNS)), width=40)
    title = f"{TASK.title}, 2 epochs, batch size 100"
    for line in (
        title,
        "numbers: test accuracy, %, mean over seeds",
        "· waiting  ▸ running  ● done  ✕ diverged  ! failed",
    ):
        assert line in text.splitlines()
    text = shown(summary(results_of([Record(run, "done", [row(2, 80.0)]) for run in RUNS])), width=40)
    for line in (title, "final test accuracy, %: mean over seeds, lowest to highest"):
        assert line in text.splitlines()


def test_a_run_that_ended_without_its_metric_has_failed_here_too():
    results = results_of([Record(RUNS[0], "done", [row(2, 80.0)]), Record(RUNS[1], "done", [row(2, float("nan"))])])
    console = Console(record=True, width=90, file=io.StringIO())
    console.print(summary(results))
    with View(console, results.records, tasks_of(RUNS)) as view:
        console.print(view.table())
    text = console.export_text()
    assert "1 failed" in text
    assert "●· 80.00" in text, "it is to run again"
    assert "nan" not in text
