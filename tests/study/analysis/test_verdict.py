"""The verdict by a table of cases: its sentences say what the numbers allow, and nothing more."""

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from made_by_hand import results_of
from rectified.study.analysis.comparisons import compare
from rectified.study.analysis.outcomes import Metric, Outcomes
from rectified.study.analysis.verdict import in_words
from rectified.study.config.errors import InvalidOption
from rectified.study.config.runs import RunKey
from rectified.study.storage.records import Record

ACCURACY = Metric(
    "test_accuracy", "test accuracy, %", "test accuracy", " %", " points", larger_is_better=True, margin=1.0
)
LOSS = Metric("valid_ppl", "valid ppl", "valid ppl", "", "", larger_is_better=False, margin=0.5)
X, OPEN = "diverged", "missing"  # in place of a value
WIGGLE = (0.3, -0.2, 0.1, -0.3, 0.2, -0.1)


def study(**methods):
    """Outcomes of methods; of each, by lr, what its seeds 0, 1, ... came to: a value, or a status."""
    values = {
        method: {
            lr: {seed: value for seed, value in enumerate(found) if not isinstance(value, str)}
            for lr, found in by_lr.items()
        }
        for method, by_lr in methods.items()
    }
    status = {
        method: {
            lr: {seed: value if isinstance(value, str) else "done" for seed, value in enumerate(found)}
            for lr, found in by_lr.items()
        }
        for method, by_lr in methods.items()
    }
    return Outcomes(values, status)


def near(mean, n, phase=0):
    """Values around a mean; those of two phases differ in more than the mean."""
    return [mean + WIGGLE[(i + phase) % 6] for i in range(n)]


def judge(outcomes, metric=ACCURACY, baseline=None):
    """The verdict and the numbers that it rests on."""
    found = compare(outcomes, metric, baseline)
    return in_words(found, outcomes, metric), found


def told(outcomes, metric=ACCURACY, baseline=None):
    """All of the verdict's sentences but the last, which is about all of them, and the numbers."""
    verdict, found = judge(outcomes, metric, baseline)
    parts = (verdict.answer, verdict.at_best, verdict.at_lr, verdict.robust, verdict.runs)
    return " ".join(sentence for part in parts for sentence in part), found


CASES = {
    "a clear win": (
        study(adam={0.1: near(80, 6)}, radam={0.1: near(85, 6, 1)}),
        [
            "At its best learning rate radam has the highest mean test accuracy: 85.00 % at lr 0.1 (95 % interval ",
            "It is better than adam.",
            "radam (lr 0.1) vs adam (lr 0.1): +5.00 points (95 % interval +4.",
            "better than adam.",
            "1 comparison with adam at equal lr: 1 better.",
            "No run diverged; 12 are done.",
        ],
        ["worse", "cannot be separated", "inconclusive", "Optimistic", "chosen"],
    ),
    "a win by less than matters": (
        study(adam={0.1: near(80, 6)}, radam={0.1: [value + 0.4 for value in near(80, 5)] + [80.35]}),
        ["better than adam, though by less than 1 point."],
        ["worse", "equivalent"],
    ),
    "a clear tie": (
        study(adam={0.1: near(80, 6)}, radam={0.1: near(80, 6, 1)}),
        [
            "It is equivalent to radam within 1 point.",
            "equivalent: a difference of 1 point or more is ruled out.",
            "1 equivalent within 1 point",
        ],
        ["better than", "worse than", "inconclusive"],
    ),
    "the same run by another name": (
        study(adam={0.1: near(80, 3)}, twin={0.1: near(80, 3)}),
        ["no difference in any of 3 seeds."],
        ["better than", "worse than"],
    ),
    "inconclusive": (
        study(adam={0.1: [80.0, 84.0, 82.0]}, radam={0.1: [84.0, 82.0, 85.0]}),
        [
            "It cannot be separated from adam with these seeds.",
            "inconclusive with 3 seeds: about 14 more seeds would separate them if mean and spread stay the same.",
        ],
        ["better than", "worse than", "equivalent"],
    ),
    "one seed": (
        study(adam={0.1: [80.0], 0.2: [70.0]}, radam={0.1: [99.0], 0.2: [90.0]}),
        [
            "99.00 % at lr 0.1 (one seed, no interval)",
            "One seed cannot separate a difference between methods from chance.",
            "Optimistic: each lr was chosen and evaluated on the same seeds",
            "+19.00 points (one seed, no interval), not testable: one seed cannot separate a difference from chance.",
            "one seed, so no interval",
        ],
        ["better than", "worse than", "equivalent"],
    ),
    "differences that are all equal": (
        study(adam={0.1: [80.0, 81.0]}, radam={0.1: [81.5, 82.5]}),
        ["not testable: it is the same for each of 2 seeds, so there is no spread to test it against."],
        ["better than", "equivalent"],
    ),
    "missing runs": (
        study(
            adam={0.1: near(80, 3), 0.2: near(70, 3)},
            radam={0.1: near(90, 3), 0.2: [80.0, OPEN, "failed"]},
            sgd={0.1: [OPEN] * 3, 0.2: [OPEN] * 3},
        ),
        [
            "one seed cannot separate a difference from chance. 2 more seeds to come.",
            "Left out of this comparison: sgd, since it has no lr at which every seed has a result.",
            "sgd: not compared, since sgd has no lr at which every seed has a result.",
            "sgd: not measured, since no seed has a result at every lr yet.",
            "8 of 18 runs have no result yet (1 failed and 7 missing), which may change all of this.",
        ],
        [],
    ),
    "diverged runs": (
        study(adam={0.1: near(80, 4), 0.2: [X, X, X, X]}, radam={0.1: near(70, 4, 1), 0.2: [99.0, 99.1, 98.8, X]}),
        [
            "At its best learning rate adam has the highest mean",
            "5 runs diverged, which is a result and counts against a method: adam 4 of 4 at lr 0.2; ",
            "; radam 1 of 4 at lr 0.2.",
        ],
        ["99.0"],
    ),
    "survivors that flatter": (
        study(adam={0.1: near(80, 6)}, radam={0.1: [*near(90, 5, 1), X]}),
        [
            "inconclusive: it leaves out the runs that diverged, which flatters the method that lost them.",
            "Left out because they diverged: 1 run of radam.",
            "radam: not compared, since radam has no lr at which every seed has a result.",
        ],
        ["better than", "equivalent"],
    ),
    "survivors that flatter, inconclusive": (
        study(adam={0.1: [80.0, 83.0, 81.0, 82.0]}, radam={0.1: [82.0, 82.5, 83.0, X]}),
        ["it leaves out the runs that diverged, which flatters the method that lost them."],
        ["better than", "more seeds"],
    ),
    "survivors of the one that loses": (
        study(adam={0.1: [*near(80, 5), X]}, radam={0.1: near(90, 6, 1)}),
        ["better than adam. Left out because they diverged: 1 run of adam."],
        ["flatter"],
    ),
    "a method with a fixed lr": (
        study(adam={0.1: near(80, 3), 0.2: near(70, 3)}, radam={0.5: near(85, 3, 1)}),
        [
            "radam (lr 0.5) vs adam (lr 0.1): +4.80 points",
            "better than adam, on the same seeds that both lrs were chosen on.",
            "Optimistic: the lr of adam was chosen and evaluated on the same seeds",
            "radam: not measured, since it has a single lr (0.5).",
        ],
        ["at equal lr:"],
    ),
    "lrs chosen on halves": (
        study(adam={0.1: near(80, 6), 0.2: near(70, 6)}, radam={0.1: near(85, 6, 1), 0.2: near(60, 6)}),
        ["Each lr was chosen on one half of the seeds and evaluated on the other", "It is better than adam."],
        ["Optimistic", "chosen on."],
    ),
    "one method": (
        study(adam={0.1: near(80, 3)}),
        ["There is no other method to compare it with."],
        ["better"],
    ),
    "nothing has run": (
        study(adam={0.1: [OPEN, OPEN]}, radam={0.1: [OPEN, OPEN]}),
        ["No run has a result yet.", "4 of 4 runs have no result yet (4 missing)"],
        ["better than", "No run diverged"],
    ),
    "all diverged": (
        study(adam={0.1: [X, X]}, radam={0.1: [X, X]}),
        ["Every run that ended has diverged, so there is no metric to compare.", "4 runs diverged"],
        ["better than", "highest"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_said_and_what_is_not(case):
    outcomes, said, unsaid = CASES[case]
    text, _ = told(outcomes)
    for sentence in said:
        assert sentence in text, text
    for words in unsaid:
        assert words not in text, text
    assert "nan" not in text
    assert "inf" not in text
    assert "  " not in text
    assert ".." not in text


def test_where_smaller_is_better():
    outcomes = study(adam={0.1: near(80, 6)}, radam={0.1: near(75, 6, 1)})
    text, _ = told(outcomes, LOSS)
    assert "radam has the lowest mean valid ppl: 75.00 at lr 0.1" in text
    assert "It is better than adam." in text
    assert "−5.00 (95 % interval −5." in text
    assert "worse" not in text
    assert "adam has the highest" in told(outcomes, replace(LOSS, larger_is_better=True))[0]


def test_how_many_comparisons_were_made_is_said():
    def chance(outcomes):
        return judge(outcomes)[0].chance

    two = study(adam={0.1: near(80, 3), 0.2: near(70, 3)}, radam={0.1: near(80, 3, 1), 0.2: near(70, 3, 1)})
    assert chance(two).startswith("3 comparisons with adam were made, 1 at best lrs and 2 at equal ones. One 95 %")
    assert chance(study(adam={0.1: near(80, 3)})) == ""
    assert chance(study(adam={0.1: [80.0]}, radam={0.1: [81.0]})) == ""


def test_another_baseline_turns_the_differences_round():
    outcomes = study(adam={0.1: near(80, 6)}, radam={0.1: near(85, 6, 1)})
    text, found = told(outcomes, baseline="radam")
    assert "adam (lr 0.1) vs radam (lr 0.1): −5.00 points" in text
    assert "worse than radam." in text
    assert found.baseline == "radam"
    with pytest.raises(InvalidOption, match="baseline is sgd: the study's methods are adam, radam"):
        compare(outcomes, ACCURACY, "sgd")


def test_what_is_said_of_the_leader_and_of_the_baseline_agree():
    """A pair of leader and baseline has one finding, not one by each of two families."""
    outcomes = study(adam={0.1: [80.0, 81.0, 82.0]}, radam={0.1: [79.4, 80.25, 81.4]}, sgd={0.1: [80.0, 80.8, 81.9]})
    for baseline in outcomes.values:
        found = compare(outcomes, ACCURACY, baseline)
        for d in found.at_best:
            twins = [r for r in found.rivals if {r.method, r.baseline} == {d.method, d.baseline}]
            for r in twins:
                assert {d.finding, r.finding} <= {"better", "worse"} or d.finding == r.finding
                assert d.p == r.p


def test_many_comparisons_ask_for_more():
    """A difference that one comparison would call a finding is none among ten."""
    base, other = [80.0, 81.0, 82.0, 80.5], [80.4, 81.8, 82.4, 81.5]
    alone = compare(study(adam={0.1: base}, radam={0.1: other}), ACCURACY)
    assert alone.at_best[0].finding == "better"
    others = {f"m{i}": {0.1: [b + v for b, v in zip(base, near(0, 4, i), strict=True)]} for i in range(9)}
    among = compare(study(adam={0.1: base}, radam={0.1: other}, **others), ACCURACY)
    assert among.at_best[0].interval == alone.at_best[0].interval
    assert among.at_best[0].finding == "inconclusive"
    assert among.at_best[0].more >= 1


def test_of_methods_that_are_alike_few_studies_find_one_better():
    """Five methods that do not differ, four seeds, three lrs: at most one study in twenty may claim anything."""
    generator = random.Random(4)
    claims = {"at_best": 0, "at_lr": 0, "rivals": 0}
    studies = 200
    for _ in range(studies):
        methods = {f"m{i}": {lr: [generator.gauss(80, 1) for _ in range(4)] for lr in (1, 2, 3)} for i in range(5)}
        found = compare(study(**methods), replace(ACCURACY, margin=1e-9))
        for family in claims:
            claims[family] += any(d.finding in ("better", "worse") for d in getattr(found, family))
    assert all(count <= 0.09 * studies for count in claims.values()), claims


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from([0.01, 0.1, 1.0]),
            st.lists(
                st.one_of(st.sampled_from([X, OPEN, "failed"]), st.integers(0, 1000).map(lambda v: v / 10)),
                min_size=3,
                max_size=5,
            ),
            min_size=1,
        ),
        min_size=1,
        max_size=4,
    ),
    st.booleans(),
)
def test_whatever_the_runs_came_to_a_claim_rests_on_its_interval(grids, larger):
    outcomes = study(**{f"m{i}": grid for i, grid in enumerate(grids)})
    metric = replace(ACCURACY, larger_is_better=larger)
    text, found = told(outcomes, metric)
    assert "nan" not in text
    for d in (*found.at_best, *found.at_lr, *found.rivals):
        if d.finding in ("better", "worse"):
            assert d.interval.n > 1
            assert d.interval.excludes(0)
            assert d.p < 0.05
            assert (d.interval.estimate > 0) == ((d.finding == "better") == larger)
        if d.finding == "equivalent":
            assert max(abs(d.interval.low), abs(d.interval.high)) < metric.margin
            assert math.isfinite(d.interval.half)
    if " better than " not in text:
        assert not any(d.finding == "better" for d in found.at_best)


def test_a_perplexity_is_compared_by_its_logarithm():
    """Which is not skewed over seeds as it is itself."""
    losses = {"adam": (5.757, 5.372, 5.256), "radam": (4.236, 4.193, 4.210)}
    records = [
        Record(
            RunKey("translation", method, 0.0005, seed, 8, 96),
            "done",
            [{"epoch": 8, "step": 400, "train_loss": loss, "valid_ppl": math.exp(loss), "valid_loss": loss}],
        )
        for method, found in losses.items()
        for seed, loss in enumerate(found)
    ]
    answer = results_of(records).verdict
    assert "radam has the lowest mean validation loss: 4.21 nats at lr 0.0005" in answer
    assert "It is better than adam" in answer
