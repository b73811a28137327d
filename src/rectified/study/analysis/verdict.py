"""The verdict of a study in sentences that never claim more than the tests allow. Pure functions."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from .comparisons import Comparison, Difference, Finding
from .formatting import count, listing, number, some
from .outcomes import LOST, Fate, Metric, Outcomes


@dataclass(frozen=True)
class Verdict:
    """A study's verdict for one setting: sentences in reading order.

    Attributes:
        answer: which method leads, what it is better than, how learning rates were chosen, and whether the grids were
            wide enough.
        at_best: each method vs the baseline, at their best lrs.
        at_lr: each method vs the baseline at equal lrs: a count, then each finding.
        beyond_lr: each method vs its matched-lr control: what its warmup does that a smaller lr does not.
        robust: how sensitive each method is to its lr.
        runs: which runs count as chance, and which are missing.
        chance: how many comparisons were made, how they were tested, and the chance of a false finding.
    """

    answer: tuple[str, ...]
    at_best: tuple[str, ...]
    at_lr: tuple[str, ...]
    beyond_lr: tuple[str, ...]
    robust: tuple[str, ...]
    runs: tuple[str, ...]
    chance: str

    @property
    def text(self) -> str:
        """The answer as one paragraph."""
        return " ".join(self.answer)


def in_words(
    found: Comparison, outcomes: Outcomes, metric: Metric, final: Sequence[tuple[str, Mapping[str, float]]] = ()
) -> Verdict:
    """Put a comparison into words, claiming no more than its tests allow.

    Args:
        final: metrics measured once at the end, such as BLEU: the label, and each method's mean at its best lr.
    """
    return Verdict(
        answer=(*_answer(found, outcomes, metric), *(_final(label, means) for label, means in final if means)),
        at_best=tuple(_at_best(d, found, metric) for d in found.at_best),
        at_lr=_at_lr(found, metric),
        beyond_lr=_beyond_lr(found, metric),
        robust=tuple(_robust(method, found, outcomes) for method in found.best),
        runs=_runs(outcomes, metric),
        chance=_chance(found),
    )


def _answer(found: Comparison, outcomes: Outcomes, metric: Metric) -> tuple[str, ...]:
    total = outcomes.total()
    if not total["trained"]:
        counted = _counted(outcomes)
        if not counted:
            return ("No run has a result yet.",)
        if counted == {"diverged"}:
            return ("Every finished run diverged, so there is no metric to compare.",)
        return ("No finished run is better than chance, so there is nothing to compare.",)
    if found.leader is None:
        if not any(found.best.values()):
            why = "no method has a seed with results at all of its learning rates"
        elif found.shared:
            why = "each method is worse than some other method, on seeds that not all methods share"
        else:
            why = "no seed has a result for every method"
        return (f"Best learning rates cannot be compared yet: {why}.",)
    sentences = [f"{_lead(found.leader, found, outcomes, metric)} {_rank(found, metric)}"]
    sentences += [_choice(found, outcomes, metric), *_ends(found)]
    without = [method for method, at_best in found.best.items() if at_best is None]
    if without:
        has = "it has" if len(without) == 1 else "they have"
        sentences.append(
            f"Left out of this comparison: {some(without)}, since {has} no seed with a result at every learning rate."
        )
    if found.first_baseline:
        sentences.append(
            f"The study began with {found.first_baseline} as its baseline. Comparisons with {found.baseline} as the "
            "baseline are exploratory: a baseline chosen after the results are known finds more than there is."
        )
    return tuple(filter(None, sentences))


def _counted(outcomes: Outcomes) -> set[Fate]:
    """The fates of the runs that count against their methods; runs that the machine failed do not."""
    runs = [run for by_lr in outcomes.runs.values() for by_seed in by_lr.values() for run in by_seed.values()]
    return {run.fate for run in runs if run.fate in LOST and (run.settled or run.fate == "diverged")}


def _lead(leader: str, found: Comparison, outcomes: Outcomes, metric: Metric) -> str:
    """The sentence that names the leading method and its mean over the seeds that all methods share."""
    best = found.best[leader]
    assert best is not None
    mean, *others = (_mean(method, found) for method in (leader, *(d.baseline for d in found.rivals if d.values)))
    word = "highest" if metric.larger_is_better else "lowest"
    among = (
        " among the methods that no other method is better than" if any(metric.better(m, mean) for m in others) else ""
    )
    values = [best.values[seed] for seed in found.shared]
    by_seed = "one seed"
    if len(values) > 1:
        by_seed = f"{number(min(values))} to {number(max(values))} by seed, {count(len(values), 'seed')}"
    if len(values) < len(best.values):
        by_seed += f" shared by all methods, out of {len(best.values)}"
    if lost := outcomes.lost(leader, best.lr, found.shared):
        by_seed += f"; {lost} of them count{'s' if lost == 1 else ''} as chance"
    return (
        f"At its best learning rate, {leader} has the {word} mean {metric.name}{among}: "
        f"{number(mean)}{metric.unit} at lr {best.lr:g} ({by_seed})."
    )


def _mean(method: str, found: Comparison) -> float:
    """A method's mean at its best lr, over the seeds that all methods share."""
    best = found.best[method]
    assert best is not None
    return fmean(best.values[seed] for seed in found.shared)


def _final(label: str, means: Mapping[str, float]) -> str:
    """The sentence about a metric that methods are not compared by, at their best learning rates."""
    each = listing([f"{method} {number(mean)}" for method, mean in means.items()])
    return f"{label[0].upper()}{label[1:]} at these learning rates, mean over seeds: {each}."


def _rank(found: Comparison, metric: Metric) -> str:
    """The sentence that compares the leader with the other methods."""
    if not found.rivals:  # controls are not rivals
        return "There is no other method to compare it with."
    rivals = [d for d in found.rivals if d.values]
    if not rivals:
        return "No other method has a result at its best learning rate to compare it with."
    if all(d.n < 2 for d in rivals):
        return "One seed cannot separate a difference between methods from chance."
    beaten = [d.baseline for d in rivals if d.finding == "better"]
    equivalent = [d.baseline for d in rivals if d.finding == "equivalent"]
    rest = [d.baseline for d in rivals if d.finding not in ("better", "equivalent")]
    parts = []
    if beaten:
        all_others = len(beaten) == len(found.rivals) and len(beaten) > 1
        parts.append(f"is better than {f'every other method ({some(beaten)})' if all_others else some(beaten)}")
    if equivalent:
        parts.append(f"is equivalent to {some(equivalent)} within {metric.tolerance}")
    if rest:
        parts.append(f"cannot be separated from {some(rest, 'or')} with these seeds")
    return f"It {listing(parts)}."


def _choice(found: Comparison, outcomes: Outcomes, metric: Metric) -> str:
    """The sentence that says which metric chose the learning rates."""
    if all(len(outcomes.runs[method]) == 1 for method, best in found.best.items() if best):
        return ""  # no choice was made
    if metric.chosen_by is not None:
        by = metric.chosen_by[1].partition(",")[0]
        return f"Learning rates were chosen by {by}; results are {metric.name}."
    return (
        f"Learning rates were chosen by the same {metric.name} that is reported, so these means are optimistic. The "
        "tests of differences take the choice into account."
    )


def _ends(found: Comparison) -> list[str]:
    """Sentences about methods whose lr grid may be too narrow; methods with the same end share one."""
    ends: dict[tuple[float, str, float | None], list[str]] = {}
    for method, best in found.best.items():
        if best and best.end:
            ends.setdefault((best.lr, best.end, best.beyond), []).append(method)
    sentences = []
    for (lr, end, beyond), methods in ends.items():
        its, it = ("its", "it") if len(methods) == 1 else ("their", "they")
        where = f"is the {end} of {its} grid: {it} may do better beyond it, for example at {beyond:g}"
        sentences.append(f"The best learning rate of {some(methods)}, {lr:g}, {where}.")
    return sentences


def _at_best(d: Difference, found: Comparison, metric: Metric) -> str:
    if d.lrs is None:
        missing = [name for name in (d.method, d.baseline) if found.best[name] is None]
        if missing:
            have = "has" if len(missing) == 1 else "have"
            why = f"{listing(missing)} {have} no seed with a result at every learning rate"
            return f"{d.method}: not compared, since {why}."
        return (
            f"{d.method}: not compared, since no seed has results at every learning rate for both it and {d.baseline}."
        )
    return f"{_versus(d)}: {_difference(d, metric)}{_waiting(d)}"


def _versus(d: Difference) -> str:
    assert d.lrs is not None
    return f"{d.method} (lr {d.lrs[0]:g}) vs {d.baseline} (lr {d.lrs[1]:g})"


def _at_lr(found: Comparison, metric: Metric) -> tuple[str, ...]:
    judged = [d for d in found.at_lr if d.n > 1]
    if not judged:
        return ()
    counts = Counter(d.finding for d in judged)
    names: dict[Finding, str] = {
        "better": "better",
        "worse": "worse",
        "equivalent": f"equivalent within {metric.tolerance}",
        "inconclusive": "inconclusive",
        "not testable": "not testable",
    }
    counted = listing([f"{counts[finding]} {name}" for finding, name in names.items() if counts[finding]])
    found_here = [d for d in judged if d.finding in ("better", "worse")]
    alone = sum(d.finding == "inconclusive" and d.interval is not None and d.interval.excludes(0) for d in judged)
    but = f"; {alone} of the inconclusive ones would be significant if tested alone" if alone else ""
    return (
        f"{count(len(judged), 'comparison')} with {found.baseline} at equal learning rates: {counted}{but}.",
        *(f"{d.method} at lr {d.lr:g}: {_difference(d, metric)}{_waiting(d)}" for d in found_here),
    )


def _beyond_lr(found: Comparison, metric: Metric) -> tuple[str, ...]:
    """Sentences for each method that has a control: the difference at best lrs, then a count at equal lrs."""
    sentences = []
    for d in found.beyond_lr:
        if d.lr is not None:
            continue
        if d.lrs is None:
            sentences.append(
                f"{d.method}: not compared with its control yet, since no seed has a result at every learning rate."
            )
            continue
        here = [e for e in found.beyond_lr if e.method == d.method and e.lr is not None and e.n > 1]
        counts = Counter(e.finding for e in here)
        counted = listing([f"{n} {finding}" for finding, n in counts.items()]) if here else ""
        each = f" At each learning rate: {counted}." if len(here) > 1 else ""
        sentences.append(f"{_versus(d)}: {_difference(d, metric)}{_waiting(d)}{each}")
    return tuple(sentences)


def _difference(d: Difference, metric: Metric) -> str:
    """The mean difference, method − baseline, and what may be concluded from it."""
    size = f"{number(d.mean, sign='+')}{metric.difference} ({spread(d)})"
    n = count(d.n, "seed")
    small = f", though by less than {metric.tolerance}" if abs(d.mean) < metric.margin else ""
    if d.finding in ("better", "worse"):
        return f"{size}, {d.finding} than {d.baseline}{small}.{_lost(d)}"
    if d.finding == "equivalent":
        if not any(d.values.values()):
            return f"no difference in any of {n}."
        return f"{size}, equivalent: a difference of {metric.tolerance} or more is ruled out."
    if d.n == 1:
        return f"{size}, not testable: one seed cannot separate a difference from chance."
    if d.finding == "not testable":
        if d.unsteady:
            seeds = count(d.needed, "seed")
            return f"{size}, not testable: with runs that count as chance, a test takes {seeds}.{_lost(d)}"
        return f"{size}, not testable: it is the same for each of {n}, so there is no spread to test it against."
    among = " among this many comparisons" if d.interval is not None and d.interval.excludes(0) else ""
    if d.unsteady:
        return f"{size}, inconclusive with {n}{among}.{_lost(d)}"
    more = "no realistic number of seeds"
    if d.more:
        more = f"about {count(_rounded(d.more), 'more seed')}"
    elif d.more == 0:
        more = "a few more seeds"
    return f"{size}, inconclusive with {n}{among}: {more} would separate them if mean and spread stay the same."


def spread(d: Difference) -> str:
    """The interval of a difference, or its range over seeds if there is no interval."""
    if d.n == 1:
        return "one seed"
    if d.interval is None:
        low, high = d.range
        return f"{number(low, sign='+')} to {number(high, sign='+')} by seed, {count(d.n, 'seed')}"
    ends = f"{number(d.interval.low, sign='+')} to {number(d.interval.high, sign='+')}"
    return f"95 % {'t ' if d.by == 't' else ''}interval {ends}, {count(d.n, 'seed')}"


def _lost(d: Difference) -> str:
    names = zip((d.method, d.baseline), d.lost, strict=True)
    lost = [f"{count(runs, 'run')} of {name}" for name, runs in names if runs]
    return f" {listing(lost)} count{'s' if sum(d.lost) == 1 else ''} as chance." if lost else ""


def _waiting(d: Difference) -> str:
    return f" {count(d.waiting, 'more seed')} to come." if d.waiting else ""


def _robust(method: str, found: Comparison, outcomes: Outcomes) -> str:
    robust = found.robust[method]
    lrs = sorted(outcomes.runs[method])
    if robust is None:
        return f"{method}: not measured, since no seed has a result at every learning rate yet."
    if len(lrs) == 1:
        return f"{method}: not measured, since it has a single learning rate ({lrs[0]:g})."
    low, high = robust.lrs
    by_seed = "one seed"
    if robust.seeds > 1:
        narrow, wide = robust.by_seed
        by_seed = f"{narrow:.2f} to {wide:.2f} by seed, {count(robust.seeds, 'seed')}"
    at_least = "at least " if robust.open else ""
    ends = [f"{lrs[0]:g}"] if low <= lrs[0] * 1.0001 else []
    ends += [f"{lrs[-1]:g}"] if high >= lrs[-1] * 0.9999 else []
    end = f"; the grid ends at {listing(ends)}" if robust.open else ""
    return f"{method}: {at_least}{robust.width:.2f} decades, lr {low:.2g} to {high:.2g} ({by_seed}){end}."


_OPEN: tuple[Fate, ...] = ("failed", "missing")
_ENDS: dict[Fate, str] = {"at chance": "ended at chance", "diverged": "diverged", "failed": "failed in their own code"}


def _runs(outcomes: Outcomes, metric: Metric) -> tuple[str, ...]:
    every = [
        (method, lr, run)
        for method, by_lr in outcomes.runs.items()
        for lr, by_seed in sorted(by_lr.items())
        for run in by_seed.values()
    ]
    planned = Counter((method, lr) for method, lr, _ in every)
    sentences = []
    for fate, what in _ENDS.items():
        lost = Counter((m, lr) for m, lr, run in every if run.fate == fate and (run.settled or fate == "diverged"))
        if lost:
            where = "; ".join(f"{method} {n} of {planned[method, lr]} at lr {lr:g}" for (method, lr), n in lost.items())
            sentences.append(f"{count(lost.total(), 'run')} {_their(what, lost.total())}: {where}.")
    trained = outcomes.total()["trained"]
    if sentences:
        as_what = (
            f"chance, {number(metric.chance)}{metric.unit}" if metric.chance is not None else "the worst result here"
        )
        sentences.append(f"Each of these counts as {as_what}.")
    elif trained:
        sentences.append(f"No finished run diverged, failed or ended at chance ({trained:,} finished).")
    left: Counter[Fate] = Counter(run.fate for _, _, run in every if not run.settled and run.fate != "diverged")
    if pending := sum(left.values()):
        kinds = [f"{left[fate]} {fate}" for fate in _OPEN if left[fate]]
        sentences.append(
            f"{pending:,} of {count(len(every), 'run')} {'has' if pending == 1 else 'have'} no result yet "
            f"({listing(kinds)}), so all of this may change."
        )
    return tuple(sentences)


def _their(what: str, n: int) -> str:
    return what.replace("their", "its") if n == 1 else what


def _chance(found: Comparison) -> str:
    families = found.families
    if not families:
        return ""
    tested = [d for d in (*found.at_best, *found.at_lr, *found.rivals, *found.beyond_lr) if d.by]
    kinds = {d.by for d in tested}
    made = f"{count(sum(families), 'comparison')} {'was' if sum(families) == 1 else 'were'} made"
    groups = f", in {count(len(families), 'group')}" if len(families) > 1 else ""
    how = []
    if "swaps" in kinds:
        how.append(
            "by permutation tests, which swap the two methods' runs seed by seed, choose both learning rates again "
            "each time, and assume nothing about the distribution over seeds"
        )
    if "t" in kinds:
        how.append("by t tests where there are too few seeds to permute, which assume a normal distribution over seeds")
    bound = f"at most {100 - 95} %"
    all_of = f", and over all of them at most {min(100, 5 * len(families))} %" if len(families) > 1 else ""
    return (
        f"{made}{groups}, {listing(how)}. A method is called better or worse only if p is at most 0.05 after Holm's "
        "adjustment within its group, and equivalent only if the interval, widened for the size of the group, lies "
        f"within the margin: the chance of any false finding in a group is {bound}{all_of}."
    )


def _rounded(n: int) -> int:
    """Round to two digits: more would suggest a precision that the estimate lacks."""
    return int(float(f"{n:.2g}"))
