"""`rectified export`: the report's tables as CSV, Markdown or LaTeX."""

import re
from collections.abc import Sequence
from typing import Literal

from ...figures.table import Sheet, markdown
from ..analysis.comparisons import Comparison, Difference
from ..analysis.formatting import count, number
from ..analysis.groups import Group
from ..analysis.outcomes import Metric
from ..analysis.results import FinalMetric, Setting, SettingResults, StudyResults
from ..analysis.stats import Interval
from ..config.errors import InvalidOption
from ..storage.records import results_csv

Format = Literal["csv", "markdown", "latex"]


def export(results: StudyResults, kind: Format) -> str:
    """The results as text: one row per run in CSV; otherwise the means and paired differences of each setting.

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
    """The tables of each setting: means by method and lr, and differences from the baseline if there are any."""
    found = []
    for s in results.settings:
        found.append(_means(s))
        found += [_final_means(s, each) for each in s.final]
        if s.comparison.at_best:
            found.append(_differences(s.setting, s.comparison, s.metric))
        if s.comparison.beyond_lr:
            found.append(_beyond_lr(s.setting, s.comparison, s.metric))
    return found


def _means(s: SettingResults) -> Sheet:
    rows = []
    for method in s.methods:
        best = s.comparison.best[method]
        at_best = f"{number(best.mean)} (lr {best.lr:g}{f', the {best.end}' if best.end else ''})" if best else "–"
        rows.append([method, *(group_mean(s.group(method, lr)) for lr in s.lrs), at_best])
    left = sum(group.runs - len(group.values) for group in s.groups)
    have = "has" if left == 1 else "have"
    missing = f" {left} of {count(len(s.records), 'run')} {have} no result yet." if left else ""
    chosen = s.metric.chosen_by[1].partition(",")[0] if s.metric.chosen_by else "the same, and so optimistic"
    unit = f", {s.metric.unit.strip()}" if s.metric.unit else ""
    caption = (
        f"{s.setting}: final {s.metric.name}{unit}, mean over seeds ± half its 95 % t interval, which assumes a normal "
        f"distribution over seeds (none if a run counts as chance). Best lr: chosen by {chosen}.{missing}"
    )
    return Sheet(caption, ["method", *(f"lr {lr:g}" for lr in s.lrs), "at its best lr"], rows)


def _final_means(results: SettingResults, metric: FinalMetric) -> Sheet:
    """The table of a metric that methods are not compared by, such as BLEU."""
    rows = [[method, *(_final_mean(metric.group(method, lr)) for lr in results.lrs)] for method in results.methods]
    caption = f"{results.setting}: {metric.label}, measured once at the end, mean over seeds ± half its t interval."
    return Sheet(caption, ["method", *(f"lr {lr:g}" for lr in results.lrs)], rows)


def _final_mean(group: Group | None) -> str:
    if group is None:
        return ""
    return _half(group.interval) if group.interval else "–"


def group_mean(group: Group | None) -> str:
    """A mean ± half its interval, if no run counts as chance, and counts of the runs that did not train."""
    if group is None:
        return ""
    gaps = [*group.gaps[:-1], f"{group.gaps[-1]} of {group.runs}"] if group.gaps else []
    if not group.values:
        return ", ".join(gaps)
    return ", ".join([_half(group.interval) if group.interval else number(group.mean), *gaps])


def _differences(setting: Setting, comparison: Comparison, metric: Metric) -> Sheet:
    what, head = f"method − {comparison.baseline}", f"vs {comparison.baseline}"
    return _of_differences(setting, metric, what, head, (*comparison.at_best, *comparison.at_lr))


def _beyond_lr(setting: Setting, comparison: Comparison, metric: Metric) -> Sheet:
    """The table of differences between each method and its matched-lr control."""
    what = "method − its control at a matched lr, which is the effect of the warmup beyond a smaller lr"
    return _of_differences(setting, metric, what, "warmup beyond a smaller lr", comparison.beyond_lr)


def _of_differences(setting: Setting, metric: Metric, what: str, head: str, differences: Sequence[Difference]) -> Sheet:
    """A table with one row per method: its difference at each lr, then at the best lrs."""
    lrs = sorted({d.lr for d in differences if d.lr is not None})
    rows = []
    for best in (d for d in differences if d.lr is None):
        at = {d.lr: d for d in differences if d.method == best.method}
        rows.append([best.method, *(_difference(at[lr]) if lr in at else "" for lr in lrs), _difference(best)])
    unit = f",{metric.difference}" if metric.difference else ""
    caption = (
        f"{setting}: difference in {metric.name}, {what}, paired by seed: mean{unit} with its 95 % interval, or its "
        "range by seed if a run that counts as chance decides or no test can be made. *: better or worse with p at "
        "most 0.05 after Holm's adjustment, separately within the columns of equal lrs and within the last column."
    )
    return Sheet(caption, [head, *(f"lr {lr:g}" for lr in lrs), "each at its best lr"], rows)


def _difference(d: Difference) -> str:
    if not d.values:
        return "–"
    star = "*" if d.finding in ("better", "worse") else ""
    mean = number(d.mean, sign="+")
    if d.n == 1:
        return f"{mean} (1 seed)"
    low, high = (d.interval.low, d.interval.high) if d.interval else d.range
    by_seed = "" if d.interval else " by seed"
    return f"{mean}{star} ({number(low, sign='+')} to {number(high, sign='+')}{by_seed})"


def _half(interval: Interval, sign: str = "") -> str:
    mean = number(interval.estimate, sign=sign)
    return f"{mean} ± {number(interval.half)}" if interval.n > 1 else f"{mean} (1 seed)"


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
    r"""Escape a text for LaTeX.

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
