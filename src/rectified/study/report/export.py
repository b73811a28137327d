"""`rectified export`: the report's tables as CSV, Markdown or LaTeX, at any time."""

import re
from collections.abc import Sequence
from typing import Literal

from ...figures.table import Sheet, markdown
from ...workloads.tasks import parse_task
from ..analysis.comparisons import Comparison, Difference, compare
from ..analysis.formatting import count, number
from ..analysis.outcomes import Metric, Outcomes, Setting, by_setting
from ..analysis.stats import Interval, t_interval
from ..storage.records import Record, results

Format = Literal["csv", "markdown", "latex"]


def export(records: Sequence[Record], kind: Format, baseline: str | None = None) -> str:
    """The records as text: in CSV one row a run; else, of each setting, the means and the paired differences.

    Args:
        baseline: the method that the others are compared with; the first one if None, and in a setting without it.

    Raises:
        ValueError: no method is called like the baseline, or the format is unknown.
    """
    methods = list(dict.fromkeys(record.cell.method for record in records))
    if baseline is not None and baseline not in methods:
        raise ValueError(f"--baseline is {baseline!r}; the study's methods are {', '.join(methods)}")
    if kind == "csv":
        return results(records)
    write = {"markdown": _markdown, "latex": _latex}.get(kind)
    if write is None:
        raise ValueError(f"--format is {kind!r}; it must be csv, markdown or latex")
    return "\n".join(write(sheet) for sheet in sheets(records, baseline))


def sheets(records: Sequence[Record], baseline: str | None = None) -> list[Sheet]:
    """Of each setting a sheet of means by method and lr, and one of differences from the baseline if there are any."""
    found = []
    for setting, here in by_setting(records).items():
        metric = Metric.of(parse_task(setting.task))
        outcomes = Outcomes.of(here, metric.key)
        comparison = compare(outcomes, metric, baseline if baseline in outcomes.values else None)
        found.append(_means(setting, outcomes, comparison, metric))
        if comparison.at_best:
            found.append(_differences(setting, comparison, metric))
    return found


def _means(setting: Setting, outcomes: Outcomes, comparison: Comparison, metric: Metric) -> Sheet:
    lrs = sorted({lr for by_lr in outcomes.status.values() for lr in by_lr})
    rows = []
    for method, by_lr in outcomes.values.items():
        row = [_mean(outcomes, method, lr) if lr in by_lr else "" for lr in lrs]
        best = comparison.best[method]
        at_best = f"{_half(best.metric)} (lr {_lrs(best.lrs)})" if best else "–"
        rows.append([method, *row, at_best])
    chosen = [best for best in comparison.best.values() if best]
    honest = "on one half of the seeds and told on the other"
    if not all(best.honest for best in chosen):
        honest = "and told on all seeds, and so optimistic"
    total = outcomes.total()
    left = total["failed"] + total["missing"]
    missing = f" {left} of {count(sum(total.values()), 'run')} have no result yet." if left else ""
    caption = (
        f"{setting}: {metric.name}{',' + metric.unit if metric.unit else ''} at the end, mean over seeds ± half of its "
        f"95 % t interval. Best lr: chosen {honest}.{missing}"
    )
    return Sheet(caption, ["method", *(f"lr {lr:g}" for lr in lrs), "at its best lr"], rows)


def _mean(outcomes: Outcomes, method: str, lr: float) -> str:
    values = list(outcomes.values[method][lr].values())
    counts = outcomes.counts(method, lr)
    gaps = [f"{counts[status]} {status}" for status in ("diverged", "failed", "missing") if counts[status]]
    said = [_half(t_interval(values))] if values else []
    return ", ".join(said + gaps) + (f" of {sum(counts.values())}" if gaps else "")


def _differences(setting: Setting, comparison: Comparison, metric: Metric) -> Sheet:
    lrs = sorted({d.lr for d in comparison.at_lr if d.lr is not None})
    rows = []
    for best in comparison.at_best:
        at = {d.lr: d for d in comparison.at_lr if d.method == best.method}
        rows.append([best.method, *(_difference(at[lr]) if lr in at else "" for lr in lrs), _difference(best)])
    caption = (
        f"{setting}: {metric.name} less that of {comparison.baseline}, of the same seeds: mean{metric.difference} ± "
        "half of its 95 % t interval. *: better or worse, p < 0.05 after Holm's adjustment, over the columns of equal "
        "lrs and over the last one."
    )
    return Sheet(caption, [f"less {comparison.baseline}", *(f"lr {lr:g}" for lr in lrs), "each at its best lr"], rows)


def _difference(d: Difference) -> str:
    if d.interval is None:
        return "–"
    lost = sum(d.diverged)
    star = "*" if d.finding in ("better", "worse") else ""
    return f"{_half(d.interval, '+')}{star}" + (f", without {lost} diverged" if lost else "")


def _half(interval: Interval, sign: str = "") -> str:
    mean = number(interval.estimate, sign=sign)
    return f"{mean} ± {number(interval.half)}" if interval.n > 1 else f"{mean} (1 seed)"


def _lrs(lrs: Sequence[float]) -> str:
    return " or ".join(f"{lr:g}" for lr in sorted(set(lrs)))


def _markdown(sheet: Sheet) -> str:
    escaped = [[cell.replace("|", r"\|").replace("*", r"\*") for cell in row] for row in sheet.rows]
    return f"{sheet.title.replace('*', chr(92) + '*')}\n\n{markdown(sheet.heads, escaped)}"


_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "<": "$<$",
    ">": "$>$",
    **{symbol: "\\" + symbol for symbol in "#$%&_"},
}


def escape(text: str) -> str:
    r"""The text as LaTeX shows it.

    >>> print(escape("adam_w(beta2=0.95), 50 % ± 2"))
    adam\_w(beta2=0.95), 50 \% $\pm$ 2
    """
    return re.sub("|".join(map(re.escape, _LATEX)), lambda match: _LATEX[match[0]], text)


def _latex(sheet: Sheet) -> str:
    def line(cells: Sequence[str]) -> str:
        return "    " + " & ".join(escape(cell) for cell in cells) + r" \\"

    return "\n".join(
        [
            r"\begin{table}  % needs \usepackage{booktabs}",
            r"  \centering",
            rf"  \caption{{{escape(sheet.title)}}}",
            rf"  \begin{{tabular}}{{l{'r' * (len(sheet.heads) - 1)}}}",
            r"    \toprule",
            line(sheet.heads),
            r"    \midrule",
            *(line(row) for row in sheet.rows),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )
