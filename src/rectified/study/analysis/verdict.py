"""What a study says, in words: never more than its intervals allow. Pure functions, tested by a table of cases."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ...workloads.tasks import parse_task
from ..storage.records import Record, Status
from .comparisons import Comparison, Difference, Finding, compare
from .formatting import count, listing, number, some
from .outcomes import Metric, Outcomes, Setting, by_setting
from .stats import Interval


@dataclass(frozen=True)
class Verdict:
    """Sentences, in the order in which they are read.

    Attributes:
        answer: which method leads, what it is better than, and on what that rests.
        at_best: each method against the baseline, at their best lrs.
        at_lr: the same at equal lrs: a count, and what was found.
        robust: how forgiving each method is in its lr.
        runs: what diverged, what is missing.
        chance: how many comparisons were made, and what that does.
    """

    answer: tuple[str, ...]
    at_best: tuple[str, ...]
    at_lr: tuple[str, ...]
    robust: tuple[str, ...]
    runs: tuple[str, ...]
    chance: str


def answers(records: Sequence[Record], baseline: str | None = None) -> dict[Setting, str]:
    """Of each setting which method leads, and what it is better than.

    Args:
        baseline: the method that the others are compared with; the first one if None, and in a setting without it.
    """
    found = {}
    for setting, here in by_setting(records).items():
        metric = Metric.of(parse_task(setting.task))
        outcomes = Outcomes.of(here, metric.key)
        verdict, _ = judge(outcomes, metric, baseline if baseline in outcomes.values else None)
        found[setting] = " ".join(verdict.answer)
    return found


def judge(outcomes: Outcomes, metric: Metric, baseline: str | None = None) -> tuple[Verdict, Comparison]:
    """The verdict on one setting, and the numbers that it rests on.

    Raises:
        ValueError: no method is called like the baseline.
    """
    found = compare(outcomes, metric, baseline)
    verdict = Verdict(
        answer=_answer(found, outcomes, metric),
        at_best=tuple(_at_best(d, found, metric) for d in found.at_best),
        at_lr=_at_lr(found, metric),
        robust=tuple(_robust(method, found, outcomes, metric) for method in found.best),
        runs=_runs(outcomes),
        chance=_chance(found),
    )
    return verdict, found


def _answer(found: Comparison, outcomes: Outcomes, metric: Metric) -> tuple[str, ...]:
    total = outcomes.total()
    if not total["done"]:
        if not total["diverged"]:
            return ("No run has a result yet, so there is nothing to tell.",)
        return ("No run that has ended came to its end: all diverged, so there is no metric to compare.",)
    if found.leader is None:
        return ("Nothing can be told of best learning rates: no method has an lr at which every seed has a result.",)
    best = found.best[found.leader]
    assert best is not None
    word = "highest" if metric.larger_is_better else "lowest"
    told = (
        f"At its best learning rate {found.leader} has the {word} mean {metric.name}: "
        f"{number(best.metric.estimate)}{metric.unit} at {_lrs(best.lrs)} ({_spread(best.metric)})."
    )
    without = [method for method, at_best in found.best.items() if at_best is None]
    sentences = [f"{told} {_rank(found, metric)}", _choice(found)]
    if without:
        sentences.append(
            f"Not among those compared at their best: {some(without)}, of which no lr has a value of every seed."
        )
    return tuple(filter(None, sentences))


def _rank(found: Comparison, metric: Metric) -> str:
    """Which others the leader is better than."""
    if len(found.best) == 1:
        return "There is no other method to compare it with."
    rivals = [d for d in found.rivals if d.interval is not None]
    if not rivals:
        return "No other method has a result at its best lr to compare it with."
    if all(d.interval is not None and d.interval.n < 2 for d in rivals):
        return "One seed cannot tell a difference between methods from chance."
    beaten = [d.baseline for d in rivals if d.finding == "better"]
    alike = [d.baseline for d in rivals if d.finding == "alike"]
    rest = [d.baseline for d in rivals if d.finding not in ("better", "alike")]
    parts = []
    on = "" if all(d.honest for d in rivals) else " on the seeds that the lrs were chosen on"
    if beaten:
        all_others = len(beaten) == len(found.best) - 1 and len(beaten) > 1
        names = f"every other method ({some(beaten)})" if all_others else some(beaten)
        parts.append(f"is better than {names}{on}")
    if alike:
        parts.append(f"is as good as {some(alike)} to within {metric.tolerance}")
    if rest:
        parts.append(f"cannot be told from {some(rest, 'or')} by these seeds")
    return f"It {listing(parts)}."


def _choice(found: Comparison) -> str:
    """Whether the lrs were chosen honestly."""
    chosen = {method: best for method, best in found.best.items() if best}
    optimistic = [method for method, best in chosen.items() if not best.honest]
    if not optimistic:
        if all(len(best.lrs) == 1 for best in chosen.values()):
            return ""  # no choice was made
        return "Each lr was chosen on one half of the seeds and is told on the other, so that its luck does not count."
    few = max(best.metric.n for best in chosen.values()) < 4
    why = "with fewer than four seeds they cannot be halved" if few else "the seeds could not be halved everywhere"
    whose = "each lr was" if len(optimistic) == len(chosen) else f"the lr of {some(optimistic)} was"
    return f"Optimistic: {whose} chosen on the very seeds that it is told on, whose luck counts with it; {why}."


def _at_best(d: Difference, found: Comparison, metric: Metric) -> str:
    if d.interval is None:
        missing = [name for name in (d.method, d.baseline) if found.best[name] is None]
        if missing:
            return f"{d.method}: no comparison, since no lr of {listing(missing)} has a value of every seed."
        return f"{d.method}: no comparison, since it shares no seed with {d.baseline} that is complete at every lr."
    where = f"{d.method} ({_lrs(d.lrs[0])}) less {d.baseline} ({_lrs(d.lrs[1])})"
    return f"{where}: {_told(d, metric)}{_waiting(d)}"


def _at_lr(found: Comparison, metric: Metric) -> tuple[str, ...]:
    judged = [d for d in found.at_lr if d.interval is not None and d.interval.n > 1]
    if not judged:
        return ()
    counts = Counter(d.finding for d in judged)
    names: dict[Finding, str] = {
        "better": "better",
        "worse": "worse",
        "alike": f"alike to within {metric.tolerance}",
        "open": "not separable",
        "unknown": "without a spread to judge by",
    }
    told = listing([f"{counts[finding]} {name}" for finding, name in names.items() if counts[finding]])
    found_here = [d for d in judged if d.finding in ("better", "worse")]
    survivors = [d for d in judged if any(d.diverged) and d.finding == "open"]
    alone = sum(d.finding == "open" and d.interval is not None and d.interval.excludes(0) for d in judged)
    but = f", of which {alone} would be if it were the only comparison" if alone else ""
    return (
        f"Of {count(len(judged), 'comparison')} with {found.baseline} at equal lr: {told}{but}.",
        *(f"{d.method} at lr {d.lr:g}: {_told(d, metric)}{_waiting(d)}" for d in (*found_here, *survivors)),
    )


def _told(d: Difference, metric: Metric) -> str:
    """A difference with what it allows to be said."""
    assert d.interval is not None
    size = f"{number(d.interval.estimate, sign='+')}{metric.difference} ({_spread(d.interval, sign='+')})"
    n = count(d.interval.n, "seed")
    small = f", though by less than {metric.tolerance}" if abs(d.interval.estimate) < metric.margin else ""
    if d.finding in ("better", "worse"):
        chosen = "" if d.honest else ", on the seeds that both lrs were chosen on"
        return f"{size}, {d.finding} than {d.baseline}{small}{chosen}.{_survivors(d)}"
    if d.finding == "alike":
        if not d.interval.half:
            return f"no difference in any of {n}."
        return f"{size}, alike: a difference of {metric.tolerance} or more is ruled out."
    if d.interval.n == 1:
        return f"{size}. One seed tells no difference from chance."
    if d.finding == "unknown":
        return f"{size}, the same in each of {n}, which leaves no spread to judge by."
    more = "more seeds than can be told" if d.more is None else f"about {count(_rounded(d.more), 'more seed')}"
    if d.flattered:
        return f"{size}, over the runs that did not diverge, which flatter the method that lost some.{_survivors(d)}"
    among = " among so many comparisons" if d.interval.excludes(0) else ""
    return f"{size}. Not separable at {n}{among}: {more} if mean and spread stay as they are.{_survivors(d)}"


def _survivors(d: Difference) -> str:
    names = zip((d.method, d.baseline), d.diverged, strict=True)
    lost = [f"{count(runs, 'run')} of {name}" for name, runs in names if runs]
    return f" Left out, since diverged: {listing(lost)}." if lost else ""


def _waiting(d: Difference) -> str:
    return f" {count(d.waiting, 'seed')} still to come." if d.waiting else ""


def _robust(method: str, found: Comparison, outcomes: Outcomes, metric: Metric) -> str:
    robust = found.robust[method]
    lrs = sorted(outcomes.values[method])
    if robust is None:
        settled = outcomes.settled(method)
        why = "no lr has a value of every seed" if settled else "no seed has a result at every lr yet"
        return f"{method}: not told, since {why}."
    if len(lrs) == 1:
        return f"{method}: not told, since it has one lr ({lrs[0]:g})."
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
        sentences.append(f"No run diverged, of {total['done']:,} that are done.")
    if left := total["failed"] + total["missing"]:
        statuses: tuple[Status, ...] = ("failed", "missing")
        kinds = [f"{total[status]} {status}" for status in statuses if total[status]]
        sentences.append(
            f"{left:,} of {count(runs, 'run')} {'has' if left == 1 else 'have'} no result ({listing(kinds)}): "
            "all of this may change with them."
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
        f"{made}, {families[0]} at best lrs and {families[1]} at equal ones. At 95 % one in twenty excludes 0 by "
        "chance alone. So better and worse are said only where p stays below 0.05 after Holm's adjustment within its "
        "group (for a leader that is not the baseline: among all pairs of methods), and alike only where the interval, "
        "widened for the size of the group, lies within the margin."
    )


def _rounded(n: int) -> int:
    """To two digits: more would be an illusion."""
    return int(float(f"{n:.2g}"))


def _lrs(lrs: Sequence[float]) -> str:
    return "lr " + listing([f"{lr:g}" for lr in sorted(set(lrs))], "or")


def _spread(interval: Interval, sign: str = "") -> str:
    if interval.n == 1:
        return "one seed, no interval"
    ends = f"{number(interval.low, sign=sign)} to {number(interval.high, sign=sign)}"
    return f"95 % interval {ends}, {count(interval.n, 'seed')}"
