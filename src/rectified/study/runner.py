"""Running a study: find the data, execute the missing runs, write the tables and the report."""

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import torch
from rich.console import Console

from ..files import FULL, expanded
from ..messages import shown
from ..workloads.data.find import check_named
from ..workloads.tasks import TaskInfo, changed_since, find_data
from ..workloads.user_code import users_code
from .analysis.formatting import count
from .analysis.results import StudyResults
from .config.errors import InvalidOption
from .config.runs import Run, RunKey, slug
from .config.study import Study
from .console.live import View, say, show, summary
from .console.status import damaged, mixtures
from .execution.limits import ANY, Limits
from .executors import Executor, LocalExecutor, RayExecutor
from .executors.ddp_launcher import check_ranks
from .executors.executor import ENDS
from .executors.local import check_system, get_ready
from .report import write_figures, write_report
from .storage.store import Store


def cores() -> int:
    """The number of CPU cores that this process may use, or that the machine has if the former is unknown."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_executor(
    name: str = "local",
    workers: int | None = None,
    device: str = "cpu",
    ranks: int = 1,
    address: str | None = None,
) -> LocalExecutor | RayExecutor:
    """Make the executor with that name; a local one starts its server process in the background.

    Raises:
        InvalidOption: a value is out of range, or two options are incompatible.
        ValueError: this system has no POSIX processes.
    """
    check_system()
    if device not in ("cpu", "cuda"):
        raise InvalidOption("device", device, "it must be cpu or cuda")
    if name == "ray":
        if ranks != 1:
            raise InvalidOption("ranks", ranks, "several ranks need --executor local")
        return RayExecutor(address, workers, gpus=float(device == "cuda"))
    if name != "local":
        raise InvalidOption("executor", name, "it must be local or ray")
    if address is not None:
        raise InvalidOption("address", address, "it needs --executor ray")
    devices: tuple[str, ...] = ("cpu",)
    slots = cores()
    if device == "cuda":
        slots = torch.cuda.device_count()
        devices = tuple(f"cuda:{i}" for i in range(slots))
        if not slots:
            raise InvalidOption("device", device, "torch finds no GPU here")
    executor = LocalExecutor(max(1, slots // max(1, ranks)) if workers is None else workers, devices, ranks=ranks)
    get_ready()
    return executor


def run_from_python(
    study: Study,
    out: Path | str,
    workers: int | None,
    device: str,
    executor: str,
    checkpoint_every: float | None,
    run_minutes: float | None,
    gradients: int,
    progress: bool,
) -> StudyResults:
    """Run a study from Python; see :meth:`Study.run`."""
    folder = expanded(out)
    limits = Limits(checkpoint_every, run_minutes, gradients)
    who = make_executor(executor, workers, device)
    console = Console(highlight=False, markup=False, quiet=not progress)
    command = shlex.join([*shlex.split(study.command), "--out", str(folder)])
    if _run_study(study, folder, who, command, console, limits) == 130:
        raise KeyboardInterrupt
    return StudyResults.read(Store.open(folder))


def default_folder(name: str) -> Path:
    """The folder of a study that names none."""
    return Path("runs") / slug(name.lower())


def task_infos(runs: Sequence[Run]) -> list[TaskInfo]:
    """The descriptions of the runs' tasks, which are needed to read their results."""
    sizes: dict[tuple[str, str], list[int]] = {}
    tasks = {(run.task.name, run.task.version): run.task for run in runs}
    for run in runs:
        sizes.setdefault((run.task.name, run.task.version), []).append(run.batch_size)
    infos = []
    for of, task in tasks.items():
        with users_code(f"task {shown(task.name)}"):
            infos.append(TaskInfo.of(task, tuple(dict.fromkeys(sizes[of]))))
    return infos


def run_study(
    study: Study,
    out: Path,
    executor: Executor,
    command: str,
    console: Console,
    limits: Limits = ANY,
) -> int:
    """Execute the study's runs that ``out`` does not hold yet, and write its tables and report.

    Returns:
        The exit status: 0, or 1 if a run failed or the disk is full, or 130 after Ctrl-C. A run that diverged is a
        result, not a failure.

    Raises:
        NotAStudyError: out holds something that is not a study.
        DataNotFoundError: the data is not here and cannot be fetched.
    """
    try:
        return _run_study(study, out, executor, command, console, limits)
    except OSError as error:
        if error.errno not in FULL:
            raise
        say(
            console,
            f"the disk of {out} is full ({error}): stopped. Finished results are intact, and unfinished runs resume "
            f"from their last checkpoint. Free some space, then continue with: {command}",
        )
        return 1


def _run_study(
    study: Study,
    out: Path,
    executor: Executor,
    command: str,
    console: Console,
    limits: Limits,
) -> int:
    store, runs = Store(out), study.runs()
    check_ranks(executor.ranks, [run.batch_size for run in runs])
    check_named(study.data)
    folders = {
        name: find_data(task, study.data, lambda line: console.print(line, style="dim"))
        for name, task in {run.task.name: run.task for run in runs}.items()
    }
    note_long_warmups(runs, console)
    with store.locked():
        for problem in store.problems() if store.exists else ():
            say(console, problem)
        for task in study.tasks:
            earlier = [key.version for key in store.runs() if key.task == task.name] if store.exists else []
            if task.version and (note := changed_since(task, earlier)):
                say(console, f"note: {note}")
        store.add(study.as_dict(), task_infos(runs), [run.key for run in runs], command)
        known = StudyResults.read(store).by_key
        records = [known[run.key] for run in runs]
        missing = [run for run in runs if not known[run.key].finished]
        for record in records:
            if record.finished:
                store.prune(record.run)
        if len(missing) < len(runs):
            console.print(f"{len(runs) - len(missing)} of {len(runs)} runs are already finished")
        if others := len(known) - len(runs):
            say(
                console,
                f"note: {out} also holds {count(others, 'run')} of earlier calls, which its report and verdict "
                "include; another --out keeps them apart",
            )
        for record in records:
            if record.status == "missing" and record.error:
                say(console, damaged(record))
        interrupted, ended = False, set[RunKey]()
        try:
            if missing:
                with (
                    View(console, records, store.tasks()) as view,
                    closing(executor.run(missing, store, folders, limits)) as events,
                ):
                    for event in events:
                        view.take(event)
                        if event.kind in ENDS:
                            ended.add(event.run)
        except KeyboardInterrupt:
            interrupted = True
            say(console, "stopping and writing the report")
        if store.restore():
            say(console, f"note: {out / 'study.json'} was removed or changed during the study; it has been rewritten")
        results = StudyResults.read(store)
        store.write_tables(results.by_key)
        page = write_report(results, out)
        show(console, summary(_of(results, runs)))
        for line in (*amiss(results, runs), *store.problems()):
            say(console, line)
        say(console, results.verdict)
        say(console, f"report: {page}; figures: {write_figures(results, out)}")
        say(console, f"tables: {out / 'results.csv'}; TensorBoard: tensorboard --logdir {store.folder_of_runs}")
        left = [results.by_key[run.key] for run in runs]
        lost = [record for record in left if record.status == "missing" and record.run in ended]
        for record in lost:
            why = record.reason or "its folder was removed"
            say(console, f"lost: {record.run} ended, but {why}; it will run again with the next call")
        if interrupted:
            unfinished = sum(not record.finished for record in left)
            say(console, f"stopped with {unfinished} runs left; continue with: {command}")
            return 130
        return int(any(record.status == "failed" for record in left) or bool(lost))


def _of(results: StudyResults, runs: Sequence[Run]) -> StudyResults:
    """The results restricted to these runs."""
    records = [results.by_key[run.key] for run in runs]
    return StudyResults.of(records, {(s.task.name, s.task.version): s.task for s in results.settings})


def note_long_warmups(runs: Sequence[Run], console: Console) -> None:
    """Print a note about each warmup that outlasts its run.

    A warmup counts as over when omega reaches 0.9: RAdam's and the exponential one never quite reach 1.
    """
    for method, steps in {(run.method.name, run.steps): (run.method, run.steps) for run in runs}.values():
        if not method.warms_up:
            continue
        with users_code(f"method {shown(method.name)}"):
            warm = method.warm_at()
            last = method.omega(steps)
        if warm is None or warm > steps:
            say(
                console,
                f"note: the warmup of {method.name} is longer than the run: it ends at omega "
                f"{last:.2f} after {count(steps, 'step')}. Train longer, or take a shorter warmup or a smaller beta2",
            )


def amiss(results: StudyResults, runs: Sequence[Run]) -> Iterator[str]:
    """Lines about what went wrong: runs that failed, and runs with different versions."""
    for run in runs:
        record = results.by_key[run.key]
        if record.status == "failed":
            yield f"failed: {record.run}: {record.reason}"
    yield from mixtures(results.records)
