"""What a study will take, before anything runs: measured on a few of its own steps."""

import signal
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory

import torch
from rich.console import Console

from ...workloads.data import DataNotFoundError
from ..analysis.formatting import count
from ..analysis.results import Setting, StudyResults
from ..config.runs import Run, RunKey
from ..config.study import Study
from ..execution.checkpoint import write_checkpoint
from ..execution.tensorboard import draw_epoch
from ..execution.training import Training
from ..executors.local import FORKS, get_ready, shared, without_main
from ..executors.parcels import Parcel, pack, read_shared, unpack
from ..runner import note_long_warmups, task_infos
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


def print_plan(study: Study, out: Path, workers: int, console: Console) -> int:
    """Print the runs, the time and the disk that they would take, and execute none; the exit status, 0.

    Raises:
        NotAStudyError: out holds something else.
        DataNotFoundError: the folder of the study does not hold a task's data.
    """
    store, runs = Store(out), study.runs()
    tasks = {(info.name, info.version): info for info in task_infos(runs)}
    records = StudyResults.of([store.record(run.key) for run in runs], tasks).by_key
    states = {key: record.status if record.finished else "waiting" for key, record in records.items()}
    console.print(grid(list(states), states, {}, tasks))
    note_long_warmups(runs, console)
    seeds = Counter(run.seed for run in runs)
    there = sum(record.finished for record in records.values())
    say(
        console,
        f"{count(len(records), 'run')}, seeds {', '.join(map(str, seeds))}"
        + (f"; {there} are there already" if there else "")
        + f"; in {out}",
    )
    left = [run for run in runs if not records[run.key].finished]
    costs: dict[Setting, Cost] = {}
    for setting, run in {Setting.of(run.key, tasks): run for run in reversed(left)}.items():
        try:
            folder = run.task.find(study.data, lambda line: None, fetch=False)
        except DataNotFoundError:
            if study.data is not None:
                raise
            say(console, f"the data of {run.task.title} is not on this machine; its time is not known before it is")
            continue
        with console.status(f"a few steps of {setting.title}, to see how long they take"):
            costs[setting] = rehearse(run, folder, workers)
    if costs:
        _print_costs(runs, records, {run.key: Setting.of(run.key, tasks) for run in runs}, costs, workers, console)
    return 0


def _print_costs(
    runs: Sequence[Run],
    records: Mapping[RunKey, Record],
    settings: Mapping[RunKey, Setting],
    costs: Mapping[Setting, Cost],
    workers: int,
    console: Console,
) -> None:
    speed = Speed()
    for setting, cost in costs.items():
        here = [run.key for run in runs if settings[run.key] == setting]
        seen = [records[key] for key in here if records[key].finished and records[key].rows]
        for record in seen:
            speed.add(record.run, len(record.rows), record.seconds)
        if not seen:
            speed.add(here[0], 1, cost.epoch)
    left = {run.key: run.epochs for run in runs if not records[run.key].finished and settings[run.key] in costs}
    busy = min(workers, len(left))
    events = sum(costs[settings[key]].events * epochs for key, epochs in left.items())
    meanwhile = max(cost.data + 2 * busy * cost.checkpoint for cost in costs.values())
    say(console, f"time: about {duration((speed.seconds(left) or 0.0) / busy)}, by {count(busy, 'worker')} at once")
    say(console, f"disk: about {_size(events)} in the end, and {_size(meanwhile)} more while it runs")


def rehearse(run: Run, folder: Path, workers: int) -> Cost:
    """A few steps and an evaluation of the run, by as many processes as will run: they share caches and clocks."""
    with TemporaryDirectory() as temporary, shared([run], {run.task.name: folder}, Path(temporary)) as files:
        get_ready()
        file = files[run.task.name]
        with without_main(), ProcessPoolExecutor(workers, mp_context=FORKS) as pool:
            packed = pack(Parcel.of(run, folder, 1))
            found = list(pool.map(_rehearse, [packed] * workers, [file] * workers))
        size = file.stat().st_size
    return Cost(fmean(epoch for epoch, _, _ in found), found[0][1], found[0][2], size)


def _rehearse(packed: bytes, file: Path) -> tuple[float, int, int]:
    from torch.utils.tensorboard import SummaryWriter

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # Ctrl-C ends it without a word
    torch.set_num_threads(1)
    task, data = read_shared(file)
    run = unpack(packed).run(task)
    training = Training.begin(run, data)
    steps, began = [], time.perf_counter()
    for batch in task.batches(data, run.batch_size, training.generator()):
        start = time.perf_counter()
        if time.perf_counter() - began > SECONDS or not training.take(batch):
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
                draw_epoch(board, row, run.method.omega(1), training.model)
                board.flush()
                sizes.append(_bytes(Path(temporary)))
        write_checkpoint(Path(temporary), training.state())
        checkpoint = _bytes(Path(temporary)) - sizes[1]
    return task.steps_per_epoch(run.batch_size) * median(steps) + evaluation, sizes[1] - sizes[0], checkpoint


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
