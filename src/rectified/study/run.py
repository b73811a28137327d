"""A study from its plan to its report: find the data, run what is missing, write the tables."""

from contextlib import closing
from pathlib import Path

from rich.console import Console

from ..files import FULL
from .cell import ANY, Limits
from .engine import run_cells
from .live import View, summary
from .plan import Plan
from .report import write_figures, write_report
from .status import mixtures
from .store import Store
from .tasks import parse_task


def run_study(
    plan: Plan,
    out: Path,
    data: Path | None,
    workers: int,
    command: str,
    console: Console,
    limits: Limits = ANY,
) -> int:
    """Run the cells of the plan that out does not hold yet, and write its tables and report.

    Returns:
        The exit status: 0, or 1 if a run failed or the disk is full, or 130 after Ctrl-C. A run that diverged is a
        result.

    Raises:
        NotAStudyError: out holds something else.
        DataNotFoundError: the data is nowhere to be had.
    """
    try:
        return _run_study(plan, out, data, workers, command, console, limits)
    except OSError as error:
        if error.errno not in FULL:
            raise
        console.print(
            f"the disk of {out} is full ({error}): stopped. What is there is whole, and unfinished runs go on "
            f"from their last checkpoint. Make room, then go on with: {command}",
            markup=False,
            soft_wrap=True,
        )
        return 1


def _run_study(
    plan: Plan, out: Path, data: Path | None, workers: int, command: str, console: Console, limits: Limits
) -> int:
    task = parse_task(plan.task)
    store = Store(out, {"task": plan.task, "epochs": plan.epochs, "batch_size": plan.batch_size})
    folder = task.find(data, lambda line: console.print(line, style="dim", markup=False))
    steps = plan.epochs * task.steps_per_epoch(plan.batch_size)
    for name, omega in plan.unfinished_warmups(steps).items():
        console.print(
            f"note: the warmup of {name} is longer than the run: it ends at omega {omega:.2f} after {steps} steps"
        )
    with store.locked():
        store.add(plan.cells(), command)
        cells = plan.cells()
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
                    View(console, task, cells, records) as view,
                    closing(run_cells(missing, store, folder, workers, limits)) as events,
                ):
                    for event in events:
                        view.take(event)
        except KeyboardInterrupt:
            interrupted = True
        store.write_tables(task.metric)
        page = write_report(store)
        drawn = write_figures(store)
        records = [store.record(cell) for cell in cells]
        console.print(summary(task, records))
        for record in records:
            if record.status == "failed":
                console.print(
                    f"failed: {record.cell}: {record.error.strip().splitlines()[-1]}", markup=False, style="red"
                )
        for note in mixtures(store.records()):
            console.print(note, markup=False, soft_wrap=True)
        console.print(f"report: {page}; figures: {drawn}", soft_wrap=True)
        console.print(
            f"tables: {out / 'results.csv'}; TensorBoard: tensorboard --logdir {out / 'cells'}", soft_wrap=True
        )
        if interrupted:
            left = sum(not record.finished for record in records)
            console.print(f"stopped with {left} runs to go; go on with: {command}", soft_wrap=True)
            return 130
        return int(any(record.status == "failed" for record in records))
