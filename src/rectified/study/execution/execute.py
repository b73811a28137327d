"""One run: a model trained by one method at one lr from one seed, its folder written as it goes."""

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal

import torch

from ...files import sweep, sync
from ...workloads.tasks import Task, parse_task
from ..config.methods import Method, parse
from ..config.runs import Cell
from ..storage.locks import LOCK, locked
from ..storage.records import Row
from ..storage.store import ROWS, write_json
from . import checkpoint
from .checkpoint import CheckpointError, Pace, read_checkpoint, write_checkpoint
from .gradients import show, write_histograms
from .provenance import circumstances
from .training import ALONE, Ranks, Training

Tell = Callable[[Literal["row", "resumed", "note"], Row | None, str], None]


class TimeLimitError(RuntimeError):
    """A run has had its time."""


@dataclass(frozen=True)
class Limits:
    """What a call asks of every run, and no result depends on.

    Attributes:
        checkpoint_every: seconds from one checkpoint to the next, see :class:`~.checkpoint.Pace`.
        minutes: that a run may take, all calls that worked on it together; None is any.
        gradients: of how many first steps to record histograms of the gradients.

    Raises:
        ValueError: one is out of its range; names the flag.
    """

    checkpoint_every: float | None = None
    minutes: float | None = None
    gradients: int = 0

    def __post_init__(self) -> None:
        checkpoint.check_every(self.checkpoint_every)
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise ValueError(f"--cell-minutes is {self.minutes}; it must be a positive number")
        if self.gradients < 0:
            raise ValueError(f"--gradients is {self.gradients}; it must be 0 or a number of steps")


ANY = Limits()


def run(
    cell: Cell,
    data: Any,
    folder: Path,
    attempt: int = 1,
    tell: Tell = lambda kind, row, text: None,
    limits: Limits = ANY,
    device: str = "cpu",
) -> str:
    """Train, from the folder's checkpoint if there is one; returns the status, ``"done"`` or ``"diverged"``.

    A run that goes on from a checkpoint is, on the CPU, bit for bit the run that was never interrupted.

    Args:
        cell: what to run.
        data: what the task's ``load`` returned.
        folder: the run's; made if absent. What it holds beside a checkpoint and its run is removed; done.json is
            written into it last.
        attempt: counts from 1, for done.json.
        tell: called with ``"row"`` and each epoch's row; with ``"resumed"``, the last row there is, and where the run
            goes on; with ``"note"`` and what is amiss.
        limits: how often to write checkpoints, how long to train.
        device: where to train, as torch names it.

    Raises:
        TimeLimitError: the run has had its minutes. Its checkpoint stays, as after any OSError; after another error a
            run is to begin anew, and there is none.
    """
    with anew_after_a_bug(folder):
        return lead(cell, data, folder, attempt, tell, limits, device)


@contextmanager
def anew_after_a_bug(folder: Path) -> Iterator[None]:
    """Where the code inside raises, the run has no checkpoint to go on from; out of time or room, it keeps it."""
    try:
        yield
    except (TimeLimitError, OSError):
        raise
    except Exception:
        (folder / checkpoint.NAME).unlink(missing_ok=True)
        raise


def lead(
    cell: Cell,
    data: Any,
    folder: Path,
    attempt: int,
    tell: Tell,
    limits: Limits,
    device: str,
    ranks: Ranks = ALONE,
) -> str:
    """See :func:`run`: alone, or as the first of several ranks, which writes and tells for all of them."""
    from torch.utils.tensorboard import SummaryWriter  # slow to import, and only runs need it

    task, method = parse_task(cell.task), parse(cell.method)
    with claimed(folder) as rows:
        (folder / "done.json").unlink(missing_ok=True)
        training, goes_on = _begin(cell, task, data, folder, tell, device, ranks)
        if goes_on:
            sweep(folder)
        else:
            _make_new(folder, training)
        # What is in the file beyond the checkpoint, or was cut off, is written again: the same.
        rows.truncate(0)
        rows.writelines(json.dumps(row) + "\n" for row in training.rows)
        rows.flush()

        def keep(state: dict[str, Any]) -> None:
            board.flush()
            write_checkpoint(folder, state)

        def write(row: Row) -> None:
            rows.write(json.dumps(row) + "\n")
            rows.flush()
            draw(board, row, method, training.model)

        # What an interrupted call drew beyond the checkpoint is drawn again.
        drawn = int(training.rows[-1]["step"]) if training.rows else 0
        with closing(SummaryWriter(str(folder), purge_step=drawn + 1 if training.step else None)) as board:
            training.recorded = limits.gradients
            status, row = _train(training, task, data, limits, keep, write, tell)
            if training.gradients:
                write_histograms(folder, training.gradients)
                show(board, training.gradients)
            _label(board, cell, row, task.metric)
        os.fsync(rows.fileno())  # done.json vouches for it
        done = {"status": status, "step": training.step, "rows": len(training.rows), "seconds": training.seconds}
        done |= {"attempts": attempt, **circumstances(), "versions": training.versions}
        write_json(folder / "done.json", done)
        (folder / checkpoint.NAME).unlink(missing_ok=True)
        return status


def follow(cell: Cell, data: Any, folder: Path, limits: Limits, device: str, ranks: Ranks) -> str:
    """Train as a rank that is not the first: the same steps, and nothing written or told."""
    task = parse_task(cell.task)
    training, _ = _begin(cell, task, data, folder, _nobody, device, ranks)
    return _train(training, task, data, limits, _nobody, _nobody, _nobody)[0]


def _nobody(*told: Any) -> None: ...


@contextmanager
def claimed(folder: Path) -> Iterator[IO[str]]:
    """The file of rows, the folder locked: whoever works in it holds it.

    A worker whose parent was killed may live for a moment while another call has begun; that one waits here.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sync(folder.parent)
    with locked(folder, wait=True), (folder / ROWS).open("a+") as rows:
        yield rows


def _begin(
    cell: Cell, task: Task, data: Any, folder: Path, tell: Tell, device: str, ranks: Ranks
) -> tuple[Training, bool]:
    """The run as its checkpoint has it, or before its first step; and which of the two."""
    ranks.from_first(lambda: None)  # it has claimed the folder: nobody replaces the checkpoint any more
    training = Training.begin(cell, task, data, device, ranks)
    try:
        state = read_checkpoint(folder)
        if state is None:
            return training, False
        training.load(state)
    except CheckpointError as error:
        tell("note", None, f"{error}; the run begins anew")
        return Training.begin(cell, task, data, device, ranks), False  # part of the checkpoint may be in the first
    where = f"epoch {training.epoch} of {cell.epochs}, after step {training.step}"
    tell("resumed", training.rows[-1] if training.rows else None, where)
    return training, True


def _make_new(folder: Path, training: Training) -> None:
    """The folder of a run before its first step."""
    for path in folder.iterdir():
        if path.name not in (ROWS, LOCK):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    cell = training.cell
    write_json(folder / "config.json", {"cell": asdict(cell), "versions": training.versions, "command": cell.command})


def _train(
    training: Training,
    task: Task,
    data: Any,
    limits: Limits,
    keep: Callable[[dict[str, Any]], None],
    write: Callable[[Row], None],
    tell: Tell,
) -> tuple[str, Row]:
    """Every step that is left; returns the status and the last row."""
    cell, ranks = training.cell, training.ranks
    began, pace = time.monotonic() - training.seconds, Pace(limits.checkpoint_every)

    def over() -> bool:
        training.seconds = time.monotonic() - began
        return limits.minutes is not None and training.seconds > 60 * limits.minutes

    def save() -> None:
        start = time.monotonic()
        training.seconds = start - began
        keep(training.state())
        pace.wrote(time.monotonic() - start)

    late, due = ranks.agreed(over), ranks.agreed(pace.due)
    status, row = "done", training.rows[-1] if training.rows else {}
    while status == "done" and training.epoch <= cell.epochs:
        order = training.generator()
        training.switch(training=True)
        for batch in task.batches(data, cell.batch_size, order, skip=len(training.losses)):
            if late():
                save()
                raise TimeLimitError(
                    f"it has had {training.seconds / 60:.3g} minutes, and --cell-minutes is {limits.minutes:g}: "
                    f"stopped in epoch {training.epoch} of {cell.epochs}, after step {training.step}; a call with "
                    "a larger limit, or none, goes on from there"
                )
            if not training.take(task, batch):
                break
            if due():
                save()
        training.switch(training=False)
        row = ranks.from_first(lambda: _measured(training, task, data))
        if not all(math.isfinite(value) for value in row.values()):
            status = "diverged"
            break
        training.end_epoch(row, order)
        write(row)
        if due() and training.epoch <= cell.epochs:
            save()
        tell("row", row, "")
    training.seconds = time.monotonic() - began
    return status, row


def _measured(training: Training, task: Task, data: Any) -> Row:
    """What the epoch under way comes to; after the last, with what is measured once."""
    training.average(task.averaged)
    with torch.inference_mode():
        measured = task.evaluate(training.model, data)
        if training.epoch == training.cell.epochs:
            with training.averaged():
                measured |= task.final(training.model, data)
        return training.row(measured)


def draw(board: Any, row: Row, method: Method, model: torch.nn.Module) -> None:
    """An epoch's row, omega and weights for TensorBoard."""
    step = int(row["step"])
    for name, value in row.items():
        if name not in ("epoch", "step"):
            board.add_scalar(name, value, step)
    board.add_scalar("omega", method.omega(step), step)
    for name, weights in model.named_parameters():
        board.add_histogram(name, weights.detach(), step)


def _label(board: Any, cell: Cell, row: Row, metric: str) -> None:
    """What TensorBoard's HPARAMS page needs to tell the runs apart."""
    from torch.utils.tensorboard.summary import hparams

    values = {"method": cell.method, "lr": cell.lr, "seed": cell.seed}
    for summary in hparams(values, {metric: row.get(metric, math.nan)}):  # type: ignore[no-untyped-call]
        board.file_writer.add_summary(summary)
