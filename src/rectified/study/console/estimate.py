"""What a study will take, told before anything runs: measured on a few of its own steps."""

import signal
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory

import torch
from rich.console import Console

from ...workloads.data import DataNotFoundError
from ...workloads.tasks import parse_task
from ..analysis.formatting import count
from ..analysis.outcomes import Setting, by_setting
from ..config.methods import parse
from ..config.runs import Cell, Plan
from ..execution.checkpoint import write_checkpoint
from ..execution.execute import draw
from ..execution.training import Training
from ..executors.local import FORKS, get_ready, shared
from ..runner import note_long_warmups
from ..storage.records import Record
from ..storage.store import Store
from .live import Speed, duration, grid, say

SECONDS = 3.0  # of steps that a rehearsal takes, but no more than an epoch


@dataclass(frozen=True)
class Cost:
    """What a setting's runs take.

    Attributes:
        epoch: seconds.
        events: bytes that an epoch leaves on the disk.
        checkpoint: bytes of one.
        data: bytes of what the workers share.
    """

    epoch: float
    events: int
    checkpoint: int
    data: int


def print_plan(plans: Sequence[Plan], out: Path, data: Path | None, workers: int, console: Console) -> int:
    """Tell the cells, the time and the disk that they would take, and run none; the exit status, 0.

    Raises:
        NotAStudyError: out holds something else.
    """
    store = Store(out)
    records = [store.record(cell) for plan in plans for cell in plan.cells()]
    states = {record.cell: record.status if record.finished else "waiting" for record in records}
    console.print(grid(list(states), states, {}))
    note_long_warmups(plans, console)
    seeds = Counter(record.cell.seed for record in records)
    there = sum(record.finished for record in records)
    say(
        console,
        f"{count(len(records), 'run')}, seeds {', '.join(map(str, seeds))}"
        + (f"; {there} are there already" if there else "")
        + f"; in {out}",
    )
    if there == len(records):
        return 0
    costs = {}
    for setting, here in by_setting([record for record in records if not record.finished]).items():
        task = parse_task(setting.task)
        try:
            folder = task.find(data, lambda line: None, fetch=False)
        except DataNotFoundError:
            say(console, f"the data of {task.title} is not on this machine; its time is not known before it is")
            continue
        with console.status(f"a few steps of {setting.title}, to see how long they take"):
            costs[setting] = rehearse(here[0].cell, folder, workers)
    if costs:
        _tell(records, costs, workers, console)
    return 0


def _tell(records: Sequence[Record], costs: dict[Setting, Cost], workers: int, console: Console) -> None:
    speed = Speed()
    for setting, cost in costs.items():
        seen = [r for r in records if r.finished and r.rows and Setting.of(r.cell) == setting]
        for record in seen:
            speed.add(record.cell, len(record.rows), record.seconds)
        if not seen:
            speed.add(Cell(setting.task, "", 0.0, 0, setting.epochs, setting.batch_size), 1, cost.epoch)
    left = {r.cell: r.cell.epochs for r in records if not r.finished and Setting.of(r.cell) in costs}
    busy = min(workers, len(left))
    events = sum(costs[Setting.of(cell)].events * epochs for cell, epochs in left.items())
    meanwhile = max(cost.data + 2 * busy * cost.checkpoint for cost in costs.values())
    say(console, f"time: about {duration((speed.seconds(left) or 0.0) / busy)}, by {count(busy, 'worker')} at once")
    say(console, f"disk: about {_size(events)} in the end, and {_size(meanwhile)} more while it runs")


def rehearse(cell: Cell, folder: Path, workers: int) -> Cost:
    """A few steps and an evaluation of the cell, by as many processes as will run: they share caches and clocks."""
    with TemporaryDirectory() as temporary, shared({cell.task: folder}, Path(temporary)) as files:
        get_ready()
        with ProcessPoolExecutor(workers, mp_context=FORKS) as pool:
            found = list(pool.map(_rehearse, [cell] * workers, [files[cell.task]] * workers))
        size = files[cell.task].stat().st_size
    return Cost(fmean(epoch for epoch, _, _ in found), found[0][1], found[0][2], size)


def _rehearse(cell: Cell, file: Path) -> tuple[float, int, int]:
    from torch.utils.tensorboard import SummaryWriter

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # Ctrl-C ends it without a word
    torch.set_num_threads(1)
    task = parse_task(cell.task)
    data = torch.load(file, mmap=True, weights_only=False)
    training = Training.begin(cell, task, data)
    steps, began = [], time.perf_counter()
    for batch in task.batches(data, cell.batch_size, training.generator()):
        start = time.perf_counter()
        if time.perf_counter() - began > SECONDS or not training.take(task, batch):
            break
        steps.append(time.perf_counter() - start)
    start = time.perf_counter()
    training.model.eval()
    with torch.inference_mode():
        row = training.row(task.evaluate(training.model, data))
    evaluation = time.perf_counter() - start
    with TemporaryDirectory() as temporary:
        sizes = []
        with SummaryWriter(temporary) as board:
            for _ in range(2):  # the first has what every file begins with
                draw(board, row, parse(cell.method), training.model)
                board.flush()
                sizes.append(_bytes(Path(temporary)))
        write_checkpoint(Path(temporary), training.state())
        checkpoint = _bytes(Path(temporary)) - sizes[1]
    return task.steps_per_epoch(cell.batch_size) * median(steps) + evaluation, sizes[1] - sizes[0], checkpoint


def _bytes(folder: Path) -> int:
    total = 0
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def _size(size: float) -> str:
    """For a reader.

    >>> _size(1234), _size(49_300_000)
    ('1 kB', '49 MB')
    """
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.5:
            return f"{max(1, round(size))} {unit}"
    return f"{size / 1000:.1f} TB"
