"""`rectified export`: the report's tables as CSV, Markdown or LaTeX, at any time."""

import re
from collections.abc import Sequence
from typing import Literal

from ...figures.table import Sheet, markdown
from ..analysis.comparisons import Comparison, Difference
from ..analysis.formatting import count, number
from ..analysis.groups import Group
from ..analysis.outcomes import Metric, Outcomes
from ..analysis.results import FinalMetric, Setting, SettingResults, StudyResults
from ..analysis.stats import Interval, t_interval
from ..config.errors import InvalidOption
from ..storage.records import results_csv

Format = Literal["csv", "markdown", "latex"]


def export(results: StudyResults, kind: Format) -> str:
    """The results as text: in CSV one row a run; otherwise, for each setting, the means and the paired differences.

    Raises:
        InvalidOption: the format is unknown.
    """
    if kind == "csv":
        return results_csv(results.records)
    write = {"markdown": _markdown, "latex": _latex}.get(kind)
    if write is None:
        raise InvalidOption("format", kind, "it must be csv, markdown or latex")
    return "\n".join(write(sheet) for sheet in sheets(results))


def sheets(results: StudyResults) -> list[Sheet]:
    """For each setting, means by method and lr, and differences from the baseline if there are any."""
    found = []
    for s in results.settings:
        found.append(_means(s.setting, s.outcomes, s.comparison, s.metric))
        found += [_final_means(s, each) for each in s.final]
        if s.comparison.at_best:
            found.append(_differences(s.setting, s.comparison, s.metric))
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
    how = "on one half of the seeds and evaluated on the other"
    if not all(best.honest for best in chosen):
        how = "and evaluated on the same seeds, and so optimistic"
    total = outcomes.total()
    left = total["failed"] + total["missing"]
    have = "has" if left == 1 else "have"
    missing = f" {left} of {count(total.total(), 'run')} {have} no result yet." if left else ""
    caption = (
        f"{setting}: {metric.name}{',' + metric.unit if metric.unit else ''} at the end, mean over seeds ± half of its "
        f"95 % t interval. Best lr: chosen {how}.{missing}"
    )
    return Sheet(caption, ["method", *(f"lr {lr:g}" for lr in lrs), "at its best lr"], rows)


def _final_means(results: SettingResults, metric: FinalMetric) -> Sheet:
    """A measure that methods are not compared by, such as BLEU."""
    rows = [[method, *(_final_mean(metric.group(method, lr)) for lr in results.lrs)] for method in results.methods]
    caption = (
        f"{results.setting}: {metric.label}, measured once at the end, mean over seeds ± half of its 95 % t interval."
    )
    return Sheet(caption, ["method", *(f"lr {lr:g}" for lr in results.lrs)], rows)


def _final_mean(group: Group | None) -> str:
    if group is None:
        return ""
    return _half(group.interval) if group.interval else "–"


def _mean(outcomes: Outcomes, method: str, lr: float) -> str:
    values = list(outcomes.values[method][lr].values())
    counts = outcomes.counts(method, lr)
    gaps = [f"{counts[status]} {status}" for status in ("diverged", "failed", "missing") if counts[status]]
    mean = [_half(t_interval(values))] if values else []
    return ", ".join(mean + gaps) + (f" of {sum(counts.values())}" if gaps else "")


def _differences(setting: Setting, comparison: Comparison, metric: Metric) -> Sheet:
    lrs = sorted({d.lr for d in comparison.at_lr if d.lr is not None})
    rows = []
    for best in comparison.at_best:
        at = {d.lr: d for d in comparison.at_lr if d.method == best.method}
        rows.append([best.method, *(_difference(at[lr]) if lr in at else "" for lr in lrs), _difference(best)])
    caption = (
        f"{setting}: difference in {metric.name}, method − {comparison.baseline}, paired by seed: "
        f"mean{',' + metric.difference if metric.difference else ''} ± half of its 95 % t interval. *: better or worse "
        "with p < 0.05 after Holm's adjustment, within the columns of equal lrs and within the last one."
    )
    return Sheet(caption, [f"vs {comparison.baseline}", *(f"lr {lr:g}" for lr in lrs), "each at its best lr"], rows)


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
