"""A study from its plans to its report: find the data, run what is missing, write the tables."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from rich.console import Console

from ..files import FULL
from ..workloads.tasks import parse_task
from .analysis.verdict import answers
from .config.runs import Plan
from .console.live import View, say, summary
from .console.status import mixtures
from .execution.execute import ANY, Limits
from .executors import Engine
from .report import last_baseline, write_figures, write_report
from .storage.records import Record
from .storage.store import Store


def run_study(
    plans: Sequence[Plan],
    out: Path,
    data: Path | None,
    engine: Engine,
    command: str,
    console: Console,
    limits: Limits = ANY,
) -> int:
    """Run the cells of the plans that out does not hold yet, and write its tables and report.

    Args:
        data: the folder with the data; if None each task's is found, or fetched.

    Returns:
        The exit status: 0, or 1 if a run failed or the disk is full, or 130 after Ctrl-C. A run that diverged is a
        result.

    Raises:
        NotAStudyError: out holds something else.
        DataNotFoundError: the data is nowhere to be had.
    """
    try:
        return _run_study(plans, out, data, engine, command, console, limits)
    except OSError as error:
        if error.errno not in FULL:
            raise
        say(
            console,
            f"the disk of {out} is full ({error}): stopped. What is there is whole, and unfinished runs go on "
            f"from their last checkpoint. Make room, then go on with: {command}",
        )
        return 1


def _run_study(
    plans: Sequence[Plan],
    out: Path,
    data: Path | None,
    engine: Engine,
    command: str,
    console: Console,
    limits: Limits,
) -> int:
    store = Store(out)
    folders = {
        task: parse_task(task).find(data, lambda line: console.print(line, style="dim", markup=False))
        for task in dict.fromkeys(plan.task for plan in plans)
    }
    note_long_warmups(plans, console)
    cells = [cell for plan in plans for cell in plan.cells()]
    with store.locked():
        store.add(cells, command)
        records = [store.record(cell) for cell in cells]
        missing = [record.cell for record in records if not record.finished]
        for record in records:
            if record.finished:
                store.prune(record.cell)
        if len(missing) < len(cells):
            console.print(f"{len(cells) - len(missing)} of {len(cells)} runs are there already")
        interrupted = False
        try:
            if missing:
                with (
                    View(console, records) as view,
                    closing(engine.run(missing, store, folders, limits)) as events,
                ):
                    for event in events:
                        view.take(event)
        except KeyboardInterrupt:
            interrupted = True
        store.write_tables()
        page = write_report(store)
        drawn = write_figures(store)
        records = [store.record(cell) for cell in cells]
        console.print(summary(records))
        _tell_what_is_amiss(records, store, console)
        tell_answers(store, console)
        say(console, f"report: {page}; figures: {drawn}")
        say(console, f"tables: {out / 'results.csv'}; TensorBoard: tensorboard --logdir {out / 'cells'}")
        if interrupted:
            left = sum(not record.finished for record in records)
            say(console, f"stopped with {left} runs to go; go on with: {command}")
            return 130
        return int(any(record.status == "failed" for record in records))


def tell_answers(store: Store, console: Console, baseline: str | None = None) -> None:
    """Say what the report's verdicts begin with.

    Args:
        baseline: as :func:`write_report` takes it.
    """
    found = answers(store.records(), baseline or last_baseline(store.commands))
    for setting, answer in found.items():
        say(console, f"{setting.title}: {answer}" if len(found) > 1 else answer)


def note_long_warmups(plans: Sequence[Plan], console: Console) -> None:
    """Say which warmups outlast their runs."""
    told: set[str] = set()
    for plan in plans:
        steps = plan.epochs * parse_task(plan.task).steps_per_epoch(plan.batch_size)
        for name, omega in plan.unfinished_warmups(steps).items():
            note = (
                f"note: the warmup of {name} is longer than the run: it ends at omega {omega:.2f} after {steps} steps"
            )
            if note not in told:
                console.print(note)
            told.add(note)


def _tell_what_is_amiss(records: Sequence[Record], store: Store, console: Console) -> None:
    for record in records:
        if record.status == "failed":
            console.print(f"failed: {record.cell}: {record.reason}", markup=False, style="red")
    for note in mixtures(store.records()):
        say(console, note)
