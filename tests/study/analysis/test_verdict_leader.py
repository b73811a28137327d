"""Which method leads, and what a claim rests on: shared seeds, a test of its own, the number of comparisons."""

import math
import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from outcomes_by_hand import ACCURACY, MACHINE, OPEN, RAISED, X, judge, near, study, told

from rectified.study.analysis.comparisons import compare_methods


def test_the_leaders_mean_is_over_the_seeds_that_all_methods_have():
    outcomes = study(
        adam={0.1: [90.0, 90.5, OPEN, OPEN]},
        radam={0.1: [91.0, 92.0, 50.0, 51.0]},
    )
    text, found = told(outcomes)
    assert found.shared == (0, 1)
    assert (
        "radam has the highest mean test accuracy: 91.50 % at lr 0.1 (91.00 to 92.00 by seed, 2 seeds shared by all "
        "methods, out of 4)" in text
    )


def test_a_mean_is_not_called_the_highest_where_one_that_is_worse_than_another_has_a_higher_one():
    """On the two seeds that all have, b is the highest by luck; on eight seeds adam is better."""
    outcomes = study(
        adam={0.1: [80.0, 80.2, *near(80, 8)]},
        b={0.1: [80.5, 80.4, *near(70, 8, 1)]},
        c={0.1: [70.0, 70.5, *[OPEN] * 8]},
    )
    text, found = told(outcomes)
    assert (found.leader, found.shared) == ("adam", (0, 1))
    assert (
        "adam has the highest mean test accuracy among the methods that no other method is better than: 80.10 %" in text
    )
    assert next(d.finding for d in found.rivals if d.baseline == "b") == "better"


def random_study(generator):
    """A small one, with seeds that not all methods have, runs at chance, and grids that may differ."""
    n = generator.choice([2, 3, 4, 6, 7])
    methods = {}
    for name in generator.sample(["a", "b", "c", "matched-lr(a)"], generator.randint(2, 4)):
        lrs = generator.choice([(0.1,), (0.1, 0.2), (0.1, 0.2), (0.2, 0.3)])
        top, spread = generator.choice([80, 81, 84]), generator.choice([0.2, 2])
        fates = generator.choices([None, OPEN, X, MACHINE, RAISED], [30, generator.choice([0, 12]), 1, 1, 1], k=n)
        methods[name] = {lr: [fate or generator.gauss(top, spread) for fate in fates] for lr in lrs}
    return study(**methods)


def test_the_leader_is_never_inseparable_from_a_method_that_is_better_or_worse():
    """Whatever seeds they have: a pair has one finding, and the leader is not worse than any."""
    generator = random.Random(5)
    led = 0
    for _ in range(50):
        outcomes = random_study(generator)
        baseline = generator.choice([m for m in outcomes.runs if not m.startswith("matched")])
        verdict, found = judge(outcomes, baseline=baseline)
        led += found.leader is not None
        findings = {}
        for d in (*found.at_best, *found.rivals):
            turned = {"better": "worse", "worse": "better"}.get(d.finding, d.finding)
            assert findings.setdefault((d.method, d.baseline), (d.finding, d.p)) == (d.finding, d.p)
            assert findings.setdefault((d.baseline, d.method), (turned, d.p)) == (turned, d.p)
        for d in found.rivals:
            assert d.method == found.leader
            assert d.finding != "worse"
            apart = verdict.answer[0].partition("cannot be separated from ")[2].partition(" with these")[0]
            names = apart.replace(" or ", ", ").split(", ")
            if d.baseline in names:
                for said in verdict.at_best:
                    if {d.method, d.baseline} == {said.split(" (")[0].split(":")[0], found.baseline}:
                        assert "better than" not in said
                        assert "worse than" not in said
    assert led > 30


def test_many_comparisons_ask_for_more():
    """A difference that one comparison would call a finding is none among ten."""
    base, other = [80.0, 81.0, 82.0, 80.5], [80.4, 81.8, 82.4, 81.5]
    alone = compare_methods(study(adam={0.1: base}, radam={0.1: other}), ACCURACY)
    assert alone.at_best[0].finding == "better"
    others = {f"m{i}": {0.1: [b + v for b, v in zip(base, near(0, 4, i), strict=True)]} for i in range(9)}
    text, among = told(study(adam={0.1: base}, radam={0.1: other}, **others))
    assert among.at_best[0].interval == alone.at_best[0].interval
    assert among.at_best[0].finding == "inconclusive"
    assert among.at_best[0].more >= 1
    assert "inconclusive with 4 seeds among this many comparisons" in text


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from([0.01, 0.1, 1.0]),
            st.lists(
                st.one_of(st.sampled_from([X, OPEN, RAISED, MACHINE]), st.integers(0, 1000).map(lambda v: v / 10)),
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
def test_whatever_the_runs_came_to_a_claim_rests_on_its_test(grids, larger):
    metric = replace(ACCURACY, larger_is_better=larger, chance=10.0 if larger else 90.0)
    outcomes = study(metric, **{f"m{i}": grid for i, grid in enumerate(grids)})
    text, found = told(outcomes, metric)
    assert "nan" not in text
    for d in (*found.at_best, *found.at_lr, *found.rivals):
        if d.finding in ("better", "worse"):
            assert d.n > 1
            assert d.by is not None
            assert d.p <= 0.05
            assert (d.mean > 0) == ((d.finding == "better") == larger)
            if d.interval is not None:
                assert d.interval.excludes(0)
        if d.finding == "equivalent":
            assert not d.unsteady
            if d.by is not None:
                assert max(abs(d.wide.low), abs(d.wide.high)) < metric.margin
                assert math.isfinite(d.wide.half)
    if " better than " not in text:
        assert not any(d.finding == "better" for d in found.at_best)
