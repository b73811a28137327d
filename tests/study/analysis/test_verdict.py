"""The verdict by a table of cases: its sentences say what the numbers allow, and nothing more."""

import math
from dataclasses import replace

import pytest
from outcomes_by_hand import ACCURACY, LOSS, MACHINE, OPEN, RAISED, X, judge, near, study, told

from made_by_hand import results_of
from rectified.study.analysis.comparisons import compare_methods
from rectified.study.analysis.outcomes import Outcome, Outcomes
from rectified.study.config.errors import InvalidOption
from rectified.study.config.runs import RunKey
from rectified.study.storage.records import Record

SEEDS = [80.1, 81.3, 79.7, 80.6, 81.9, 78.8, 80.2, 81.1]


def ahead(by, n):
    """Two methods, of which one is ahead by the same for every seed."""
    return study(adam={0.1: SEEDS[:n]}, radam={0.1: [round(value + by, 4) for value in SEEDS[:n]]})


CASES = {
    "a clear win": (
        study(adam={0.1: near(80, 6)}, radam={0.1: near(85, 6, 1)}),
        [
            "At its best learning rate, radam has the highest mean test accuracy: 85.00 % at lr 0.1 (84.70 to 85.30 by "
            "seed, 6 seeds). It is better than adam.",
            "radam (lr 0.1) vs adam (lr 0.1): +5.00 points (95 % interval +4.",
            "better than adam.",
            "1 comparison with adam at equal learning rates: 1 better.",
            "No finished run diverged, failed or ended at chance (12 finished).",
        ],
        ["worse", "cannot be separated", "inconclusive", "optimistic", "chosen"],
    ),
    "a clear win with few seeds": (
        study(adam={0.1: near(80, 3)}, radam={0.1: near(85, 3, 1)}),
        ["It is better than adam.", "+4.80 points (95 % t interval +3.", ", 3 seeds), better than adam."],
        ["worse", "inconclusive"],
    ),
    "a win by less than matters": (
        study(adam={0.1: near(80, 6)}, radam={0.1: [value + 0.4 for value in near(80, 5)] + [80.35]}),
        ["better than adam, though by less than 1 point."],
        ["worse", "equivalent"],
    ),
    "a clear tie": (
        study(adam={0.1: near(80, 6)}, radam={0.1: near(80, 6, 1)}),
        [
            " is equivalent to ",
            "within 1 point.",
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
    "the same runs by another name, with enough seeds for a test": (
        study(adam={0.1: near(80, 7)}, twin={0.1: near(80, 7)}),
        ["It is equivalent to twin within 1 point.", "no difference in any of 7 seeds."],
        ["better than", "worse than", "inconclusive"],
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
            "99.00 % at lr 0.1 (one seed)",
            "One seed cannot separate a difference between methods from chance.",
            "Learning rates were chosen by the same test accuracy that is reported, so these means are optimistic",
            "+19.00 points (one seed), not testable: one seed cannot separate a difference from chance.",
        ],
        ["better than", "worse than", "equivalent", "interval"],
    ),
    "missing runs": (
        study(
            adam={0.1: near(80, 3), 0.2: near(70, 3)},
            radam={0.1: near(90, 3), 0.2: [80.0, OPEN, MACHINE]},
            sgd={0.1: [OPEN] * 3, 0.2: [OPEN] * 3},
        ),
        [
            "one seed cannot separate a difference from chance. 2 more seeds to come.",
            "Left out of this comparison: sgd, since it has no seed with a result at every learning rate.",
            "sgd: not compared, since sgd has no seed with a result at every learning rate.",
            "sgd: not measured, since no seed has a result at every learning rate yet.",
            "8 of 18 runs have no result yet (1 failed and 7 missing), so all of this may change.",
        ],
        [],
    ),
    "every run at one lr diverged": (
        study(adam={0.1: near(80, 5), 0.2: [X] * 5}, radam={0.1: near(81.2, 5, 1), 0.2: [X] * 5}),
        [
            "It is better than adam.",
            "10 runs diverged: adam 5 of 5 at lr 0.2; radam 5 of 5 at lr 0.2. Each of these counts as chance, 10.00 %.",
            "2 comparisons with adam at equal learning rates: 1 better and 1 not testable.",
        ],
        ["no difference", "equivalent"],
    ),
    "every run of one method diverged, five seeds": (
        study(adam={0.1: near(80, 5)}, radam={0.1: [X] * 5}),
        [
            "−70.02 points (−70.30 to −69.70 by seed, 5 seeds), not testable: with runs that count as chance, a "
            "test takes 6 seeds. 5 runs of radam count as chance."
        ],
        ["better than", "worse than", "more seeds would"],
    ),
    "every run of one method diverged, six seeds": (
        study(adam={0.1: near(80, 6)}, radam={0.1: [X] * 6}),
        ["It is better than radam.", ", worse than adam. 6 runs of radam count as chance."],
        ["interval", "equivalent"],
    ),
    "a wins 9 of 9 pairs with one run of ten diverged": (
        study(b={0.1: near(80, 10)}, a={0.1: [*near(85, 9, 1), X]}),
        [
            "At its best learning rate, b has the highest mean test accuracy: 79.99 %",
            "It cannot be separated from a with these seeds.",
            "a (lr 0.1) vs b (lr 0.1): −2.53 points (−69.70 to +5.50 by seed, 10 seeds), inconclusive with 10 seeds. "
            "1 run of a counts as chance.",
            "1 run diverged: a 1 of 10 at lr 0.1. Each of these counts as chance, 10.00 %.",
        ],
        ["worse than", "better than", "interval", "more seeds would"],
    ),
    "2 of 5 runs failed in their own code": (
        study(adam={0.1: near(80, 5)}, radam={0.1: [RAISED, RAISED, *near(85, 3, 1)]}),
        [
            "At its best learning rate, adam has the highest mean",
            "not testable: with runs that count as chance, a test takes 6 seeds. 2 runs of radam count as chance.",
            "2 runs failed in their own code: radam 2 of 5 at lr 0.1. Each of these counts as chance, 10.00 %.",
        ],
        ["better than", "no result yet"],
    ),
    "2 of 5 runs failed by the machine": (
        study(adam={0.1: near(80, 5)}, radam={0.1: [MACHINE, MACHINE, *near(85, 3, 1)]}),
        [
            "3 seeds), better than adam. 2 more seeds to come.",
            "2 of 10 runs have no result yet (2 failed), so all of this may change.",
        ],
        ["counts as chance", "count as chance", "in their own code:"],
    ),
    "the same lead for each of 2 seeds": (
        ahead(0.1, 2),
        [
            "It cannot be separated from adam with these seeds.",
            "+0.10 points (+0.10 to +0.10 by seed, 2 seeds), not testable: it is the same for each of 2 seeds, so "
            "there is no spread to test it against.",
        ],
        ["better than", "equivalent"],
    ),
    "the same lead for each of 5 seeds": (
        ahead(0.1, 5),
        ["It cannot be separated from adam with these seeds.", "not testable: it is the same for each of 5 seeds"],
        ["better than", "equivalent"],
    ),
    "the same lead for each of 8 seeds": (
        ahead(0.1, 8),
        [
            "It is better than adam.",
            "+0.10 points (95 % interval +0.10 to +0.10, 8 seeds), better than adam, though by less than 1 point.",
        ],
        ["not testable", "equivalent"],
    ),
    "the same lead, which a float holds exactly": (
        ahead(0.125, 5),
        ["It cannot be separated from adam with these seeds.", "not testable: it is the same for each of 5 seeds"],
        ["better than", "equivalent"],
    ),
    "the same lead for each of 8 seeds, which a float holds exactly": (
        ahead(0.125, 8),
        ["It is better than adam.", "8 seeds), better than adam, though by less than 1 point."],
        ["not testable"],
    ),
    "two seeds at chance for both methods": (
        study(adam={0.1: [10.0, 10.0]}, radam={0.1: [10.0, 10.0]}),
        [
            "No finished run is better than chance, so there is nothing to compare.",
            "not testable: with runs that count as chance, a test takes 6 seeds. 2 runs of radam and 2 runs of adam "
            "count as chance.",
            "4 runs ended at chance: adam 2 of 2 at lr 0.1; radam 2 of 2 at lr 0.1.",
        ],
        ["equivalent", "no difference", "has the highest"],
    ),
    "two methods at chance beside one that trains": (
        study(adam={0.1: [10.0] * 8}, radam={0.1: [10.0] * 8}, sgd={0.1: near(80, 8)}),
        ["It is better than every other method (adam and radam).", "radam (lr 0.1) vs adam (lr 0.1): +0.00 points"],
        ["equivalent", "no difference"],
    ),
    "the best lr at an end of its grid": (
        study(
            adam={0.1: near(80, 5), 0.3: near(82, 5, 2)},
            radam={0.1: near(85, 5, 1), 0.3: near(80, 5)},
            sgd={0.1: near(60, 5), 0.3: near(61, 5), 1.0: near(59, 5)},
        ),
        [
            "The best learning rate of adam, 0.3, is the highest of its grid: it may do better beyond it, for example "
            "at 0.9.",
            "The best learning rate of radam, 0.1, is the lowest of its grid: it may do better beyond it, for example "
            "at 0.03.",
        ],
        ["The best learning rate of sgd"],
    ),
    "a method with a fixed lr": (
        study(adam={0.1: near(80, 3), 0.2: near(70, 3)}, radam={0.5: near(85, 3, 1)}),
        [
            "radam (lr 0.5) vs adam (lr 0.1): +4.80 points",
            "Learning rates were chosen by the same test accuracy that is reported, so these means are optimistic. "
            "The tests of differences take the choice into account.",
            "radam: not measured, since it has a single learning rate (0.5).",
        ],
        ["at equal learning rates:", "The best learning rate of radam"],
    ),
    "a control, whose values are the best of all": (
        study(
            **{
                "adam": {0.1: near(80, 8), 0.2: near(79, 8)},
                "radam": {0.1: near(85, 8, 1), 0.2: near(84, 8)},
                "matched-lr(radam)": {0.1: near(90, 8, 3), 0.2: near(82, 8)},
            }
        ),
        [
            "At its best learning rate, radam has the highest mean test accuracy",
            "It is better than adam.",
            "radam (lr 0.1) vs matched-lr(radam) (lr 0.1): −5.00 points (95 % interval −5.13 to −4.87, 8 seeds), worse "
            "than matched-lr(radam). At each learning rate: 1 worse and 1 better.",
        ],
        ["matched-lr(radam) has the highest", "matched-lr(radam) (lr 0.1) vs adam"],
    ),
    "one method": (
        study(adam={0.1: near(80, 3)}),
        ["There is no other method to compare it with."],
        ["better"],
    ),
    "nothing has run": (
        study(adam={0.1: [OPEN, OPEN]}, radam={0.1: [OPEN, OPEN]}),
        ["No run has a result yet.", "4 of 4 runs have no result yet (4 missing)"],
        ["better than", "diverged"],
    ),
    "the machine failed every run": (
        study(adam={0.1: [MACHINE, OPEN]}, radam={0.1: [MACHINE, OPEN]}),
        ["No run has a result yet.", "4 of 4 runs have no result yet (2 failed and 2 missing)"],
        ["chance", "their own code"],
    ),
    "all diverged": (
        study(adam={0.1: [X, X]}, radam={0.1: [X, X]}),
        ["Every finished run diverged, so there is no metric to compare.", "4 runs diverged"],
        ["better than", "highest", "equivalent"],
    ),
    "all that the machine let end diverged": (
        study(adam={0.1: [X, X]}, radam={0.1: [X, MACHINE]}),
        ["Every finished run diverged, so there is no metric to compare.", "3 runs diverged"],
        ["better than", "highest", "equivalent"],
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
    outcomes = study(LOSS, adam={0.1: near(80, 6)}, radam={0.1: near(75, 6, 1)})
    text, _ = told(outcomes, LOSS)
    assert "radam has the lowest mean valid ppl: 75.00 at lr 0.1" in text
    assert "It is better than adam." in text
    assert "−5.00 (95 % interval −5." in text
    assert "worse" not in text
    assert "adam has the highest" in told(outcomes, replace(LOSS, larger_is_better=True))[0]


def test_without_a_chance_level_a_lost_run_counts_as_the_worst():
    text, found = told(study(LOSS, adam={0.1: near(80, 6)}, radam={0.1: [*near(70, 5, 1), X]}), LOSS)
    assert "Each of these counts as the worst result here." in text
    assert found.best["radam"].values[5] == max(near(80, 6))


def test_a_failed_run_that_nothing_can_be_counted_as_is_not_called_the_machines():
    nothing = Outcomes({"adam": {0.1: {0: Outcome("failed"), 1: Outcome("diverged")}}})
    text, _ = told(nothing, LOSS)
    assert "1 of 2 runs has no result yet (1 failed)" in text


def test_where_an_lr_is_chosen_on_validation_both_are_named():
    def outcomes(values):
        by_lr = {lr: {s: Outcome("trained", v + s, c + s) for s in range(3)} for lr, (v, c) in values.items()}
        return Outcomes({"adam": by_lr})

    metric = replace(ACCURACY, chosen_by=("valid_accuracy", "validation accuracy, %"))
    text, found = told(outcomes({0.1: (80.0, 85.0), 0.2: (90.0, 84.0)}), metric)
    assert "Learning rates were chosen by validation accuracy; results are test accuracy." in text
    assert "optimistic" not in text
    assert found.best["adam"].lr == 0.1


def test_how_many_comparisons_were_made_is_said():
    def chance(outcomes):
        return judge(outcomes)[0].chance

    two = study(adam={0.1: near(80, 3), 0.2: near(70, 3)}, radam={0.1: near(82, 3, 1), 0.2: near(70, 3, 1)})
    assert chance(two).startswith("3 comparisons were made, in 2 groups, by t tests")
    assert chance(two).endswith("in a group is at most 5 %, and over all of them at most 10 %.")
    many = study(adam={0.1: near(80, 9)}, radam={0.1: near(82, 9, 1)}, sgd={0.2: near(81, 9, 2)})
    assert chance(many).startswith("4 comparisons were made, in 3 groups, by permutation tests"), (
        "radam vs adam counts once"
    )
    assert chance(study(adam={0.1: near(80, 3)})) == ""
    assert chance(study(adam={0.1: [80.0]}, radam={0.1: [81.0]})) == ""


def test_another_baseline_than_the_study_began_with_is_exploratory():
    outcomes = study(adam={0.1: near(80, 6)}, radam={0.1: near(85, 6, 1)})
    text, found = told(outcomes, baseline="radam", first="adam")
    assert "adam (lr 0.1) vs radam (lr 0.1): −5.00 points" in text
    assert "worse than radam." in text
    assert (
        "The study began with adam as its baseline. Comparisons with radam as the baseline are exploratory: a baseline "
        "chosen after the results are known finds more than there is." in text
    )
    assert (found.baseline, found.first_baseline) == ("radam", "adam")
    assert "exploratory" not in told(outcomes, baseline="adam", first="adam")[0]
    with pytest.raises(InvalidOption, match="baseline is sgd: the study's methods are adam, radam"):
        compare_methods(outcomes, ACCURACY, "sgd")


def test_a_control_is_compared_with_its_own_method_alone():
    _, found = told(CASES["a control, whose values are the best of all"][0])
    control = "matched-lr(radam)"
    assert found.leader == "radam"
    assert control not in {d.method for d in (*found.at_best, *found.at_lr)}
    assert control not in {name for d in found.rivals for name in (d.method, d.baseline)}
    assert [(d.method, d.baseline, d.lr) for d in found.beyond_lr] == [
        ("radam", control, lr) for lr in (None, 0.1, 0.2)
    ]
    assert found.best[control].lr == 0.1
    alone = compare_methods(study(**{"radam": {0.1: near(80, 6)}, "matched-lr(adam)": {0.1: near(85, 6)}}), ACCURACY)
    assert alone.leader == "matched-lr(adam)", "without its method it is one like any other"


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


def test_a_method_and_its_control_are_one_method():
    verdict, _ = judge(study(**{"radam": {0.1: near(85, 3)}, "matched-lr(radam)": {0.1: near(84, 3)}}))
    assert "There is no other method to compare it with." in verdict.text
