"""The workers: what dies is tried again, what fails is kept, what is interrupted goes on."""

import errno
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from mini_runs import BROKEN, DATA, WHY_BROKEN, a_run, new_store
from rich.console import Console

from rectified.study import Study
from rectified.study.execution.limits import ANY, Limits, TimeLimitError
from rectified.study.executors import Event, LocalExecutor
from rectified.study.executors.executor import ATTEMPTS, cause_of, write_failure
from rectified.study.executors.local import FORKS
from rectified.study.runner import run_study
from rectified.study.storage.store import Store

RUNS = [a_run(method) for method in ("adam", "sgd", "radam")]


@pytest.fixture
def store(tmp_path):
    return new_store(tmp_path / "study", RUNS)


def kill_workers():
    for child in multiprocessing.active_children():
        os.kill(child.pid, signal.SIGKILL)


def test_every_run_is_executed_once_and_reports_its_rows(store):
    events = list(LocalExecutor(2).run(RUNS, store, DATA))
    for run in RUNS:
        assert [event.kind for event in events if event.run == run.key] == ["started", "row", "done"]
    assert {record.status for record in store.records()} == {"done"}
    assert not multiprocessing.active_children()


def test_a_worker_that_dies_is_replaced_and_its_run_tried_again(store):
    kinds = []
    with closing(LocalExecutor(1).run(RUNS[:2], store, DATA)) as events:
        for event in events:
            if event.kind == "started" and "retry" not in kinds:
                kill_workers()
            kinds.append(event.kind)
    assert kinds == ["started", "retry", "started", "row", "done", "started", "row", "done"]
    assert [store.record(run.key).attempts for run in RUNS[:2]] == [2, 1]


def test_a_run_whose_workers_keep_dying_is_failed_and_the_rest_goes_on(store):
    statuses = []
    with closing(LocalExecutor(1).run(RUNS[:2], store, DATA)) as events:
        for event in events:
            if event.kind == "started" and event.run == RUNS[0].key:
                kill_workers()
            if event.kind in ("retry", "failed", "done"):
                statuses.append((event.run.method, event.kind))
    assert statuses == [("adam", "retry")] * (ATTEMPTS - 1) + [("adam", "failed"), ("sgd", "done")]
    record = store.record(RUNS[0].key)
    assert (record.status, record.attempts) == ("failed", ATTEMPTS)
    assert "SIGKILL" in record.error
    assert record.cause == "machine"


@pytest.mark.slow
def test_a_run_that_gets_further_between_deaths_is_not_given_up(store):
    """As often as it may die in vain, and once more."""
    run = a_run(epochs=ATTEMPTS + 2, batch_size=100)
    kinds, where = [], []
    with closing(LocalExecutor(1).run([run], store, DATA, Limits(checkpoint_every=0))) as events:
        for event in events:
            kinds.append(event.kind)
            where += [event.text] if event.kind == "resumed" else []
            if event.kind == "row" and kinds.count("retry") <= ATTEMPTS:
                kill_workers()
    assert kinds[-1] == "done"
    assert kinds.count("retry") == len(where) == ATTEMPTS + 1
    assert all(" of 5, after step " in text for text in where)
    record = store.record(run.key)
    assert [row["epoch"] for row in record.rows] == [1, 2, 3, 4, 5]
    assert record.attempts == ATTEMPTS + 2


def test_a_worker_that_hangs_is_killed_when_its_time_is_over(store):
    kinds = []
    with closing(LocalExecutor(1, grace=0.0).run(RUNS[:1], store, DATA, Limits(minutes=0.02))) as events:
        for event in events:
            kinds.append(event.kind)
            for child in multiprocessing.active_children():
                os.kill(child.pid, signal.SIGSTOP)
    assert kinds == ["started", "failed"]
    record = store.record(RUNS[0].key)
    assert "killed: it was still running 0 s after its limit, --run-minutes 0.02" in record.error
    assert record.cause == "machine"


def test_an_exception_fails_its_run_at_once_with_the_traceback_kept(store):
    events = [event.kind for event in LocalExecutor(1).run([BROKEN], store, DATA)]
    assert events == ["started", "failed"]
    record = store.record(BROKEN.key)
    assert record.status == "failed"
    assert not record.finished
    assert "Traceback" in record.error
    assert record.reason.startswith(WHY_BROKEN)
    assert record.cause == "run"


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (ZeroDivisionError("division by zero"), "run"),
        (ValueError("out of memory of the past"), "run"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "run"),
        (AssertionError(), "run"),
        (SystemExit(3), "run"),
        (OSError(5, "Input/output error"), "machine"),
        (ConnectionResetError(), "machine"),
        (MemoryError(), "machine"),
        (torch.cuda.OutOfMemoryError(), "machine"),
        (RuntimeError("CUDA error: out of memory"), "machine"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), "machine"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), "machine"),
        (TimeLimitError("it ran for 1 minute"), "machine"),
        (KeyboardInterrupt(), "machine"),
    ],
)
def test_what_the_runs_own_code_raises_is_told_from_what_the_machine_lacks(error, cause):
    assert cause_of(error) == cause


def test_memory_that_torch_really_does_not_find_is_the_machines_fault():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert cause_of(caught.value) == "machine"


def test_the_data_is_in_memory_once_for_all_workers_and_gone_with_the_study(store):
    mapped = set()
    with closing(LocalExecutor(2).run(RUNS, store, DATA)) as events:
        for event in events:
            if event.kind == "row":
                for child in multiprocessing.active_children():
                    maps = Path(f"/proc/{child.pid}/maps").read_text().splitlines()
                    mapped |= {(child.pid, *line.split(maxsplit=5)[4:]) for line in maps if str(store.out) in line}
    assert len({pid for pid, _, _ in mapped}) == 2
    assert len({inode for _, inode, _ in mapped}) == 1
    assert all(name.endswith("(deleted)") for _, _, name in mapped), "nobody can put another file in its place"
    assert {path.name for path in store.out.iterdir()} == {"study.json", "runs"}


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


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
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
        assert "continue with: rectified study fashion-mnist-mini" in rest
    deadline = time.monotonic() + 20
    while any(alive(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(children) >= 2, "the server and a worker"
    assert not any(alive(child) for child in children)

    again = subprocess.run(call(tmp_path / "out"), check=True, capture_output=True, text=True)
    assert "runs are already finished" in again.stdout
    assert (tmp_path / "out" / "results.csv").read_bytes() == (undisturbed / "results.csv").read_bytes()


@dataclass(frozen=True)
class Failing(LocalExecutor):
    """As after an error in a run."""

    def run(self, runs, store, data, limits=ANY):
        for run in runs:
            write_failure(store.folder(run.key), "Traceback\nOSError: disk on fire", 1)
            yield Event("failed", run.key, text="OSError: disk on fire")


def test_no_worker_unpickles_what_somebody_lays_into_the_folder(store, tmp_path):
    """Workers once loaded a file of this name, which others can guess where they may write to the folder."""
    planted = store.out / f".fashion-mnist-mini.{os.getpid()}"
    planted.write_bytes(b"cposix\nsystem\n(S'touch " + bytes(tmp_path / "ran") + b"'\ntR.")
    before = planted.read_bytes()
    assert list(LocalExecutor(1).run(RUNS[:1], store, DATA))[-1].kind == "done"
    assert planted.read_bytes() == before
    assert not (tmp_path / "ran").exists()


@pytest.mark.usefixtures("no_figures")
def test_a_failed_run_makes_the_exit_status_1_is_named_and_runs_again_on_the_next_call(tmp_path, capsys):
    def study(executor):
        one = Study("fashion-mnist-mini", "adam", 0.01, 0, epochs=1, batch_sizes=500)
        status = run_study(one, tmp_path / "out", executor, "rectified study ...", Console(width=200))
        return status, capsys.readouterr().out

    status, said = study(Failing(1))
    assert status == 1
    assert "failed: adam lr 0.01 seed 0: OSError: disk on fire" in said
    status, said = study(LocalExecutor(1))
    assert status == 0
    assert "[1/1]" in said
    status, said = study(LocalExecutor(1))
    assert status == 0
    assert "1 of 1 runs are already finished" in said


@pytest.mark.usefixtures("no_figures")
def test_a_run_out_of_time_is_failed_by_name_and_goes_on_where_a_call_gives_it_more(tmp_path, capsys):
    def study(**limits):
        one = Study("fashion-mnist-mini", "adam", 0.01, 0, epochs=2, batch_sizes=100)
        status = run_study(
            one, tmp_path / "out", LocalExecutor(1), "rectified ...", Console(width=300), Limits(**limits)
        )
        return status, capsys.readouterr().out

    status, said = study(minutes=0.005)
    assert status == 1
    (record,) = Store.open(tmp_path / "out").records()
    assert (record.status, record.cause) == ("failed", "machine")
    assert "failed: adam lr 0.01 seed 0: it ran for 0.00" in said
    assert "and --run-minutes is 0.005: stopped in epoch 1 of 2, after step " in said
    status, said = study()
    assert status == 0
    assert "resumed epoch " in said


def test_a_fork_server_that_is_killed_while_workers_start_ends_no_study(store, monkeypatch):
    """As by the kernel, out of memory: the next process is a fork of a new one."""
    killed = []
    start = FORKS.Process.start

    def start_after_its_death(self):
        if len(killed) < 2:
            forkserver = multiprocessing.forkserver._forkserver
            forkserver.ensure_running()
            killed.append(forkserver._forkserver_pid)
            os.kill(killed[-1], signal.SIGKILL)
            raise EOFError  # what multiprocessing raises where it dies between two bytes
        start(self)

    monkeypatch.setattr(FORKS.Process, "start", start_after_its_death)
    events = list(LocalExecutor(1).run(RUNS[:1], store, DATA))
    assert events[-1].kind == "done"
    assert len(killed) == 2


def test_no_worker_at_all_is_one_line(store, monkeypatch):
    def refuse(self):
        raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")

    monkeypatch.setattr(FORKS.Process, "start", refuse)
    with pytest.raises(ChildProcessError, match=r"^no worker process can be started: .*Connection refused$"):
        list(LocalExecutor(1).run(RUNS[:1], store, DATA))
