"""The tables of the docs, from what the package computes and from the committed studies."""

import io
import math
import os
import statistics
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout, suppress
from typing import Any
from unittest import mock

from scipy import stats

from rectified import cli
from rectified.figures.table import markdown
from rectified.figures.theory_numbers.computed import periods
from rectified.figures.theory_numbers.simulated import early
from rectified.figures.theory_numbers.simulated_variants import by_variant, over_last
from rectified.figures.theory_page.reader_tables import digits, period_markdown, variance_markdown, variance_table
from rectified.study.analysis.comparisons import Difference
from rectified.study.analysis.formatting import number
from rectified.study.analysis.results import SettingResults, StudyResults
from rectified.study.report.drawings.gradient_histograms import median
from rectified.study.report.export import group_mean, sheets
from rectified.study.storage.store import Store
from rectified.theory.simulation import Gradients, simulate

BETAS = (0.9, 0.95, 0.99, 0.999)


def variances() -> str:
    """The EMA's variance, closed form, first order and 400,000 simulated paths."""
    return variance_markdown(variance_table(early(BETAS, paths=400_000, seed=0, on_step=lambda: None)))


def effective_periods() -> str:
    """T(omega) in steps."""
    return period_markdown(periods())


def assumptions() -> str:
    """What becomes of the variances where gradients are not independent normal ones of mean 0."""
    laws = [
        *(Gradients(mu=mu) for mu in (0, 0.1, 1, 10)),
        *(Gradients(freedom=freedom) for freedom in (5, 3)),
        *(Gradients(correlation=correlation) for correlation in (0.5, 0.9)),
    ]
    at = (6, 100, 1000, 6000)
    found = simulate(laws, steps=at[-1], at=at)
    rows = []
    for i, law in enumerate(laws):
        variances = [
            f"{digits(variance)} ± {digits(error, 1)}"
            for variance, error in zip(found.psi.variance[i].tolist(), found.psi.error[i].tolist(), strict=True)
        ]
        updates = [digits(variance) for variance in found.update.variance[i].tolist()]
        rows.append([str(law), *variances, *updates])
    heads = [*(f"Var ψ, t = {t}" for t in at), *(f"Var m̂ψ, t = {t}" for t in at)]
    return markdown(["gradients", *heads], rows)


def family() -> str:
    """What a rectification makes of the other methods' adaptive learning rates."""
    at = (6, 10, 100, 1000, 6000)
    found = over_last(by_variant(paths=20_000, steps=at[-1], seed=0, at=at))
    rows = []
    for name in dict.fromkeys(found["method"]):
        mine = found.where(method=name).rows
        ends = mine[0], mine[-1]
        ratios = [f"{row['over_last']:.3f} ± {digits(row['over_last_error'], 1)}" for row in mine[:-1]]
        rows.append([name, *(digits(row["psi"]) for row in ends), *ratios, *(digits(row["update"]) for row in ends)])
    first, last = (f"t = {t}" for t in (at[0], at[-1]))
    ratios = [f"Var ωψ over the last, t = {t}" for t in at[:-1]]
    heads = [f"Var ψ, {first}", last, *ratios, f"Var of the update, {first}", last]
    return markdown(["method", *heads], rows)


def verdict(store: Store) -> str:
    """What the study's report begins with, word for word, as a quotation."""
    said = _only_setting(store).verdict
    parts = [" ".join(said.answer), *said.at_best, *said.at_lr, *said.beyond_lr, *said.robust, *said.runs, said.chance]
    return "\n>\n".join(f"> {part}" for part in parts if part)


def beyond_lr(store: Store) -> str:
    """Each method with a warmup vs its control at a matched lr, as the report has it."""
    return sheets(StudyResults.read(store))[-1].markdown()


def _only_setting(store: Store) -> SettingResults:
    (setting,) = StudyResults.read(store).settings
    return setting


def intervals(store: Store, metric: str = "", methods: Sequence[str] = ()) -> str:
    """The metric at the end: mean over seeds with its 95 % t interval, by method and lr; and what became of the rest.

    What methods are compared by counts runs that were lost as chance, and then has no interval.
    """
    results = _only_setting(store)
    metric, methods, lrs = metric or results.task.metric, methods or results.methods, results.lrs
    rows = []
    for method in methods:
        row = []
        for lr in lrs:
            if metric == results.metric.key:
                row.append(group_mean(results.group(method, lr)))
                continue
            runs = [record for record in results.records if (record.run.method, record.run.lr) == (method, lr)]
            values = [record.rows[-1][metric] for record in runs if record.status == "done"]
            gone = "" if len(values) == len(runs) else f", {len(runs) - len(values)} of {len(runs)} diverged"
            row.append(interval(values) + gone)
        rows.append([method, *row])
    return markdown(["method", *(f"lr {lr:g}" for lr in lrs)], rows)


def differences(store: Store, pairs: Sequence[tuple[str, str]], metric: str = "") -> str:
    """One method vs another, paired by seed: with the same seed both have the same first weights and batches."""
    results = _only_setting(store)
    metric, lrs, seeds = metric or results.task.metric, results.lrs, results.seeds
    ends = {
        (record.run.method, record.run.lr, record.run.seed): record.rows[-1][metric]
        for record in results.records
        if record.status == "done"
    }
    rows = []
    for one, other in pairs:
        row = []
        for lr in lrs:
            both = [seed for seed in seeds if (one, lr, seed) in ends and (other, lr, seed) in ends]
            found = [ends[one, lr, seed] - ends[other, lr, seed] for seed in both]
            row.append(interval(found, sign="+") + ("" if len(both) == len(seeds) else f", {len(both)} pairs"))
        rows.append([f"{one} − {other}", *row])
    return markdown(["difference", *(f"lr {lr:g}" for lr in lrs)], rows)


def command_help() -> dict[str, str]:
    """What each command prints with --help, as a code block, by the command's name."""
    found = {}
    for name in cli.COMMANDS:
        said = io.StringIO()
        with mock.patch.dict(os.environ, COLUMNS="100"), redirect_stdout(said), suppress(SystemExit):
            cli.main([name, "--help"])
        lines = [line.rstrip() for line in said.getvalue().strip().splitlines()]
        found[name] = "\n".join(["```text", *lines, "```"])
    return found


def ends(store: Store, metrics: Mapping[str, str], seed: int) -> str:
    """What one seed's runs end at, a method a row, a metric (by its name in results.csv) a column."""
    rows = []
    for record in _only_setting(store).records:
        if record.run.seed == seed:
            done = record.status == "done"
            row = [f"{record.rows[-1][metric]:.2f}" if done else record.status for metric in metrics]
            rows.append([record.run.method, *row])
    return markdown(["method", *metrics.values()], rows)


def first_gradients(store: Store, at: Sequence[int], methods: Sequence[str]) -> str:
    """The median of log10 |g| over all elements that are not 0, a method a row, a step a column."""
    found: dict[str, list[dict[int, float]]] = {}
    for record in store.records():
        histograms = {each.step: median(each) for each in record.gradients}
        if histograms and record.run.method in methods:
            found.setdefault(record.run.method, []).append(histograms)
    rows = [
        [method, *(interval([run[step] for run in runs]) for step in at), str(len(runs))]
        for method, runs in found.items()
    ]
    return markdown(["method", *(f"step {step}" for step in at), "seeds"], rows)


def best_and_cost(store: Store, cost: Mapping[str, Any]) -> str:
    """Each method at its best lr, how wide the range of lrs is that are nearly as good, and what a step costs.

    Args:
        cost: what benchmarks/method_cost.py has written.
    """
    results = _only_setting(store)
    found = results.comparison
    differences = {d.method: d for d in found.at_best}
    rows = []
    for method, best in found.best.items():
        assert best is not None, "every run has ended well"
        robust, lrs = found.robust[method], sorted(results.outcomes.runs[method])
        lr, width = f"{best.lr:g}" + ", the last" * (best.lr == lrs[-1]), "–"
        if len(lrs) == 1:
            lr = f"{lrs[0]:g}, its own"
        elif robust is not None:
            width = "≥ " * robust.open + f"{robust.width:.2f} ({robust.by_seed[0]:.2f} to {robust.by_seed[1]:.2f})"
        times = [
            statistics.median(x / base for x, base in zip(seconds[method], seconds[found.baseline], strict=True))
            for seconds in cost["seconds"].values()
        ]
        rows.append(
            [
                method,
                lr,
                number(best.mean),
                _difference(differences.get(method)),
                width,
                *(f"{ratio:.1f}" for ratio in times),
                f"{cost['state'][method]:.0f}",
            ]
        )
    rows.sort(key=lambda row: float(row[2].split()[0]), reverse=True)
    costs = [f"a step with {model}" for model in cost["seconds"]]
    heads = ["method", "best lr", f"{results.metric.label} there", f"vs {found.baseline}", "decades of lr"]
    return markdown([*heads, *costs, "state"], rows)


def _difference(d: Difference | None) -> str:
    """The mean with its interval; without one, with its range by seed."""
    if d is None:
        return "–"
    low, high = (d.interval.low, d.interval.high) if d.interval else d.range
    by_seed = "" if d.interval else " by seed"
    return f"{number(d.mean, sign='+')} ({number(low, sign='+')} to {number(high, sign='+')}{by_seed})"


def interval(values: Sequence[float], sign: str = "") -> str:
    """Mean and half the width of its 95 % interval; of one value, that."""
    if len(values) < 2:
        return "".join(f"{value:{sign}.2f}".replace("-", "−") for value in values) or "–"
    half = stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.fmean(values):{sign}.2f} ± {half:.2f}".replace("-", "−")
