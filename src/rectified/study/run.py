"""A study from its plan to its report: find the data, run what is missing, write the tables."""

from contextlib import closing
from pathlib import Path

from rich.console import Console

from .engine import run_cells
from .live import View, summary
from .plan import Plan
from .report import write_report
from .store import Store
from .tasks import parse_task


def run_study(plan: Plan, out: Path, data: Path | None, workers: int, command: str, console: Console) -> int:
    """Run the cells of the plan that out does not hold yet, and write its tables and report.

    Returns:
        The exit status: 0, or 1 if a run failed, or 130 after Ctrl-C. A run that diverged is a result.

    Raises:
        NotAStudyError: out holds something else.
        DataNotFoundError: the data is nowhere to be had.
    """
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
        if len(missing) < len(cells):
            console.print(f"{len(cells) - len(missing)} of {len(cells)} runs are there already")
        interrupted = False
        try:
            if missing:
                with (
                    View(console, task, cells, records) as view,
                    closing(run_cells(missing, store, folder, workers)) as events,
                ):
                    for event in events:
                        view.take(event)
        except KeyboardInterrupt:
            interrupted = True
        store.write_tables(task.metric)
        page = write_report(store)
        records = [store.record(cell) for cell in cells]
        console.print(summary(task, records))
        for record in records:
            if record.status == "failed":
                console.print(
                    f"failed: {record.cell}: {record.error.strip().splitlines()[-1]}", markup=False, style="red"
                )
        console.print(f"report: {page}", soft_wrap=True)
        console.print(
            f"tables: {out / 'results.csv'}; TensorBoard: tensorboard --logdir {out / 'cells'}", soft_wrap=True
        )
        if interrupted:
            left = sum(not record.finished for record in records)
            console.print(f"stopped with {left} runs to go; go on with: {command}", soft_wrap=True)
            return 130
        return int(any(record.status == "failed" for record in records))
