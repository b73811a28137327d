"""kill -9 at random moments, of workers and of the parent: the results are those of an undisturbed study."""

import os
import random
import shlex
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from mini_runs import DATA, MINI, new_store

from rectified.study import Study
from rectified.study.execution.execute import execute
from rectified.study.execution.limits import Limits


def command(study, out, every):
    _, *words = shlex.split(study.command)
    more = ["--workers", "2", "--checkpoint-every", str(every), "--out", str(out)]
    return [sys.executable, "-m", "rectified.cli", *words, *more]


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
            # The last kill was the parent's, or one run was killed three times before it came to a checkpoint.
            study = subprocess.Popen(start, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    finally:
        study.kill()
        study.wait()
    return done


def undisturbed(study, out):
    """The study, by this process alone."""
    store, data = new_store(out, study.runs()), MINI.load(DATA[MINI.name])
    for run in study.runs():
        for _ in execute(run, data, store.folder(run.key), limits=Limits(checkpoint_every=1e9)):
            pass
    store.write_tables()
    return out


def check(study, kills, tmp_path, longest, every, seed):
    """Kill so often, over as many studies as that takes, and compare each study's results with an undisturbed one's."""
    generator = random.Random(seed)
    reference, studies = undisturbed(study, tmp_path / "undisturbed"), []
    while (left := kills - sum(sum(done.values()) for done in studies)) > 0:
        out = tmp_path / f"study-{len(studies)}"
        studies.append(disturbed(command(study, out, every), left, generator, longest))
        assert (out / "results.csv").read_bytes() == (reference / "results.csv").read_bytes()
        for run in study.runs():
            for name in ("rows.jsonl", "steps.csv"):
                file = Path("runs", run.key.id, name)
                assert (out / file).read_bytes() == (reference / file).read_bytes()
        assert not list(out.glob("runs/*/checkpoint.pt"))
    print(f"{studies} killed")


@pytest.mark.slow
def test_three_kills_change_nothing(tmp_path):
    study = Study("fashion-mnist-mini", "adam,radam", 0.01, 0, epochs=2, batch_sizes=100)
    check(study, 3, tmp_path, longest=3, every=0.1, seed=0)


@pytest.mark.slow
def test_a_hundred_kills_over_twelve_runs_change_nothing(tmp_path):
    study = Study("fashion-mnist-mini", "adam,sgd,radam", [0.01, 0.05], [0, 1], epochs=8, batch_sizes=100)
    check(study, 100, tmp_path, longest=5, every=0.2, seed=1)
