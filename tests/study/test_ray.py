"""The executor on a Ray cluster: the results are the local one's, whatever becomes of nodes and workers."""

import errno
import os
import signal
import socket
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from mini_runs import BROKEN, DATA, MINI, WHY_BROKEN, a_run, new_store

from rectified.study.config.errors import InvalidOption
from rectified.study.execution import checkpoint
from rectified.study.execution.execute import execute
from rectified.study.execution.limits import Limits, TimeLimitError
from rectified.study.executors import LocalExecutor, RayExecutor
from rectified.study.executors import ray as executor_module
from rectified.study.executors import ray_worker as node
from rectified.study.executors.executor import ATTEMPTS
from rectified.study.executors.parcels import Parcel, pack

ray = pytest.importorskip("ray")

RUNS = [a_run(method, epochs=2) for method in ("adam", "sgd")]
LONG = a_run("radam", epochs=6, batch_size=100)


@pytest.fixture(scope="module")
def cluster():
    """Nodes as processes of this machine; the head, which is also the driver's, runs nothing."""
    from ray.cluster_utils import Cluster

    quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 2}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": quick})
    cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


def workers(pid=None):
    """The processes of the actors that descend from this one."""
    pid = os.getpid() if pid is None else pid
    with suppress(FileNotFoundError):
        if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::RayWorker"):
            yield pid
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from workers(int(child))


def wait_for_no_workers():
    deadline = time.monotonic() + 10
    while list(workers()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not list(workers())


def files(folder):
    """What is in a run's folder, those of TensorBoard by their first word."""
    return sorted(path.name.split(".")[0] for path in folder.iterdir())


@pytest.mark.slow
def test_a_study_on_ray_is_to_the_byte_the_local_one(tmp_path, capfd):
    runs = [RUNS[0], BROKEN, RUNS[1]]
    keys = [run.key for run in runs]
    here, there = new_store(tmp_path / "local", runs), new_store(tmp_path / "ray", runs)
    list(LocalExecutor(1).run(runs, here, DATA))
    running, kinds = set(), {key: [] for key in keys}
    with closing(RayExecutor(workers=2).run(runs, there, DATA)) as events:
        for event in events:
            kinds[event.run].append(event.kind)
            running |= {key for key in keys if there.running(key)}
            assert event.kind != "row" or there.running(event.run)
    well = {run.key: ["started", "row", "row", "done"] for run in RUNS}
    assert kinds == well | {BROKEN.key: ["started", "failed"]}
    assert running == set(keys)
    assert not any(there.running(key) for key in keys)
    for store in (here, there):
        store.write_tables()
    assert (there.out / "results.csv").read_bytes() == (here.out / "results.csv").read_bytes()
    for key in well:
        for name in ("rows.jsonl", "steps.csv", "config.json"):
            assert (there.folder(key) / name).read_bytes() == (here.folder(key) / name).read_bytes()
        assert files(there.folder(key)) == files(here.folder(key))
        assert len(here.record(key).rows) == 2
    assert there.record(BROKEN.key).reason.startswith(WHY_BROKEN)
    assert "Traceback" in there.record(BROKEN.key).error
    assert not ray.is_initialized()
    wait_for_no_workers()
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_a_run_whose_node_dies_goes_on_elsewhere_from_its_checkpoint(cluster, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    store = new_store(tmp_path / "study", [LONG])
    list(execute(LONG, MINI.load(DATA[MINI.name]), tmp_path / "whole", limits=Limits(checkpoint_every=1e9)))
    kinds, texts = [], []
    with closing(RayExecutor(cluster.address).run([LONG], store, DATA, Limits(checkpoint_every=0.1))) as events:
        for event in events:
            kinds.append(event.kind)
            texts.append(event.text)
            if "retry" not in kinds and kinds.count("row") == 3:
                assert (store.folder(LONG.key) / checkpoint.NAME).exists()
                cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
                cluster.add_node(num_cpus=1)
    assert kinds.count("retry") == kinds.count("resumed") == 1
    assert kinds[kinds.index("retry") :][:3] == ["retry", "started", "resumed"]
    assert kinds[-1] == "done"
    assert "died" in texts[kinds.index("retry")]
    assert texts[kinds.index("resumed")] >= "epoch 2 of 6, after step "
    for name in ("rows.jsonl", "steps.csv"):
        assert (store.folder(LONG.key) / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert store.record(LONG.key).attempts == 2
    assert not (store.folder(LONG.key) / checkpoint.NAME).exists()
    board = EventAccumulator(str(store.folder(LONG.key))).Reload()
    assert [event.step for event in board.Scalars("train_loss")] == [60, 120, 180, 240, 300, 360]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ZeroDivisionError("a bug"), "raised"),
        (SystemExit("enough"), "raised"),
        (MemoryError("no room"), "failed"),
        (TimeLimitError("late"), "failed"),
    ],
)
def test_a_worker_says_whether_the_runs_own_code_raised(monkeypatch, error, kind):
    def raises(*_):
        raise error

    monkeypatch.setattr(node, "execute", raises)
    worker = node.RayWorker(Limits(), "cpu")
    worker.news()
    worker.workload = ("the workload", (MINI, None))
    _, [(found, _, text)] = worker.give(pack(Parcel.of(RUNS[0], Path("nowhere"), attempt=1)), ["the workload"], {})
    assert (found, text.strip().splitlines()[-1].endswith(str(error))) == (kind, True)
    assert worker.home is None, "its folder is gone with the run"


@pytest.mark.slow
def test_a_run_whose_workers_keep_dying_is_failed_and_the_rest_goes_on(cluster, tmp_path):
    store, told = new_store(tmp_path / "study", RUNS), []
    with closing(RayExecutor(cluster.address).run(RUNS, store, DATA)) as events:
        for event in events:
            if event.kind == "started" and event.run == RUNS[0].key:
                for pid in workers():
                    os.kill(pid, signal.SIGKILL)
            if event.kind in ("retry", "failed", "done"):
                told.append((event.run.method, event.kind))
    assert told == [("adam", "retry")] * (ATTEMPTS - 1) + [("adam", "failed"), ("sgd", "done")]
    record = store.record(RUNS[0].key)
    assert (record.status, record.attempts) == ("failed", ATTEMPTS)
    assert f"{ATTEMPTS} times without a new checkpoint" in record.error
    assert record.cause == "machine"


@pytest.mark.slow
def test_a_run_out_of_time_is_failed_and_goes_on_later_and_closing_leaves_nothing_at_work(cluster, tmp_path):
    store = new_store(tmp_path / "study", [LONG])
    kinds = [event.kind for event in RayExecutor(cluster.address).run([LONG], store, DATA, Limits(minutes=0.005))]
    assert kinds[-1] == "failed"
    assert store.record(LONG.key).reason.startswith("it ran for 0.0")
    assert (store.folder(LONG.key) / checkpoint.NAME).exists()
    with closing(RayExecutor(cluster.address).run([LONG], store, DATA)) as events:
        assert [next(events).kind for _ in range(3)] == ["started", "resumed", "row"]
        assert list(workers())
        assert store.running(LONG.key)
    wait_for_no_workers()
    assert not store.running(LONG.key)
    assert not ray.is_initialized()


@pytest.mark.slow
def test_a_run_that_does_not_end_with_its_time_is_killed(cluster, tmp_path, monkeypatch):
    class RayWorker:
        def __init__(self, limits, device): ...

        def news(self):
            return {}, [("ready", None, "")]

        def give(self, *_):
            time.sleep(600)

    monkeypatch.setattr(executor_module, "RayWorker", RayWorker)
    store = new_store(tmp_path / "study", [LONG])
    events = RayExecutor(cluster.address, grace=1.0).run([LONG], store, DATA, Limits(minutes=0.01))
    assert [event.kind for event in events] == ["started", "failed"]
    assert store.record(LONG.key).reason == "killed: it was still running 1 s after its limit, --run-minutes 0.01"
    wait_for_no_workers()


@pytest.mark.slow
def test_a_study_that_finds_no_room_says_so_and_waits_for_it(cluster, tmp_path):
    store = new_store(tmp_path / "study", RUNS[:1])
    with closing(RayExecutor(cluster.address, gpus=2).run(RUNS[:1], store, DATA)) as events:
        assert next(events).text == "no node of the Ray cluster has 1 CPU and 2 GPU for a run; waiting"


def test_a_worker_that_finds_its_disk_full_says_so(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(node, "execute", full)
    worker = node.RayWorker(Limits(), "cpu")
    assert worker.news() == ({}, [("ready", None, "")])
    worker.workload = ("the workload", (MINI, None))
    parcel = pack(Parcel.of(RUNS[0], Path("nowhere"), attempt=1))
    files, told = worker.give(parcel, ["the workload"], {checkpoint.NAME: b"of before"})
    assert files == {}
    assert told == [("full", None, f"No space left on device, on node {socket.gethostname()}")]


@pytest.mark.slow
def test_a_full_disk_on_a_node_stops_the_study_and_fails_nothing(cluster, tmp_path, monkeypatch):
    class RayWorker:
        def __init__(self, limits, device): ...

        def news(self):
            return {}, [("ready", None, "")]

        def give(self, *_):
            return {}, [("full", None, "No space left on device, on node there")]

    monkeypatch.setattr(executor_module, "RayWorker", RayWorker)
    store = new_store(tmp_path / "study", RUNS)
    with pytest.raises(OSError, match="No space left on device, on node there") as caught:
        list(RayExecutor(cluster.address).run(RUNS, store, DATA))
    assert caught.value.errno == errno.ENOSPC
    assert {record.status for record in store.records()} == {"missing"}


@pytest.mark.slow
def test_a_cluster_on_which_no_worker_starts_is_told_of(cluster, tmp_path, monkeypatch):
    class RayWorker:
        def __init__(self, limits, device):
            raise ModuleNotFoundError("No module named 'rectified'")

        def news(self): ...

    monkeypatch.setattr(executor_module, "RayWorker", RayWorker)
    store = new_store(tmp_path / "study", RUNS)
    with pytest.raises(ValueError, match=r"no worker starts on the Ray cluster.*No module named 'rectified'"):
        list(RayExecutor(cluster.address).run(RUNS, store, DATA))
    assert {record.status for record in store.records()} == {"missing"}


def test_what_cannot_be_is_refused(tmp_path, monkeypatch):
    with pytest.raises(InvalidOption, match=r"^workers is 0: it must be a whole number, at least 1$"):
        RayExecutor(workers=0)
    with pytest.raises(ValueError, match=r"a worker has 0 CPUs and 0.0 GPUs"):
        RayExecutor(cpus=0)
    with pytest.raises(InvalidOption, match=r"^address is 127.0.0.1:1: no Ray cluster answers at this address: "):
        list(RayExecutor("127.0.0.1:1").run(RUNS, new_store(tmp_path / "study", RUNS), DATA))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InvalidOption, match=r"^executor is ray: Ray is not installed; pip install 'rectified\[ray\]'"):
        RayExecutor()
