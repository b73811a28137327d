"""The workers: what dies is tried again, what fails is kept, what is interrupted goes on."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from rectified.study import Limits, run_study
from rectified.study.config.methods import parse_list
from rectified.study.config.runs import Cell, Plan
from rectified.study.execution.execute import ANY
from rectified.study.executors import Event, LocalEngine
from rectified.study.executors.executor import ATTEMPTS, write_failure
from rectified.study.storage.store import Store
from rectified.workloads.data.images import fashion_mnist_files as fashion_mnist

HEAD = {"task": "fashion-mnist-mini", "epochs": 1, "batch_size": 500}
DATA = {HEAD["task"]: fashion_mnist.mini()}
CELLS = [Cell(method=method, lr=0.01, seed=0, **HEAD) for method in ("adam", "sgd", "radam")]


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "study")
    store.out.mkdir()
    store.add(CELLS, "")
    return store


def kill_workers():
    for child in multiprocessing.active_children():
        os.kill(child.pid, signal.SIGKILL)


def test_every_cell_runs_once_and_tells_its_rows(store):
    events = list(LocalEngine(2).run(CELLS, store, DATA))
    for cell in CELLS:
        assert [event.kind for event in events if event.cell == cell] == ["started", "row", "done"]
    assert {record.status for record in store.records()} == {"done"}
    assert not multiprocessing.active_children()


def test_a_worker_that_dies_is_replaced_and_its_cell_tried_again(store):
    kinds = []
    with closing(LocalEngine(1).run(CELLS[:2], store, DATA)) as events:
        for event in events:
            if event.kind == "started" and "retry" not in kinds:
                kill_workers()
            kinds.append(event.kind)
    assert kinds == ["started", "retry", "started", "row", "done", "started", "row", "done"]
    assert [store.record(cell).attempts for cell in CELLS[:2]] == [2, 1]


def test_a_cell_whose_workers_keep_dying_is_failed_and_the_rest_goes_on(store):
    statuses = []
    with closing(LocalEngine(1).run(CELLS[:2], store, DATA)) as events:
        for event in events:
            if event.kind == "started" and event.cell == CELLS[0]:
                kill_workers()
            if event.kind in ("retry", "failed", "done"):
                statuses.append((event.cell.method, event.kind))
    assert statuses == [("adam", "retry")] * (ATTEMPTS - 1) + [("adam", "failed"), ("sgd", "done")]
    record = store.record(CELLS[0])
    assert (record.status, record.attempts) == ("failed", ATTEMPTS)
    assert "SIGKILL" in record.error


@pytest.mark.slow
def test_a_cell_that_gets_further_between_deaths_is_not_given_up(store):
    """As often as it may die in vain, and once more."""
    cell = Cell("fashion-mnist-mini", "adam", 0.01, 0, epochs=ATTEMPTS + 2, batch_size=100)
    kinds, where = [], []
    with closing(LocalEngine(1).run([cell], store, DATA, Limits(checkpoint_every=0))) as events:
        for event in events:
            kinds.append(event.kind)
            where += [event.text] if event.kind == "resumed" else []
            if event.kind == "row" and kinds.count("retry") <= ATTEMPTS:
                kill_workers()
    assert kinds[-1] == "done"
    assert kinds.count("retry") == len(where) == ATTEMPTS + 1
    assert all(" of 5, after step " in text for text in where)
    record = store.record(cell)
    assert [row["epoch"] for row in record.rows] == [1, 2, 3, 4, 5]
    assert record.attempts == ATTEMPTS + 2


def test_a_worker_that_hangs_is_killed_when_its_time_is_over(store):
    kinds = []
    with closing(LocalEngine(1, grace=0.0).run(CELLS[:1], store, DATA, Limits(minutes=0.02))) as events:
        for event in events:
            kinds.append(event.kind)
            for child in multiprocessing.active_children():
                os.kill(child.pid, signal.SIGSTOP)
    assert kinds == ["started", "failed"]
    assert "killed: it was not done 0 s after its time, --cell-minutes 0.02" in store.record(CELLS[0]).error


UNKNOWN = Cell(method="adamm", lr=0.01, seed=0, **HEAD)


def test_an_exception_fails_its_cell_at_once_with_the_traceback_kept(store):
    events = [event.kind for event in LocalEngine(1).run([UNKNOWN], store, DATA)]
    assert events == ["started", "failed"]
    record = store.record(UNKNOWN)
    assert record.status == "failed"
    assert not record.finished
    assert "Traceback" in record.error
    assert record.reason.startswith("ValueError: unknown method 'adamm'")


def test_the_data_is_in_memory_once_for_all_workers_and_gone_with_the_study(store):
    mapped = set()
    with closing(LocalEngine(2).run(CELLS, store, DATA)) as events:
        for event in events:
            if event.kind == "row":
                for child in multiprocessing.active_children():
                    maps = Path(f"/proc/{child.pid}/maps").read_text().splitlines()
                    mapped |= {(child.pid, line.split()[4], line.split()[5]) for line in maps if str(store.out) in line}
    assert len({pid for pid, _, _ in mapped}) == 2
    assert len({inode for _, inode, _ in mapped}) == 1
    assert {name for _, _, name in mapped} == {str(store.out / f".fashion-mnist-mini.{os.getpid()}")}
    assert not list(store.out.glob(".fashion*"))


def call(out, *more):
    args = ["study", "fashion-mnist-mini", "--methods", "adam,sgd", "--lrs", "0.01", "--seeds", "0,1", "--epochs", "2"]
    return [sys.executable, "-m", "rectified.cli", *args, "--workers", "1", "--out", str(out), *more]


def start_and_wait_for_a_run(out):
    process = subprocess.Popen(
        call(out),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell's background jobs, and so this test in one, begin with SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    for line in process.stdout:
        if line.startswith("[1/4]"):
            break
    return process


def processes_of(pid):
    """All that it started, and what these did: workers are not its own children."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:  # noqa: PTH123
        children = [int(child) for child in file.read().split()]
    return [*children, *(each for child in children for each in processes_of(child))]


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    subprocess.run(call(out), check=True, capture_output=True)
    return out


@pytest.mark.parametrize("sign", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_an_interrupted_study_leaves_no_process_and_goes_on_to_the_same_results(tmp_path, sign, undisturbed):
    process = start_and_wait_for_a_run(tmp_path / "out")
    children = processes_of(process.pid)
    if sign == signal.SIGINT:  # a terminal sends it to all of them
        for child in children:
            os.kill(child, sign)
        time.sleep(0.2)
    process.send_signal(sign)
    rest = process.communicate(timeout=60)[0]
    if sign == signal.SIGINT:
        assert process.returncode == 130
        assert "Traceback" not in rest
        assert "go on with: rectified study fashion-mnist-mini" in rest
    deadline = time.monotonic() + 20
    while any(alive(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(children) >= 2, "the server and a worker"
    assert not any(alive(child) for child in children)

    again = subprocess.run(call(tmp_path / "out"), check=True, capture_output=True, text=True)
    assert "runs are there already" in again.stdout
    assert (tmp_path / "out" / "results.csv").read_bytes() == (undisturbed / "results.csv").read_bytes()


@dataclass(frozen=True)
class Failing(LocalEngine):
    """As after an error in a cell."""

    def run(self, cells, store, data, limits=ANY):
        for cell in cells:
            write_failure(store.folder(cell), "Traceback\nOSError: disk on fire", 1)
            yield Event("failed", cell, text="OSError: disk on fire")


def test_a_failed_run_makes_the_exit_status_1_is_named_and_runs_again_on_the_next_call(tmp_path, capsys):
    def study(engine):
        plan = Plan(methods=parse_list("adam"), lrs=(0.01,), seeds=(0,), **HEAD)
        status = run_study([plan], tmp_path / "out", None, engine, "rectified study ...", Console(width=200))
        return status, capsys.readouterr().out

    status, said = study(Failing(1))
    assert status == 1
    assert "failed: adam lr 0.01 seed 0: OSError: disk on fire" in said
    status, said = study(LocalEngine(1))
    assert status == 0
    assert "[1/1]" in said
    status, said = study(LocalEngine(1))
    assert status == 0
    assert "1 of 1 runs are there already" in said


def test_a_run_out_of_time_is_failed_by_name_and_goes_on_where_a_call_gives_it_more(tmp_path, capsys):
    def study(**limits):
        plan = Plan("fashion-mnist-mini", parse_list("adam"), (0.01,), (0,), epochs=2, batch_size=100)
        status = run_study(
            [plan], tmp_path / "out", None, LocalEngine(1), "rectified ...", Console(width=300), Limits(**limits)
        )
        return status, capsys.readouterr().out

    status, said = study(minutes=0.005)
    assert status == 1
    assert "failed: adam lr 0.01 seed 0: it has had 0.00" in said
    assert "and --cell-minutes is 0.005: stopped in epoch 1 of 2, after step " in said
    status, said = study()
    assert status == 0
    assert "resumed epoch " in said
