"""The verdict of a study in sentences, which never claim more than the intervals allow. Pure functions."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..storage.records import Status
from .comparisons import Comparison, Difference, Finding
from .formatting import count, listing, number, some
from .outcomes import Metric, Outcomes
from .stats import Interval


@dataclass(frozen=True)
class Verdict:
    """Sentences, in the order in which they are read.

    Attributes:
        answer: which method leads, what it is better than, and how its lr was chosen.
        at_best: each method vs the baseline, at their best lrs.
        at_lr: the same at equal lrs: a count, then each finding.
        robust: how forgiving each method is in its lr.
        runs: which runs diverged or are missing.
        chance: how many comparisons were made, and how they were adjusted for that.
    """

    answer: tuple[str, ...]
    at_best: tuple[str, ...]
    at_lr: tuple[str, ...]
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
    """What a comparison allows to be said.

    Args:
        final: what was measured once, such as BLEU: its label, and each method's mean at its best lr.
    """
    return Verdict(
        answer=(*_answer(found, outcomes, metric), *(_final(label, means) for label, means in final if means)),
        at_best=tuple(_at_best(d, found, metric) for d in found.at_best),
        at_lr=_at_lr(found, metric),
        robust=tuple(_robust(method, found, outcomes, metric) for method in found.best),
        runs=_runs(outcomes),
        chance=_chance(found),
    )


def _answer(found: Comparison, outcomes: Outcomes, metric: Metric) -> tuple[str, ...]:
    total = outcomes.total()
    if not total["done"]:
        if not total["diverged"]:
            return ("No run has a result yet.",)
        return ("Every run that ended has diverged, so there is no metric to compare.",)
    if found.leader is None:
        return ("Best learning rates cannot be compared yet: no method has an lr at which every seed has a result.",)
    best = found.best[found.leader]
    assert best is not None
    word = "highest" if metric.larger_is_better else "lowest"
    lead = (
        f"At its best learning rate {found.leader} has the {word} mean {metric.name}: "
        f"{number(best.metric.estimate)}{metric.unit} at {_lrs(best.lrs)} ({_spread(best.metric)})."
    )
    without = [method for method, at_best in found.best.items() if at_best is None]
    sentences = [f"{lead} {_rank(found, metric)}", _choice(found)]
    if without:
        has = "it has" if len(without) == 1 else "they have"
        sentences.append(
            f"Left out of this comparison: {some(without)}, since {has} no lr at which every seed has a result."
        )
    return tuple(filter(None, sentences))


def _final(label: str, means: Mapping[str, float]) -> str:
    """A measure that methods are not compared by, at the same learning rates."""
    each = listing([f"{method} {number(mean)}" for method, mean in means.items()])
    return f"{label[0].upper()}{label[1:]} there, mean over seeds: {each}."


def _rank(found: Comparison, metric: Metric) -> str:
    """Which others the leader is better than."""
    if len(found.best) == 1:
        return "There is no other method to compare it with."
    rivals = [d for d in found.rivals if d.interval is not None]
    if not rivals:
        return "No other method has a result at its best lr to compare it with."
    if all(d.interval is not None and d.interval.n < 2 for d in rivals):
        return "One seed cannot separate a difference between methods from chance."
    beaten = [d.baseline for d in rivals if d.finding == "better"]
    equivalent = [d.baseline for d in rivals if d.finding == "equivalent"]
    rest = [d.baseline for d in rivals if d.finding not in ("better", "equivalent")]
    parts = []
    on = "" if all(d.honest for d in rivals) else " on the same seeds that the lrs were chosen on"
    if beaten:
        all_others = len(beaten) == len(found.best) - 1 and len(beaten) > 1
        names = f"every other method ({some(beaten)})" if all_others else some(beaten)
        parts.append(f"is better than {names}{on}")
    if equivalent:
        parts.append(f"is equivalent to {some(equivalent)} within {metric.tolerance}")
    if rest:
        parts.append(f"cannot be separated from {some(rest, 'or')} with these seeds")
    return f"It {listing(parts)}."


def _choice(found: Comparison) -> str:
    """Whether the lrs were chosen on other seeds than those that evaluate them."""
    chosen = {method: best for method, best in found.best.items() if best}
    optimistic = [method for method, best in chosen.items() if not best.honest]
    if not optimistic:
        if all(len(best.lrs) == 1 for best in chosen.values()):
            return ""  # no choice was made
        return "Each lr was chosen on one half of the seeds and evaluated on the other, so a lucky one gains nothing."
    few = max(best.metric.n for best in chosen.values()) < 4
    why = "with fewer than four seeds they cannot be halved" if few else "the seeds could not be halved everywhere"
    whose = "each lr was" if len(optimistic) == len(chosen) else f"the lr of {some(optimistic)} was"
    return f"Optimistic: {whose} chosen and evaluated on the same seeds, so a lucky choice counts as merit; {why}."


def _at_best(d: Difference, found: Comparison, metric: Metric) -> str:
    if d.interval is None:
        missing = [name for name in (d.method, d.baseline) if found.best[name] is None]
        if missing:
            have = "has" if len(missing) == 1 else "have"
            return f"{d.method}: not compared, since {listing(missing)} {have} no lr at which every seed has a result."
        return f"{d.method}: not compared, since no seed has a result at every lr for both it and {d.baseline}."
    where = f"{d.method} ({_lrs(d.lrs[0])}) vs {d.baseline} ({_lrs(d.lrs[1])})"
    return f"{where}: {_difference(d, metric)}{_waiting(d)}"


def _at_lr(found: Comparison, metric: Metric) -> tuple[str, ...]:
    judged = [d for d in found.at_lr if d.interval is not None and d.interval.n > 1]
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
    survivors = [d for d in judged if any(d.diverged) and d.finding == "inconclusive"]
    alone = sum(d.finding == "inconclusive" and d.interval is not None and d.interval.excludes(0) for d in judged)
    but = f"; {alone} of the inconclusive ones would be findings if each were the only comparison" if alone else ""
    return (
        f"{count(len(judged), 'comparison')} with {found.baseline} at equal lr: {counted}{but}.",
        *(f"{d.method} at lr {d.lr:g}: {_difference(d, metric)}{_waiting(d)}" for d in (*found_here, *survivors)),
    )


def _difference(d: Difference, metric: Metric) -> str:
    """The mean difference, method − baseline, and what it allows to be said."""
    assert d.interval is not None
    size = f"{number(d.interval.estimate, sign='+')}{metric.difference} ({_spread(d.interval, sign='+')})"
    n = count(d.interval.n, "seed")
    small = f", though by less than {metric.tolerance}" if abs(d.interval.estimate) < metric.margin else ""
    if d.finding in ("better", "worse"):
        chosen = "" if d.honest else ", on the same seeds that both lrs were chosen on"
        return f"{size}, {d.finding} than {d.baseline}{small}{chosen}.{_survivors(d)}"
    if d.finding == "equivalent":
        if not d.interval.half:
            return f"no difference in any of {n}."
        return f"{size}, equivalent: a difference of {metric.tolerance} or more is ruled out."
    if d.interval.n == 1:
        return f"{size}, not testable: one seed cannot separate a difference from chance."
    if d.finding == "not testable":
        return f"{size}, not testable: it is the same for each of {n}, so there is no spread to test it against."
    if d.flattered:
        why = "it leaves out the runs that diverged, which flatters the method that lost them"
        return f"{size}, inconclusive: {why}.{_survivors(d)}"
    among = " among this many comparisons" if d.interval.excludes(0) else ""
    more = "no realistic number of seeds"
    if d.more is not None:
        more = f"about {count(_rounded(d.more), 'more seed')}"
    change = f"{more} would separate them if mean and spread stay the same"
    return f"{size}, inconclusive with {n}{among}: {change}.{_survivors(d)}"


def _survivors(d: Difference) -> str:
    names = zip((d.method, d.baseline), d.diverged, strict=True)
    lost = [f"{count(runs, 'run')} of {name}" for name, runs in names if runs]
    return f" Left out because they diverged: {listing(lost)}." if lost else ""


def _waiting(d: Difference) -> str:
    return f" {count(d.waiting, 'more seed')} to come." if d.waiting else ""


def _robust(method: str, found: Comparison, outcomes: Outcomes, metric: Metric) -> str:
    robust = found.robust[method]
    lrs = sorted(outcomes.values[method])
    if robust is None:
        settled = outcomes.settled(method)
        why = "no lr has a result for every seed" if settled else "no seed has a result at every lr yet"
        return f"{method}: not measured, since {why}."
    if len(lrs) == 1:
        return f"{method}: not measured, since it has a single lr ({lrs[0]:g})."
    low, high = robust.lrs
    width = robust.width
    if width.n == 1:
        interval = "one seed, so no interval"
    else:
        interval = f"95 % interval {width.low:.2f} to {width.high:.2f}, {count(width.n, 'seed')}"
    at_least = "at least " if robust.open else ""
    ends = [f"{lrs[0]:g}"] if low <= lrs[0] * 1.0001 else []
    ends += [f"{lrs[-1]:g}"] if high >= lrs[-1] * 0.9999 else []
    end = f"; the grid ends at {listing(ends)}" if robust.open else ""
    return f"{method}: {at_least}{width.estimate:.2f} decades, lr {low:.2g} to {high:.2g} ({interval}){end}."


def _runs(outcomes: Outcomes) -> tuple[str, ...]:
    total = outcomes.total()
    runs = sum(total.values())
    sentences = []
    lost = [
        f"{method} {counts['diverged']} of {sum(counts.values())} at lr {lr:g}"
        for method, by_lr in outcomes.status.items()
        for lr in sorted(by_lr)
        if (counts := outcomes.counts(method, lr))["diverged"]
    ]
    if lost:
        counted = f"{count(total['diverged'], 'run')} diverged, which is a result and counts against a method"
        sentences.append(f"{counted}: {'; '.join(lost)}.")
    elif total["done"]:
        sentences.append(f"No run diverged; {total['done']:,} {'is' if total['done'] == 1 else 'are'} done.")
    if left := total["failed"] + total["missing"]:
        statuses: tuple[Status, ...] = ("failed", "missing")
        kinds = [f"{total[status]} {status}" for status in statuses if total[status]]
        sentences.append(
            f"{left:,} of {count(runs, 'run')} {'has' if left == 1 else 'have'} no result yet ({listing(kinds)}), "
            f"which may change all of this."
        )
    return tuple(sentences)


def _chance(found: Comparison) -> str:
    if not found.tests:
        return ""
    families = [
        sum(d.interval is not None and d.interval.n > 1 for d in family) for family in (found.at_best, found.at_lr)
    ]
    made = f"{count(found.tests, 'comparison')} with {found.baseline} {'was' if found.tests == 1 else 'were'} made"
    return (
        f"{made}, {families[0]} at best lrs and {families[1]} at equal ones. One 95 % interval in twenty excludes 0 "
        "by chance alone. A method is therefore called better or worse only if p is below 0.05 after Holm's adjustment "
        "within its group (all pairs of methods, for a leader that is not the baseline), and equivalent only if the "
        "interval, widened for the size of the group, lies within the margin."
    )


def _rounded(n: int) -> int:
    """Two digits: more would be an illusion of precision."""
    return int(float(f"{n:.2g}"))


def _lrs(lrs: Sequence[float]) -> str:
    return "lr " + listing([f"{lr:g}" for lr in sorted(set(lrs))], "or")


def _spread(interval: Interval, sign: str = "") -> str:
    if interval.n == 1:
        return "one seed, no interval"
    ends = f"{number(interval.low, sign=sign)} to {number(interval.high, sign=sign)}"
    return f"95 % interval {ends}, {count(interval.n, 'seed')}"
