"""Studies made by hand: records as the store would hand them on."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import pytest

from made_by_hand import results_of
from rectified.study.config.runs import RunKey
from rectified.study.report.page import page
from rectified.study.storage.records import Record, Status
from rectified.workloads.tasks import TASKS

MINI = TASKS["fashion-mnist-mini"]
VERSIONS = {"rectified": "0.1.0", "torch": "2.13.0+cpu", "python": "3.11.7"}


def record(
    method: str = "adam",
    lr: float = 0.01,
    seed: int = 0,
    status: Status = "done",
    epochs: int = 3,
    accuracy: float = 80.0,
    loss: float = 0.5,
    lived: int | None = None,
    error: str = "",
) -> Record:
    """A run that learns towards accuracy and loss; lived: epochs it came through, all if done, else none."""
    length = (epochs if status == "done" else 0) if lived is None else lived
    rows = [
        {
            "epoch": epoch,
            "step": 60 * epoch,
            "train_loss": loss * (1 + math.exp(-epoch)),
            "test_accuracy": accuracy * (1 - math.exp(-epoch - 1)),
            "test_loss": loss,
        }
        for epoch in range(1, length + 1)
    ]
    run = RunKey(MINI.name, method, lr, seed, epochs, 100)
    if status == "missing":
        return Record(run)
    seconds = 2.5 if status in ("done", "diverged") else 0.0
    done = {"error": error, "seconds": seconds, "attempts": 1, "ended": "2026-11-23T10:00:00+00:00", "host": "host"}
    return Record(run, status, rows, 60 * length, versions=VERSIONS, **done)


def write(records: Sequence[Record], command: str = "rectified study fashion-mnist-mini", **options: str) -> str:
    """Their report."""
    return page(results_of(records, commands=[command], **options))


def grid(
    methods: Sequence[str] = ("adam", "radam"),
    lrs: Sequence[float] = (0.01, 0.05),
    seeds: Sequence[int] = (0, 1),
    epochs: int = 3,
) -> list[Record]:
    """Runs that differ in every direction."""
    return [
        record(method, lr, seed, epochs=epochs, accuracy=80 + 2 * i + seed - 10 * j, loss=0.5 + 0.1 * i + 0.01 * seed)
        for (i, method), (j, lr), seed in itertools.product(enumerate(methods), enumerate(lrs), seeds)
    ]


STUDIES = {
    "plain": grid(),
    "one run": [record()],
    "one lr": grid(("adam", "radam", "sgd", "radam-exact", "adam+second-moment-only-2000"), lrs=(0.01,)),
    "an lr of its own": [*grid(), record("radam(lr=0.02)", 0.02)],
    "one epoch": grid(epochs=1),
    "many epochs": grid(epochs=1000),
    "missing": [record("adam", status="missing"), record("radam", status="missing")],
    "failed": [record("adam", status="failed", error="boom"), record("adam", seed=1, status="failed")],
    "diverged": [record("adam", status="diverged"), record("sgd", status="diverged", lived=2)],
    "some of each": [
        *grid(),
        record("sgd", 0.01, 0, "diverged", lived=1),
        record("sgd", 0.01, 1, "failed", error="Traceback\nRuntimeError: out of luck"),
        record("sgd", 0.05, 0, "missing"),
        record("sgd", 0.05, 1, accuracy=9, loss=1e6),
    ],
    "unknown methods": [record("from-the-future"), record("adam+linear-0")],
    "an unknown task": [replace(each, run=replace(each.run, task="of-another-version")) for each in grid()],
    "a renamed method": [record("adam"), record("adam-2k")],
}


@cache
def _written(name: str) -> str:
    return write(STUDIES[name])


@pytest.fixture(params=STUDIES)
def odd(request: pytest.FixtureRequest) -> str:
    """The report of each of the odd studies."""
    return _written(request.param)


@pytest.fixture
def some_of_each() -> tuple[list[Record], str]:
    """A study in which everything happened, and its report."""
    return STUDIES["some of each"], _written("some of each")


@pytest.fixture
def make() -> Callable[..., Record]:
    return record


@pytest.fixture
def report() -> Callable[..., str]:
    return write
