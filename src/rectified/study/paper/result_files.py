"""Writing an experiment's table or figure from a study's folder, as Markdown, CSV, SVG and PDF."""

import math
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from ...figures.drawing import Drawing
from ...figures.style import styles
from ...figures.table import Sheet, Table
from ...files import write
from ..analysis.formatting import number
from ..analysis.results import SettingResults, StudyResults
from ..analysis.stats import t_interval
from ..config.runs import RunKey
from ..config.study import Study
from ..report.section import Section
from ..storage.store import Store
from .catalog import Experiment, Published, Scale


def write_result(experiment: Experiment, scale: Scale, store: Store, asked: Study) -> tuple[Sheet, list[Path]]:
    """Write the table, with the published numbers next to ours, and the figure; return the table and the files.

    They cover the methods and lrs of the experiment and of the study ``asked``, over all seeds in the store. Runs that
    the store holds for other experiments are left out.
    """
    planned = experiment.runs[scale]
    ours = {_arm(run.key) for study in (Study(**planned.grid), asked) for run in study.runs()}
    records = [record for record in store.records() if _arm(record.run) in ours]
    results = StudyResults.of(records, store.tasks())
    rows = Table.of(_rows(experiment, results))
    sheet = _sheet(experiment, planned.differs, rows)
    files = {f"{experiment.name}.csv": rows.csv().encode(), f"{experiment.name}.md": _page(sheet).encode()}
    for drawing in _drawings(experiment, results):
        files |= drawing.files()
    for name, content in files.items():
        write(store.out / name, content)
    return sheet, [store.out / name for name in files]


def _arm(run: RunKey) -> tuple[str, str, float]:
    return run.task, run.method, run.lr


def _rows(experiment: Experiment, results: StudyResults) -> list[dict[str, object]]:
    """The result's rows, one per task, method and lr."""
    return [row for setting in results.settings for row in _rows_of(experiment, setting)]


def _rows_of(experiment: Experiment, results: SettingResults) -> list[dict[str, object]]:
    metric, _ = experiment.metric or (results.task.metric, results.task.metric_label)
    published = _published(experiment, results.task.name)
    found: list[dict[str, object]] = []
    for group in results.groups:
        runs = [r for r in results.records if (r.run.method, r.run.lr) == (group.method, group.lr)]
        values = [r.rows[-1][metric] for r in runs if r.status == "done" and metric in r.rows[-1]]
        printed = published.values.get(group.method.partition("(")[0], "") if published else ""
        found.append(
            {
                "setting": str(results.setting),
                "method": group.method,
                "lr": group.lr,
                "metric": metric,
                "mean": fmean(values) if values else math.nan,
                "half_interval": t_interval(values).half if len(values) > 1 else math.nan,
                "seeds": len(values),
                "diverged": group.counts["diverged"],
                "at_chance": group.counts["at chance"],
                "unfinished": group.counts["failed"] + group.counts["missing"],
                "published": printed,
                "published_setting": published.setting if printed and published else "",
            }
        )
    return found


def _published(experiment: Experiment, task: str) -> Published | None:
    fitting = [name for name in experiment.published if task.startswith(name)]
    return experiment.published[max(fitting, key=len)] if fitting else None


def _sheet(experiment: Experiment, differs: str, rows: Table) -> Sheet:
    """The table of every method at every lr, with the paper's number next to the best lr."""
    lines = []
    for row in rows.rows:
        mean = number(row["mean"])
        if row["seeds"] > 1:
            mean += f" ± {number(row['half_interval'])}"
        gaps = [f"{row[what]} {what}" for what in ("diverged", "unfinished") if row[what]]
        line = [row["setting"], row["method"], f"{row['lr']:g}", mean, ", ".join([str(row["seeds"]), *gaps])]
        printed = f"{row['published']} ({row['published_setting']})" if row["published"] else ""
        lines.append([*line, printed] if experiment.published else line)
    heads = ["setting", "method", "lr", "ours", "seeds", "published, at its best lr"]
    metrics = " and ".join(dict.fromkeys(row["metric"] for row in rows.rows))
    title = (
        f"{experiment.title}. Ours: {metrics} at the end, mean over seeds ± half its 95 % t interval. "
        f"Differs: {differs}."
    )
    return Sheet(title, heads if experiment.published else heads[:-1], lines)


def _page(sheet: Sheet) -> str:
    return f"{sheet.title}\n\n{sheet.markdown()}"


def _drawings(experiment: Experiment, results: StudyResults) -> list[Drawing]:
    """The drawings of the figure, one per panel."""
    found: list[Drawing] = []
    looks = styles(list(dict.fromkeys(record.run.method for record in results.records)))
    for setting in results.settings:
        section = Section(setting, looks)
        if experiment.picture == "loss":
            found += [
                share.panels[0].drawing for at in section.curves for share in at.shares if share.panels[0].drawing
            ]
        elif experiment.picture == "gradients":
            found += section.gradients
        elif experiment.picture == "robustness":
            found += [each.drawing for each in section.robustness]
    if len(found) == 1:
        return [replace(found[0], name=experiment.name)]
    return [replace(drawing, name=f"{experiment.name}-{i}") for i, drawing in enumerate(found, 1)]
