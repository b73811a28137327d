"""Executing one run: train a model by one method at one lr from one seed, and write its folder along the way.

execute        claims the folder, starts or resumes the run, writes what `train` yields and passes it on
  train        yields after each epoch and whenever a checkpoint is due
    Training   takes the steps and holds all state
"""

import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import torch

from ...files import open_to_append, sweep, sync
from ...workloads.numbers import is_finite
from ..config.runs import Run
from ..storage.locks import LOCK, locked
from ..storage.records import Row
from ..storage.run_files import digests
from ..storage.run_folder import CONFIG, DONE, ROWS, RunFolder, clear, refuse_link
from ..storage.store import write_json
from . import checkpoint
from .checkpoint import CheckpointError, read_checkpoint, write_checkpoint
from .first_steps import write_steps
from .gradients import show, write_histograms
from .limits import ANY, Limits, RunClock, TimeLimitError
from .provenance import provenance
from .ranks import ALONE, Ranks
from .tensorboard import draw_epoch, draw_hyperparameters, draw_steps
from .training import Training


class Progress(NamedTuple):
    """An event in a run: an epoch's ``"row"``, ``"resumed"``, a ``"note"``, or how the run ended."""

    kind: Literal["row", "resumed", "note", "done", "diverged"]
    row: Row | None = None
    text: str = ""


def execute(
    run: Run,
    data: Any,
    folder: Path,
    attempt: int = 1,
    limits: Limits = ANY,
    device: str = "cpu",
    ranks: Ranks = ALONE,
) -> Iterator[Progress]:
    """Train a run, resuming from its checkpoint if there is one; the kind of the last item is done or diverged.

    On the CPU, a resumed run is bit for bit equal to an uninterrupted one.

    Args:
        data: what the task's ``load`` returned.
        folder: the run's folder; created if it does not exist. Files of earlier calls are removed, except a checkpoint
            of this run; done.json is written last.
        attempt: the number of the attempt, from 1, for done.json.
        device: the torch device to train on.
        ranks: the processes that train the run; this process is the first of them.

    Raises:
        TimeLimitError: the run has used up its minutes. Its checkpoint stays, as after any OSError; any other error
            removes it, since the run must then start over.
    """
    # With several ranks, an error may only reflect another rank's death, so their worker decides about the checkpoint.
    guard = start_over_after_a_bug(folder) if ranks.count == 1 else nullcontext()
    with guard, claimed(folder) as rows:
        (folder / DONE).unlink(missing_ok=True)
        training, note = _begin(run, data, folder, device, ranks)
        if note:
            yield note
        resumed = training.step > 0 or bool(training.rows)
        if resumed:
            sweep(folder)
        else:
            _make_new(folder, training)
        # Rows beyond the checkpoint, or cut off, are written again with the same content.
        rows.truncate(0)
        _write_rows(rows, training.rows)
        training.recorded = limits.gradients
        status, row = "done", training.rows[-1] if training.rows else {}
        with _board(folder, training) as board:
            for event in train(training, data, limits):
                if isinstance(event, CheckpointDue):
                    board.draw(training)
                    board.writer.flush()
                    write_checkpoint(folder, training.state())
                elif isinstance(event, Progress):
                    yield event
                else:
                    row = event.row
                    if event.diverged:
                        status = "diverged"
                        break
                    _write_rows(rows, [row])
                    board.draw(training, row)
            board.finish(training, row)
        write_steps(folder, training.steps)
        if training.gradients:
            write_histograms(folder, training.gradients)
        os.fsync(rows.fileno())  # its digest is in done.json
        done = {"status": status, "step": training.step, "rows": len(training.rows), "seconds": training.seconds}
        done |= {"attempts": attempt, **provenance(), "versions": training.versions}
        done |= {"sha256": digests(RunFolder(folder))}
        write_json(folder / DONE, done)
        (folder / checkpoint.NAME).unlink(missing_ok=True)
    yield Progress("done" if status == "done" else "diverged")


def follow(run: Run, data: Any, folder: Path, limits: Limits, device: str, ranks: Ranks) -> str:
    """Train as a rank other than the first: take the same steps, but write and report nothing."""
    training, _ = _begin(run, data, folder, device, ranks)
    status = "done"
    for event in train(training, data, limits):
        if isinstance(event, CheckpointDue):
            training.state()  # collective: gathers the state that the first rank writes
        elif isinstance(event, EpochEnd) and event.diverged:
            status = "diverged"
            break
    return status


@dataclass(frozen=True)
class CheckpointDue:
    """The training state is to be saved now."""


@dataclass(frozen=True)
class EpochEnd:
    """An epoch is over, or the run ended in it because a loss was not finite."""

    row: Row
    diverged: bool = False


def train(training: Training, data: Any, limits: Limits = ANY) -> Iterator[CheckpointDue | EpochEnd | Progress]:
    """Take all remaining steps, and yield each state to save and then each result to report.

    Raises:
        TimeLimitError: the run has used up its minutes.
    """
    run, task, ranks = training.run, training.run.task, training.ranks
    data = task.on_device(data, training.device)
    clock = RunClock(limits, training.seconds, ranks.agreed)

    def save() -> Iterator[CheckpointDue]:
        began, training.seconds = time.monotonic(), clock.seconds
        yield CheckpointDue()
        clock.wrote_checkpoint(time.monotonic() - began)

    while training.epoch <= run.epochs:
        order = training.generator()
        training.switch(training=True)
        for batch in task.batches(data, run.batch_size, order, skip=len(training.losses)):
            if clock.is_over():
                if task.resumable:
                    yield from save()
                training.seconds = clock.seconds
                raise TimeLimitError(_out_of_time(training, limits))
            if not training.take(batch):
                break
            if task.resumable and clock.checkpoint_is_due():
                yield from save()
        training.switch(training=False)
        row = ranks.from_first(lambda: _measured(training, data))
        training.seconds = clock.seconds
        if not all(map(is_finite, row.values())):
            yield EpochEnd(row, diverged=True)
            return
        training.end_epoch(row, order)
        yield EpochEnd(row)
        due = clock.checkpoint_is_due() or not task.resumable  # its epochs cannot be resumed in the middle
        if due and training.epoch <= run.epochs:
            yield from save()
        yield Progress("row", row)  # if a checkpoint was due, a run killed from here on keeps this epoch


def _out_of_time(training: Training, limits: Limits) -> str:
    where = f"epoch {training.epoch} of {training.run.epochs}, after step {training.step}"
    if not training.run.task.resumable:
        where = f"{where}, which will start over: its data cannot be resumed in the middle"
    return (
        f"it ran for {training.seconds / 60:.3g} minutes, and --run-minutes is {limits.minutes:g}: stopped in {where}; "
        "a call with a larger limit, or without one, continues from there"
    )


def _measured(training: Training, data: Any) -> Row:
    """The current epoch's row; after the last epoch, it includes the final metrics."""
    task = training.run.task
    training.average(task.averaged)
    with torch.inference_mode():
        measured = task.evaluate(training.model, data)
        if training.epoch == training.run.epochs:
            with training.averaged():
                measured |= task.final(training.model, data)
        return training.row(measured)


@contextmanager
def start_over_after_a_bug(folder: Path) -> Iterator[None]:
    """A context that removes the checkpoint if the code inside raises, except when time or disk space runs out."""
    try:
        yield
    except (TimeLimitError, OSError):
        raise
    except (Exception, SystemExit):
        (folder / checkpoint.NAME).unlink(missing_ok=True)
        raise


@contextmanager
def claimed(folder: Path) -> Iterator[IO[str]]:
    """A context with the folder locked and its file of rows open.

    A worker whose parent was killed may live a moment longer; a new call waits here until it ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    refuse_link(folder)
    sync(folder.parent)
    with locked(folder, wait=True), open_to_append(folder / ROWS) as rows:
        yield rows


def _begin(run: Run, data: Any, folder: Path, device: str, ranks: Ranks) -> tuple[Training, Progress | None]:
    """The training state from the run's checkpoint or before its first step, and an event about it."""
    ranks.from_first(lambda: None)  # the folder is claimed, so nobody replaces the checkpoint any more
    training = Training.begin(run, data, device, ranks)
    try:
        state = read_checkpoint(folder)
        if state is None:
            return training, None
        training.load(state)
    except CheckpointError as error:
        # The first object may hold parts of the checkpoint.
        return Training.begin(run, data, device, ranks), Progress("note", None, f"{error}; the run starts over")
    where = f"epoch {training.epoch} of {run.epochs}, after step {training.step}"
    return training, Progress("resumed", training.rows[-1] if training.rows else None, where)


def _make_new(folder: Path, training: Training) -> None:
    """Initialize the folder of a run before its first step."""
    clear(folder, keep=(ROWS, LOCK))
    run = training.run
    config = {"run": run.key.as_dict(), "versions": training.versions, "command": run.command}
    write_json(folder / CONFIG, config)


def _write_rows(file: IO[str], rows: list[Row]) -> None:
    file.writelines(json.dumps(row) + "\n" for row in rows)
    file.flush()


@contextmanager
def _board(folder: Path, training: Training) -> Iterator["_Board"]:
    """TensorBoard's file for the run; events that an interrupted call wrote beyond the checkpoint are written again."""
    from torch.utils.tensorboard import SummaryWriter  # slow to import, and needed only by runs

    drawn = int(training.rows[-1]["step"]) if training.rows else 0
    purge = drawn + 1 if training.step else None
    suffix = f".{secrets.token_hex(8)}"  # the rest of the name can be guessed, so somebody could place a link there
    with closing(SummaryWriter(str(folder), purge_step=purge, filename_suffix=suffix)) as writer:
        yield _Board(writer, drawn)


@dataclass
class _Board:
    """A TensorBoard writer that remembers the last single step it wrote."""

    writer: Any
    drawn: int

    def draw(self, training: Training, row: Row | None = None) -> None:
        """Write the steps since the last call, and an epoch's row if given."""
        draw_steps(self.writer, (each for each in training.steps if each.step > self.drawn))
        self.drawn = training.step
        if row is not None:
            draw_epoch(self.writer, row, training.omega, training.model)

    def finish(self, training: Training, row: Row) -> None:
        self.draw(training)
        show(self.writer, training.gradients)
        draw_hyperparameters(self.writer, training.run.key, row, training.run.task.metric)
