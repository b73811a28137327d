"""Several processes that train one run: the steps of one process, and nothing left of them when one dies."""

import json
import multiprocessing
import os
import signal
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace

import mini_runs
import pytest
import torch
from mini_runs import BROKEN, DATA, MINI, WHY_BROKEN, new_store
from rich.console import Console
from test_resume import TINY, a_run, run, same

from rectified.study.config.errors import InvalidOption
from rectified.study.config.study import Study
from rectified.study.execution.checkpoint import NAME, read_checkpoint, write_checkpoint
from rectified.study.execution.limits import Limits, TimeLimitError
from rectified.study.executors import LocalExecutor, ddp_launcher, ddp_worker, local
from rectified.study.executors.ddp_launcher import (
    RankDiedError,
    RankError,
    RankMemoryError,
    RankOSError,
    _Heard,
    check_ranks,
    execute_on,
)
from rectified.study.executors.ddp_worker import part
from rectified.study.executors.executor import FAILURES
from rectified.study.executors.local import shared
from rectified.study.executors.parcels import Parcel, pack, path_for_children, write_shared
from rectified.study.runner import run_study
from rectified.workloads.tasks.task import examples

TWO = ("cpu", "cpu")


def run_on(this, file, folder, **limits):
    """Execute to the end by two ranks; returns what was reported on the way, without the last, that it is done."""
    *told, end = execute_on(TWO, this, file, folder, 1, Limits(**limits))
    assert end == ("done", None, "")
    return told


@pytest.fixture(autouse=True)
def _watched(monkeypatch):
    monkeypatch.setattr(ddp_launcher, "PROGRAM", [str(Path(__file__).with_name("ddp_tiny.py"))])


@pytest.fixture
def tiny(tmp_path):
    """The tiny task and its data, as the ranks find them."""
    file = write_shared(tmp_path, TINY, TINY.load(None))
    with path_for_children(file) as path:
        yield path
    os.close(file)


def final(folder):
    """Each rank's state when the run was done."""
    return [torch.load(folder.with_name(f"{folder.name}-{rank}.pt")) for rank in range(2)]


@pytest.mark.slow
def test_two_ranks_take_the_steps_of_one_process(tmp_path):
    """In batches of an odd number of examples, the last of one, so that a rank has none of it."""
    this = mini_runs.a_run("radam", 0.003, epochs=2, batch_size=857)
    one, two = tmp_path / "one", tmp_path / "two"
    with shared([this], DATA, tmp_path) as files, path_for_children(files[MINI.name]) as path:
        run_on(this, path, two)
    run(this, MINI.load(DATA[MINI.name]), one)
    rows = [[json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()] for folder in (one, two)]
    assert [row["step"] for row in rows[0]] == [row["step"] for row in rows[1]] == [8, 16]
    for alone, together in zip(*rows, strict=True):
        assert together == pytest.approx(alone, rel=1e-4)
    first, second = final(two)
    assert same(first["model"], second["model"])
    assert same(first["optimizer"], second["optimizer"])
    assert first["losses"].tolist() == second["losses"].tolist()
    done = json.loads((two / "done.json").read_text())
    assert (done["step"], done["versions"]["ranks"]) == (16, "2")


@pytest.mark.slow
def test_out_of_time_or_killed_a_run_goes_on_bit_for_bit(tiny, tmp_path, monkeypatch):
    whole, stopped, told = tmp_path / "whole", tmp_path / "stopped", []

    def go_on(**limits):
        for progress in execute_on(TWO, a_run(), tiny, stopped, 1, Limits(**limits)):
            told.append(progress)  # also where it then raises

    run_on(a_run(), tiny, whole)
    with pytest.raises(TimeLimitError, match=r"--run-minutes is 1e-09: stopped in epoch 1 of 2, after step 0"):
        go_on(minutes=1e-9)
    monkeypatch.setenv("HURT", "0 10 kill")
    with pytest.raises(RankDiedError, match=r"^rank 0 died \(signal SIGKILL\)$"):
        go_on(checkpoint_every=0)
    monkeypatch.delenv("HURT")
    go_on()
    assert [(kind, text) for kind, _, text in told] == [
        *[("resumed", "epoch 1 of 2, after step 0"), ("row", "")],
        *[("resumed", "epoch 2 of 2, after step 10"), ("row", ""), ("done", "")],
    ]
    for name in ("rows.jsonl", "steps.csv"):
        assert (stopped / name).read_bytes() == (whole / name).read_bytes()
    for straight, resumed in zip(final(whole), final(stopped), strict=True):
        del straight["seconds"], resumed["seconds"]
        assert same(straight, resumed)
    mine, others = final(whole)[0]["random"]
    assert not torch.equal(mine, others), "dropout is each rank's own"


@pytest.mark.slow
def test_an_exception_of_a_rank_is_told_with_its_traceback_and_leaves_no_checkpoint(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("HURT", "1 5 raise")
    says = r"(?s)^in rank 1:\nTraceback .* in hurt_take\n.*ZeroDivisionError: of rank 1\n$"
    with pytest.raises(RankError, match=says):
        run_on(a_run(), tiny, tmp_path / "run", checkpoint_every=0)
    assert (tmp_path / "run" / "config.json").exists()
    assert not (tmp_path / "run" / NAME).exists()


def test_a_checkpoint_of_another_number_of_ranks_is_refused(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(TimeLimitError):
        run(a_run(), TINY.load(None), folder, limits=Limits(minutes=1e-9))
    state = read_checkpoint(folder)
    write_checkpoint(folder, state | {"versions": state["versions"] | {"ranks": "2"}})
    told = run(a_run(), TINY.load(None), folder)
    assert told[0][2] == "its checkpoint has other versions: ranks 2, now none; the run starts over"


@pytest.mark.parametrize(
    ("heard", "raises", "says"),
    [
        (_Heard(("late", "enough")), TimeLimitError, "^enough$"),
        (_Heard(("full", "no room")), OSError, "no room"),
        (_Heard(codes={0: -15, 1: -9}), RankDiedError, r"^rank 1 died \(signal SIGKILL\)$"),
        (_Heard(codes={0: 1, 1: -9}, raised={0: "it is gone"}), RankDiedError, r"^rank 1 died \(signal SIGKILL\)$"),
        (_Heard(codes={0: 1, 1: -15}, cut={0}), RankDiedError, r"^rank 1 died \(signal SIGTERM\)$"),
        (_Heard(codes={0: 1, 1: 3}, cut={0}), RankDiedError, r"^rank 1 died \(exit code 3\)$"),
        (_Heard(codes={0: 1, 1: 1}, raised={1: "a bug", 0: "gone"}), RankError, "^in rank 1:\na bug$"),
        (_Heard(codes={0: -6, 1: 1}, raised={1: "a bug"}), RankError, "^in rank 1:\na bug$"),
        (_Heard(codes={0: -15, 1: 1}, raised={1: "a bug"}), RankError, "^in rank 1:\na bug$"),
        (_Heard(codes={0: 1, 1: 1}, raised={1: "a disk"}, os_errors={1}), OSError, "^in rank 1:\na disk$"),
        (_Heard(codes={0: 1, 1: 1}, raised={1: "no room"}, no_memory={1}), MemoryError, "^in rank 1:\nno room$"),
        (_Heard(raised={1: "a store that is gone"}, launcher=-9), RankDiedError, "launcher died"),
        (_Heard(cut={0, 1}, launcher=-9), RankDiedError, r"launcher died \(signal SIGKILL\)"),
    ],
)
def test_a_death_is_told_from_what_others_say_of_it(heard, raises, says):
    with pytest.raises(raises, match=says):
        heard.status()


def test_an_error_of_the_code_is_no_error_of_the_machine():
    with pytest.raises(RankError) as caught:
        _Heard(codes={0: 1, 1: 1}, raised={1: "a bug", 0: "a disk"}, os_errors={0}, no_memory={0}).status()
    assert not isinstance(caught.value, OSError | MemoryError)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (RankError("in rank 1:\n# not out of memory\nZeroDivisionError"), "run"),
        (RankMemoryError("in rank 1"), "machine"),
        (RankOSError("in rank 1"), "machine"),
    ],
)
def test_a_worker_passes_on_whose_fault_a_ranks_error_was(error, cause, tmp_path, monkeypatch):
    def raises(*_):
        raise error

    sent = []

    class Connection:
        def recv(self):
            if sent:
                raise EOFError
            return "tiny", pack(Parcel.of(a_run(), tmp_path, 1))

        def send(self, answer):
            sent.append(answer)

    monkeypatch.setattr(local, "execute_on", raises)
    monkeypatch.setattr(local, "recv_handle", lambda connection: os.open(os.devnull, os.O_RDONLY))
    monkeypatch.setattr(local, "read_shared", lambda file: (TINY, None))
    monkeypatch.setattr(local, "_die_with_parent", lambda: None)
    threads = torch.get_num_threads()
    local._serve(Connection(), Limits(), TWO)
    torch.set_num_threads(threads)
    [(kind, _, text)] = sent
    assert FAILURES[kind] == cause
    assert text == str(error)


def test_a_rank_whose_task_raises_systemexit_reports_it_as_raised(monkeypatch):
    def raises(*_, **__):
        sys.exit("enough")

    monkeypatch.setattr(ddp_worker.dist, "init_process_group", raises)
    kind, text = ddp_worker._trained(SimpleNamespace(devices=["cpu"]), 0, print)
    assert (kind, text.splitlines()[-1]) == ("raised", "SystemExit: enough")


def test_every_example_is_in_one_part():
    batch = (torch.arange(7), [torch.arange(14).reshape(7, 2)])
    assert examples(batch) == 7
    whole, [pairs] = part(batch, slice(2, 5))
    assert whole.tolist() == [2, 3, 4]
    assert pairs.tolist() == [[4, 5], [6, 7], [8, 9]]


def test_what_cannot_be_is_refused_by_name(tmp_path):
    with pytest.raises(InvalidOption, match=r"^ranks is 3: a batch of 2 has fewer examples than that$"):
        check_ranks(3, [4, 2])
    with pytest.raises(InvalidOption, match=r"^ranks is 0: it must be a whole number, at least 1$"):
        LocalExecutor(1, ranks=0)
    with pytest.raises(InvalidOption, match=r"^ranks is 3: there are 2 devices$"):
        LocalExecutor(1, ("cuda:0", "cuda:1"), ranks=3)
    study = Study("fashion-mnist-mini", "adam", 0.01, 0, epochs=1, batch_sizes=500)
    with pytest.raises(InvalidOption, match=r"^ranks is 501: a batch of 500 has fewer examples than that$"):
        run_study(study, tmp_path / "out", LocalExecutor(1, ranks=501), "rectified study ...", Console())
    assert not (tmp_path / "out").exists()


def test_a_worker_has_a_slice_of_the_gpus():
    gpus = tuple(f"cuda:{i}" for i in range(5))
    assert LocalExecutor(1, gpus, ranks=2).slices == [("cuda:0", "cuda:1"), ("cuda:2", "cuda:3")]
    assert LocalExecutor(1, gpus).slices == [(gpu,) for gpu in gpus]
    assert LocalExecutor(4, ranks=2).slices == [TWO]


def descendants(pid):
    """The processes that a process started, and theirs, and which rank each is, if one."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
            yield int(child), next((int(line[5:]) for line in environment if line.startswith(b"RANK=")), None)
            yield from descendants(child)


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def await_the_end_of(pids):
    deadline = time.monotonic() + 20
    while left := [pid for pid in pids if not gone(pid)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


DEATHS = {
    "worker": "its worker process died (signal SIGKILL)",
    "rank": "rank 1 died (signal SIGKILL)",
    "launcher": "its ranks' launcher died (signal SIGKILL)",
}


@pytest.mark.slow
@pytest.mark.parametrize("victims", [["worker"], ["rank", "launcher", "worker"]])
def test_whoever_is_killed_no_process_is_left_and_the_run_goes_on(victims, tmp_path):
    this = mini_runs.a_run("radam", epochs=len(victims) + 1, batch_size=100)
    store, events, left = new_store(tmp_path / "study", [this]), [], list(victims)
    with closing(LocalExecutor(1, ranks=2).run([this], store, DATA, Limits(checkpoint_every=0))) as running:
        for event in running:
            events.append(event)
            if event.kind == "row" and left:
                worker = multiprocessing.active_children()[0].pid
                launcher, *of_ranks = descendants(worker)
                assert [rank for _, rank in of_ranks] == [0, 1]
                whom = {"rank": of_ranks[1][0], "launcher": launcher[0], "worker": worker}[left.pop(0)]
                os.kill(whom, signal.SIGKILL)
                await_the_end_of([pid for pid, _ in [launcher, *of_ranks]])
    again = ["retry", "started", "resumed", "row"]
    assert [event.kind for event in events] == ["started", "row", *again * len(victims), "done"]
    assert [event.text for event in events if event.kind == "retry"] == [DEATHS[victim] for victim in victims]
    record = store.record(this.key)
    assert [row["epoch"] for row in record.rows] == list(range(1, len(victims) + 2))
    assert (record.status, record.attempts, record.versions["ranks"]) == ("done", len(victims) + 1, "2")
    assert not multiprocessing.active_children()
    assert {rank for _, rank in descendants(os.getpid())} <= {None}  # multiprocessing has a process of its own


@pytest.mark.slow
def test_an_exception_fails_its_run_with_the_traceback_kept(tmp_path):
    store = new_store(tmp_path / "study", [BROKEN])
    events = list(LocalExecutor(1, ranks=2).run([BROKEN], store, DATA))
    assert [event.kind for event in events] == ["started", "failed"]
    assert store.record(BROKEN.key).reason.startswith(WHY_BROKEN)
