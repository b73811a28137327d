"""kill -9 at random moments, of workers and of the parent: the results are those of an undisturbed study."""

import os
import random
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from rectified.study import Limits
from rectified.study.config.methods import parse_list
from rectified.study.config.runs import Plan
from rectified.study.execution.execute import run
from rectified.study.storage.store import Store
from rectified.workloads.tasks import TASKS


def command(plan, out, every):
    axes = {"--methods": [method.name for method in plan.methods], "--lrs": plan.lrs, "--seeds": plan.seeds}
    grid = [word for flag, values in axes.items() for word in (flag, ",".join(map(str, values)))]
    more = ["--epochs", str(plan.epochs), "--workers", "2", "--checkpoint-every", str(every), "--out", str(out)]
    return [sys.executable, "-m", "rectified.cli", "study", plan.task, *grid, *more]


def children_of(pid):
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def server_of(pid):
    """The process of which a study's workers are forks; beside it there is one that tracks resources."""
    for child in children_of(pid):
        with suppress(FileNotFoundError):
            if b"forkserver" in Path(f"/proc/{child}/cmdline").read_bytes():
                return child
    return None


def kill(pid):
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def disturbed(start, kills, generator, longest):
    """Run the study to its end, killing a worker, all of them or the parent up to so often; how often of each."""
    done = dict.fromkeys(("worker", "workers", "server", "parent"), 0)
    study = subprocess.Popen(start, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while sum(done.values()) < kills:
            with suppress(subprocess.TimeoutExpired):
                if study.wait(generator.uniform(0, longest)) == 0:
                    return done
                study = subprocess.Popen(start, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                continue
            server = server_of(study.pid)
            there = children_of(server) if server else []
            what = generator.choices(list(done), (6, 2, 1, 2))[0]
            if what != "parent" and not there:
                continue
            whom = {"worker": [generator.choice(there or [0])], "workers": there, "server": [server]}
            for pid in whom.get(what, [study.pid]):
                kill(pid)
            done[what] += 1
        for _ in range(3):
            if study.wait(300) == 0:
                break
            # The last kill was the parent's, or one cell was killed three times before it came to a checkpoint.
            study = subprocess.Popen(start, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    finally:
        study.kill()
        study.wait()
    return done


def undisturbed(plan, out):
    """The study, by this process alone."""
    task = TASKS[plan.task]
    store = Store(out)
    out.mkdir()
    store.add(plan.cells(), "")
    data = task.load(task.find(None, print))
    for cell in plan.cells():
        run(cell, data, store.folder(cell), limits=Limits(checkpoint_every=1e9))
    store.write_tables()
    return out


def check(plan, kills, tmp_path, longest, every, seed):
    """Kill so often, over as many studies as that takes, and compare each study's results with an undisturbed one's."""
    generator = random.Random(seed)
    reference, studies = undisturbed(plan, tmp_path / "undisturbed"), []
    while (left := kills - sum(sum(done.values()) for done in studies)) > 0:
        out = tmp_path / f"study-{len(studies)}"
        studies.append(disturbed(command(plan, out, every), left, generator, longest))
        assert (out / "results.csv").read_bytes() == (reference / "results.csv").read_bytes()
        for cell in plan.cells():
            rows = Path("cells", cell.id, "rows.jsonl")
            assert (out / rows).read_bytes() == (reference / rows).read_bytes()
        assert not list(out.glob("cells/*/checkpoint.pt"))
    print(f"{studies} killed")


def test_six_kills_change_nothing(tmp_path):
    plan = Plan("fashion-mnist-mini", parse_list("adam,radam"), (0.01,), (0,), epochs=3, batch_size=100)
    check(plan, 6, tmp_path, longest=3, every=0.1, seed=0)


@pytest.mark.slow
def test_a_hundred_kills_over_twelve_cells_change_nothing(tmp_path):
    plan = Plan("fashion-mnist-mini", parse_list("adam,sgd,radam"), (0.01, 0.05), (0, 1), epochs=8, batch_size=100)
    check(plan, 100, tmp_path, longest=5, every=0.2, seed=1)
