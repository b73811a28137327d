"""The engine on a Ray cluster: the results are the local engine's, whatever becomes of nodes and workers."""

import errno
import os
import signal
import socket
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from rectified.study import Limits
from rectified.study.config.runs import Cell
from rectified.study.execution import checkpoint
from rectified.study.execution.execute import run
from rectified.study.executors import LocalEngine
from rectified.study.executors import ray as engine_module
from rectified.study.executors import ray_worker as node
from rectified.study.executors.executor import ATTEMPTS
from rectified.study.executors.ray import RayEngine
from rectified.study.storage.store import Store
from rectified.workloads.data.images import fashion_mnist_files as fashion_mnist
from rectified.workloads.tasks import TASKS

ray = pytest.importorskip("ray")

HEAD = {"task": "fashion-mnist-mini", "batch_size": 500}
DATA = {HEAD["task"]: fashion_mnist.mini()}
CELLS = [Cell(method=method, lr=0.01, seed=0, epochs=2, **HEAD) for method in ("adam", "sgd")]
UNKNOWN = Cell(method="adamm", lr=0.01, seed=0, epochs=2, **HEAD)
LONG = Cell("fashion-mnist-mini", "radam", 0.01, 0, epochs=6, batch_size=100)


def new_store(out, cells):
    store = Store(out)
    out.mkdir()
    store.add(cells, "")
    return store


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
        if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::Worker"):
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


def test_a_study_on_ray_is_to_the_byte_the_local_one(tmp_path, capfd):
    cells = [CELLS[0], UNKNOWN, CELLS[1]]
    here, there = new_store(tmp_path / "local", cells), new_store(tmp_path / "ray", cells)
    list(LocalEngine(1).run(cells, here, DATA))
    running, kinds = set(), {cell: [] for cell in cells}
    with closing(RayEngine(workers=2).run(cells, there, DATA)) as events:
        for event in events:
            kinds[event.cell].append(event.kind)
            running |= {cell for cell in cells if there.running(cell)}
            assert event.kind != "row" or there.running(event.cell)
    assert kinds == {cell: ["started", "row", "row", "done"] for cell in CELLS} | {UNKNOWN: ["started", "failed"]}
    assert running == set(cells)
    assert not any(there.running(cell) for cell in cells)
    for store in (here, there):
        store.write_tables()
    assert (there.out / "results.csv").read_bytes() == (here.out / "results.csv").read_bytes()
    for cell in CELLS:
        for name in ("rows.jsonl", "config.json"):
            assert (there.folder(cell) / name).read_bytes() == (here.folder(cell) / name).read_bytes()
        assert files(there.folder(cell)) == files(here.folder(cell))
        assert len(here.record(cell).rows) == 2
    assert there.record(UNKNOWN).reason.startswith("ValueError: unknown method 'adamm'")
    assert "Traceback" in there.record(UNKNOWN).error
    assert not ray.is_initialized()
    wait_for_no_workers()
    assert capfd.readouterr() == ("", "")


def test_a_run_whose_node_dies_goes_on_elsewhere_from_its_checkpoint(cluster, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    store, task = new_store(tmp_path / "study", [LONG]), TASKS[LONG.task]
    run(LONG, task.load(DATA[LONG.task]), tmp_path / "whole", limits=Limits(checkpoint_every=1e9))
    kinds, texts = [], []
    with closing(RayEngine(cluster.address).run([LONG], store, DATA, Limits(checkpoint_every=0.1))) as events:
        for event in events:
            kinds.append(event.kind)
            texts.append(event.text)
            if "retry" not in kinds and kinds.count("row") == 3:
                assert (store.folder(LONG) / checkpoint.NAME).exists()
                cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
                cluster.add_node(num_cpus=1)
    assert kinds.count("retry") == kinds.count("resumed") == 1
    assert kinds[kinds.index("retry") :][:3] == ["retry", "started", "resumed"]
    assert kinds[-1] == "done"
    assert "died" in texts[kinds.index("retry")]
    assert texts[kinds.index("resumed")] >= "epoch 2 of 6, after step "
    assert (store.folder(LONG) / "rows.jsonl").read_bytes() == (tmp_path / "whole" / "rows.jsonl").read_bytes()
    assert store.record(LONG).attempts == 2
    assert not (store.folder(LONG) / checkpoint.NAME).exists()
    board = EventAccumulator(str(store.folder(LONG))).Reload()
    assert [event.step for event in board.Scalars("train_loss")] == [60, 120, 180, 240, 300, 360]


@pytest.mark.slow
def test_a_cell_whose_workers_keep_dying_is_failed_and_the_rest_goes_on(cluster, tmp_path):
    store, told = new_store(tmp_path / "study", CELLS), []
    with closing(RayEngine(cluster.address).run(CELLS, store, DATA)) as events:
        for event in events:
            if event.kind == "started" and event.cell == CELLS[0]:
                for pid in workers():
                    os.kill(pid, signal.SIGKILL)
            if event.kind in ("retry", "failed", "done"):
                told.append((event.cell, event.kind))
    assert told == [(CELLS[0], "retry")] * (ATTEMPTS - 1) + [(CELLS[0], "failed"), (CELLS[1], "done")]
    record = store.record(CELLS[0])
    assert (record.status, record.attempts) == ("failed", ATTEMPTS)
    assert f"{ATTEMPTS} times without a new checkpoint" in record.error


def test_a_run_out_of_time_is_failed_and_goes_on_later_and_closing_leaves_nothing_at_work(cluster, tmp_path):
    store = new_store(tmp_path / "study", [LONG])
    kinds = [event.kind for event in RayEngine(cluster.address).run([LONG], store, DATA, Limits(minutes=0.005))]
    assert kinds[-1] == "failed"
    assert store.record(LONG).reason.startswith("it has had 0.0")
    assert (store.folder(LONG) / checkpoint.NAME).exists()
    with closing(RayEngine(cluster.address).run([LONG], store, DATA)) as events:
        assert [next(events).kind for _ in range(3)] == ["started", "resumed", "row"]
        assert list(workers())
        assert store.running(LONG)
    wait_for_no_workers()
    assert not store.running(LONG)
    assert not ray.is_initialized()


def test_a_run_that_does_not_end_with_its_time_is_killed(cluster, tmp_path, monkeypatch):
    class Worker:
        def __init__(self, limits, device): ...

        def news(self):
            return {}, [("ready", None, "")]

        def give(self, *_):
            time.sleep(600)

    monkeypatch.setattr(engine_module, "Worker", Worker)
    store = new_store(tmp_path / "study", [LONG])
    events = RayEngine(cluster.address, grace=1.0).run([LONG], store, DATA, Limits(minutes=0.01))
    assert [event.kind for event in events] == ["started", "failed"]
    assert store.record(LONG).reason == "killed: it was not done 1 s after its time, --cell-minutes 0.01"
    wait_for_no_workers()


def test_a_study_that_finds_no_room_says_so_and_waits_for_it(cluster, tmp_path):
    store = new_store(tmp_path / "study", CELLS[:1])
    with closing(RayEngine(cluster.address, gpus=2).run(CELLS[:1], store, DATA)) as events:
        assert next(events).text == "no node of the Ray cluster has 1 CPU and 2 GPU for a run: it waits"


def test_a_worker_that_finds_its_disk_full_says_so(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(node, "run", full)
    worker = node.Worker(Limits(), "cpu")
    assert worker.news() == ({}, [("ready", None, "")])
    worker.data = ("the data", None)
    files, told = worker.give(CELLS[0], ["the data"], {checkpoint.NAME: b"of before"}, 1)
    assert files == {}
    assert told == [("full", None, f"No space left on device, on the node {socket.gethostname()}")]


def test_a_full_disk_on_a_node_stops_the_study_and_fails_nothing(cluster, tmp_path, monkeypatch):
    class Worker:
        def __init__(self, limits, device): ...

        def news(self):
            return {}, [("ready", None, "")]

        def give(self, *_):
            return {}, [("full", None, "No space left on device, on the node there")]

    monkeypatch.setattr(engine_module, "Worker", Worker)
    store = new_store(tmp_path / "study", CELLS)
    with pytest.raises(OSError, match="No space left on device, on the node there") as caught:
        list(RayEngine(cluster.address).run(CELLS, store, DATA))
    assert caught.value.errno == errno.ENOSPC
    assert {record.status for record in store.records()} == {"missing"}


@pytest.mark.slow
def test_a_cluster_on_which_no_worker_starts_is_told_of(cluster, tmp_path, monkeypatch):
    class Worker:
        def __init__(self, limits, device):
            raise ModuleNotFoundError("No module named 'rectified'")

        def news(self): ...

    monkeypatch.setattr(engine_module, "Worker", Worker)
    store = new_store(tmp_path / "study", CELLS)
    with pytest.raises(ValueError, match=r"no worker starts on the Ray cluster.*No module named 'rectified'"):
        list(RayEngine(cluster.address).run(CELLS, store, DATA))
    assert {record.status for record in store.records()} == {"missing"}


def test_what_cannot_be_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="--workers is 0; it must be at least 1"):
        RayEngine(workers=0)
    with pytest.raises(ValueError, match=r"a worker has 0 CPUs and 0.0 GPUs"):
        RayEngine(cpus=0)
    with pytest.raises(ValueError, match=r"--address is '127.0.0.1:1', and no Ray cluster answers there: "):
        list(RayEngine("127.0.0.1:1").run(CELLS, new_store(tmp_path / "study", CELLS), DATA))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"Ray is not installed; pip install 'rectified\[ray\]'"):
        RayEngine()
