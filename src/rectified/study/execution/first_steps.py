"""Recording loss and omega of single steps: each of the first 200 steps, then fewer and fewer."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from ...files import write
from ...messages import shown
from ...workloads.numbers import LARGEST, is_finite

NAME = "steps.csv"
EVERY_STEP = 200  # steps that are all recorded; beyond them, at most as many per doubling of the step


@dataclass(frozen=True)
class StepRecord:
    """The loss and omega of one training step.

    Attributes:
        step: the step, from 1.
        loss: the loss of the step's batch, before the update.
        omega: the warmup's factor of the update.
        lr: the learning rate without the warmup's factor.
    """

    step: int
    loss: float
    omega: float
    lr: float


def is_recorded(step: int) -> bool:
    """Whether a step is recorded.

    >>> [step for step in range(1, 2000) if is_recorded(step)][195:205], sum(map(is_recorded, range(1, 100_000)))
    ([196, 197, 198, 199, 200, 202, 204, 206, 208, 210], 1095)
    """
    stride = 1
    while step > EVERY_STEP * stride:
        stride *= 2
    return step % stride == 0


def write_steps(folder: Path, found: Iterable[StepRecord]) -> None:
    """Write steps.csv into a run's folder."""
    lines = ["step,loss,omega,lr", *(f"{s.step},{s.loss!r},{s.omega!r},{s.lr!r}" for s in found)]
    write(folder / NAME, "\n".join(lines) + "\n")


def parse_steps(content: bytes) -> list[StepRecord]:
    """Parse the content of a steps.csv; empty content has no steps.

    Raises:
        ValueError: the content is damaged.

    >>> parse_steps(b"step,loss,omega,lr\\n1,2.5,0.0,0.01\\n")
    [StepRecord(step=1, loss=2.5, omega=0.0, lr=0.01)]
    """
    try:
        rows: Sequence[Sequence[str]] = list(csv.reader(content.decode().splitlines()))[1:]
    except csv.Error as error:
        raise ValueError(f"{NAME}: {error}") from None
    return checked_steps([(float(step), float(loss), float(omega), float(lr)) for step, loss, omega, lr in rows])


def checked_steps(rows: Iterable[Sequence[float]]) -> list[StepRecord]:
    """The steps that rows of step, loss, omega and lr stand for.

    Raises:
        ValueError: they are not in order, or a number is not finite.
    """
    found = []
    for row in rows:
        if not all(map(is_finite, row)):
            raise ValueError(f"{NAME}: the numbers of step {shown(row[0])} must be finite, at most {LARGEST:g} in size")
        step, loss, omega, lr = row
        found.append(StepRecord(int(step), loss, omega, lr))
    if any(a >= b for a, b in pairwise([0, *(s.step for s in found), 2**63])):
        raise ValueError(f"the steps of {NAME} are not in order from 1")
    return found
