"""Runs of the smallest task, and a study's folder for them: what the tests of execution and of executors share."""

from rectified import Adam
from rectified.study.config.method import Method
from rectified.study.config.methods import parse
from rectified.study.config.runs import Run
from rectified.study.runner import task_infos
from rectified.study.storage.store import Store
from rectified.workloads.tasks import TASKS

MINI = TASKS["fashion-mnist-mini"]
DATA = {MINI.name: MINI.find(None, print)}


def a_run(method="adam", lr=0.01, seed=0, epochs=1, batch_size=500):
    return Run(MINI, parse(method), lr, seed, epochs, batch_size)


# Its optimizer cannot be made, which `parse` would have said.
BROKEN = Run(MINI, Method("broken", Adam, {"eps": -1.0}), lr=0.01, seed=0, epochs=1, batch_size=500)
WHY_BROKEN = "ValueError: Invalid epsilon value: -1.0"


def new_store(out, runs):
    """A study's folder that has not begun yet."""
    store = Store(out)
    out.mkdir()
    store.add({}, task_infos(runs), [run.key for run in runs], "")
    return store
