"""The table or figure itself, from a study's folder: as Markdown and CSV, SVG and PDF."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from ...figures.style import styles
from ...figures.table import Sheet, Table
from ...files import write
from ...workloads.tasks import parse_task
from ..analysis.formatting import number
from ..analysis.outcomes import Setting, by_setting
from ..analysis.stats import t_interval
from ..config.runs import Cell, Plan
from ..report.draw import Drawing
from ..report.section import Section
from ..storage.records import Record
from ..storage.store import Store
from .catalog import Experiment, Published, Scale


def write_result(
    experiment: Experiment, scale: Scale, store: Store, asked: Sequence[Plan] = ()
) -> tuple[Sheet, list[Path]]:
    """The table with the published numbers beside ours, and the files that hold it and the figure.

    Told are the experiment's own methods and lrs and those of the plans `asked`, over all seeds that the store has; of
    runs that it holds for another experiment nothing.
    """
    run = experiment.runs[scale]
    ours = {_arm(cell) for plan in (*run.grid.plans(), *asked) for cell in plan.cells()}
    records = [record for record in store.records() if _arm(record.cell) in ours]
    rows = Table.of(_rows(experiment, records))
    sheet = _sheet(experiment, run.differs, rows)
    files = {f"{experiment.name}.csv": rows.csv().encode(), f"{experiment.name}.md": _page(sheet).encode()}
    for drawing in _drawings(experiment, records):
        files |= drawing.files()
    for name, content in files.items():
        write(store.out / name, content)
    return sheet, [store.out / name for name in files]


def _arm(cell: Cell) -> tuple[str, str, float]:
    return cell.task, cell.method, cell.lr


def _rows(experiment: Experiment, records: Sequence[Record]) -> list[dict[str, object]]:
    """A row a task, method and lr."""
    found = []
    for setting, here in by_setting(records).items():
        metric, _ = _metric(experiment, setting)
        published = _published(experiment, setting.task)
        for method, lr in dict.fromkeys((r.cell.method, r.cell.lr) for r in here):
            runs = [r for r in here if (r.cell.method, r.cell.lr) == (method, lr)]
            values = [r.rows[-1][metric] for r in runs if r.status == "done" and metric in r.rows[-1]]
            told = published.values.get(method.partition("(")[0], "") if published else ""
            found.append(
                {
                    "setting": str(setting),
                    "method": method,
                    "lr": lr,
                    "metric": metric,
                    "mean": fmean(values) if values else math.nan,
                    "half_interval": t_interval(values).half if len(values) > 1 else math.nan,
                    "seeds": len(values),
                    "diverged": sum(r.status == "diverged" for r in runs),
                    "unfinished": sum(not r.finished for r in runs),
                    "published": told,
                    "published_setting": published.setting if told and published else "",
                }
            )
    return found


def _metric(experiment: Experiment, setting: Setting) -> tuple[str, str]:
    task = parse_task(setting.task)
    return experiment.metric or (task.metric, task.metric_label)


def _published(experiment: Experiment, task: str) -> Published | None:
    fitting = [name for name in experiment.published if task.startswith(name)]
    return experiment.published[max(fitting, key=len)] if fitting else None


def _sheet(experiment: Experiment, differs: str, rows: Table) -> Sheet:
    """Each method at every lr, with what the paper has for it at its best."""
    lines = []
    for row in rows.rows:
        mean = number(row["mean"])
        if row["seeds"] > 1:
            mean += f" ± {number(row['half_interval'])}"
        gaps = [f"{row[what]} {what}" for what in ("diverged", "unfinished") if row[what]]
        line = [row["setting"], row["method"], f"{row['lr']:g}", mean, ", ".join([str(row["seeds"]), *gaps])]
        told = f"{row['published']} ({row['published_setting']})" if row["published"] else ""
        lines.append([*line, told] if experiment.published else line)
    heads = ["setting", "method", "lr", "ours", "seeds", "published, at its best lr"]
    metrics = " and ".join(dict.fromkeys(row["metric"] for row in rows.rows))
    title = (
        f"{experiment.title}. Ours: {metrics} at the end, mean over seeds ± half of its 95 % t interval. "
        f"Differs: {differs}."
    )
    return Sheet(title, heads if experiment.published else heads[:-1], lines)


def _page(sheet: Sheet) -> str:
    return f"{sheet.title}\n\n{sheet.markdown()}"


def _drawings(experiment: Experiment, records: Sequence[Record]) -> list[Drawing]:
    """The figure, one drawing a panel."""
    found: list[Drawing] = []
    looks = styles(list(dict.fromkeys(record.cell.method for record in records)))
    for setting, here in by_setting(records).items():
        section = Section(setting, here, looks)
        if experiment.picture == "loss":
            found += [
                share.panels[0].drawing for at in section.curves for share in at.shares if share.panels[0].drawing
            ]
        elif experiment.picture == "gradients":
            found += section.gradients
        elif experiment.picture == "robustness":
            found += [each.draw(460, experiment.name) for each in section.robustness]
    if len(found) == 1:
        return [replace(found[0], name=experiment.name)]
    return [replace(drawing, name=f"{experiment.name}-{i}") for i, drawing in enumerate(found, 1)]
