"""Estimates of a study's time and disk space before it runs, measured on a few of its own steps."""

import os
import signal
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from rich.console import Console

from ...messages import shown
from ...workloads.data import DataNotFoundError
from ...workloads.data.find import check_named
from ...workloads.tasks import find_data
from ...workloads.user_code import users_code
from ..analysis.formatting import count
from ..analysis.results import Setting, StudyResults
from ..config.runs import Run, RunKey
from ..config.study import Study
from ..execution.checkpoint import write_checkpoint
from ..execution.tensorboard import draw_epoch
from ..execution.training import Training
from ..executors.ddp_launcher import check_ranks, seconds_to_start
from ..executors.local import FORKS, get_ready, shared, without_main
from ..executors.parcels import Parcel, path_for_children, read_shared, unpack
from ..runner import note_long_warmups, task_infos
from ..storage.records import Record
from ..storage.store import Store
from .live import Speed, duration, grid, say, show

SECONDS = 3.0  # of training steps in a rehearsal, at most an epoch


@dataclass(frozen=True)
class Cost:
    """The measured cost of a setting's runs.

    Attributes:
        epoch: seconds per epoch.
        events: bytes that an epoch leaves on disk.
        checkpoint: bytes per checkpoint.
        data: bytes of the data that the workers share.
        start: seconds from reading the data until every worker takes its first step.
    """

    epoch: float
    events: int
    checkpoint: int
    data: int
    start: float


def print_plan(study: Study, out: Path, workers: int, console: Console, ranks: int = 1) -> int:
    """Print the runs and the time and disk space they would take, without running them; return the exit status, 0.

    Args:
        ranks: processes that train each run together.

    Raises:
        InvalidOption: there are more ranks than examples in a batch.
        NotAStudyError: out holds something that is not a study.
        DataNotFoundError: the data folder that the study names does not hold a task's data.
    """
    store, runs = Store(out), study.runs()
    check_ranks(ranks, [run.batch_size for run in runs])
    check_named(study.data)
    tasks = {(info.name, info.version): info for info in task_infos(runs)}
    results = StudyResults.of([store.record(run.key) for run in runs], tasks)
    records = results.by_key
    left = [run for run in runs if not records[run.key].finished]
    folders = _find(left, study.data)
    states = {key: record.status if record.finished else "waiting" for key, record in records.items()}
    show(console, grid(list(states), states, {}, tasks))
    note_long_warmups(runs, console)
    seeds = Counter(run.seed for run in runs)
    finished = sum(record.finished for record in records.values())
    say(
        console,
        f"{count(len(records), 'run')}, seeds {', '.join(map(str, seeds))}"
        + (f"; {finished} already finished" if finished else "")
        + f"; in {out}",
    )
    for method, best in (each for s in results.settings for each in s.comparison.best.items()):
        if best and best.end:
            say(
                console,
                f"the best learning rate of {method} so far, {best.lr:g}, is the {best.end} in its grid: add "
                f"{best.beyond:g} to --lrs",
            )
    costs: dict[Setting, Cost] = {}
    for setting, run in {Setting.of(run.key, tasks): run for run in reversed(left)}.items():
        folder = folders[run.task.name]
        if folder is None:
            say(console, f"the data of {run.task.title} is not on this machine, so its time cannot be estimated yet")
            continue
        if not console.is_terminal:
            say(console, f"timing a few steps of {setting.title}")
        with console.status(f"timing a few steps of {setting.title}"):
            costs[setting] = rehearse(run, folder, workers)
    if costs:
        settings = {run.key: Setting.of(run.key, tasks) for run in runs}
        _print_costs(runs, records, settings, costs, workers, console, ranks)
    return 0


def _find(runs: Sequence[Run], named: Path | None) -> dict[str, Path | None]:
    """The folder with each task's data; None if it would have to be fetched."""
    folders: dict[str, Path | None] = {}
    for task in {run.task.name: run.task for run in runs}.values():
        try:
            folders[task.name] = find_data(task, named, lambda line: None, fetch=False)
        except DataNotFoundError:
            if named is not None:
                raise
            folders[task.name] = None
    return folders


def _print_costs(
    runs: Sequence[Run],
    records: Mapping[RunKey, Record],
    settings: Mapping[RunKey, Setting],
    costs: Mapping[Setting, Cost],
    workers: int,
    console: Console,
    ranks: int,
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
    tasks = {setting.task.name: cost.start for setting, cost in costs.items()}
    spent = {"to start": sum(tasks.values())}
    if ranks > 1:
        spent[f"for {count(len(left), 'start')} of {ranks} ranks"] = seconds_to_start() * len(left) / busy
    spent["of training"] = (speed.seconds(left) or 0.0) / busy
    parts = ", ".join(f"{duration(seconds)} {what}" for what, seconds in spent.items())
    say(
        console,
        f"time: about {duration(sum(spent.values()))} with {count(busy, 'worker')}: {parts}; writing the report takes "
        "extra time",
    )
    say(console, f"disk: about {_size(events)} at the end, and {_size(meanwhile)} more while the study runs")


def rehearse(run: Run, folder: Path, workers: int) -> Cost:
    """Measure a few steps and an evaluation of a run in all workers at once, since they compete for the CPU."""
    began = time.monotonic()
    with TemporaryDirectory() as temporary, shared([run], {run.task.name: folder}, Path(temporary)) as files:
        get_ready()
        file = files[run.task.name]
        with (
            path_for_children(file) as path,
            without_main(),
            ProcessPoolExecutor(workers, mp_context=FORKS) as pool,
        ):
            parcel = Parcel.of(run, folder, 1).packed()
            try:
                found = list(pool.map(_rehearse, [parcel] * workers, [path] * workers))
            except BrokenProcessPool:
                raise ValueError(f"{_named(run)}: a process died while timing a few steps") from None
        size = os.fstat(file).st_size
    start = max(ready for ready, *_ in found) - began
    return Cost(fmean(epoch for _, epoch, *_ in found), found[0][2], found[0][3], size, start)


def _named(run: Run) -> str:
    return f"task {shown(run.task.name)} with method {shown(run.method.name)}"


def _rehearse(packed: bytes, file: Path) -> tuple[float, float, int, int]:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # Ctrl-C ends this process silently
    torch.set_num_threads(1)
    with users_code("the task or the method cannot be unpacked in a worker"):
        task, data = read_shared(file)
        run = unpack(packed).run(task)
    with users_code(f"{_named(run)} does not run"):
        return _few_steps(run, data)


def _few_steps(run: Run, data: Any) -> tuple[float, float, int, int]:
    """The time of the first step, the seconds of an epoch, and the bytes of an epoch's events and of a checkpoint."""
    from torch.utils.tensorboard import SummaryWriter

    task = run.task
    training = Training.begin(run, data)
    ready = time.monotonic()  # the same clock in all processes
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
            for _ in range(2):  # the first epoch includes the file header
                draw_epoch(board, row, run.method.omega(1), training.model)
                board.flush()
                sizes.append(_bytes(Path(temporary)))
        write_checkpoint(Path(temporary), training.state())
        checkpoint = _bytes(Path(temporary)) - sizes[1]
    return (
        ready,
        task.steps_per_epoch(run.batch_size) * median(steps or [0.0]) + evaluation,
        sizes[1] - sizes[0],
        checkpoint,
    )


def _bytes(folder: Path) -> int:
    total = 0
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def _size(size: float) -> str:
    """Format a number of bytes.

    >>> _size(1234), _size(49_300_000)
    ('1 kB', '49 MB')
    """
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.5:
            return f"{max(1, round(size))} {unit}"
    return f"{size / 1000:.1f} TB"
