"""Statistics: against scipy, by tables, and by what they promise: that an interval covers as often as it says."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from rectified.study.analysis.stats import (
    Interval,
    best_lr,
    bootstrap,
    holm,
    p_value,
    paired,
    robustness,
    seeds_to_separate,
    t_interval,
    t_quantile,
)

numbers = st.floats(-1e3, 1e3).map(lambda x: round(x, 6))


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 9, 30, 101, 1_000, 9_999])
@pytest.mark.parametrize("p", [0.025, 0.5, 0.6, 0.9, 0.975, 0.9995])
def test_quantiles_are_scipys(p, freedom):
    assert t_quantile(p, freedom) == pytest.approx(scipy_stats.t.ppf(p, freedom), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("p", "freedom"), [(0, 3), (1, 3), (math.nan, 3), (0.9, 0)])
def test_quantiles_of_nothing(p, freedom):
    with pytest.raises(ValueError, match="must"):
        t_quantile(p, freedom)


@given(st.lists(numbers, min_size=2, max_size=12, unique=True))
def test_the_t_interval_is_scipys(values):
    found = t_interval(values)
    low, high = scipy_stats.t.interval(0.95, len(values) - 1, found.estimate, scipy_stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9, abs=1e-9)


def test_of_one_value_nothing_is_known_but_itself():
    assert t_interval([3.0]) == Interval(3.0, -math.inf, math.inf, 1)
    with pytest.raises(ValueError, match="no values"):
        t_interval([])


@pytest.mark.parametrize("n", [2, 3, 5])
def test_the_t_interval_covers_as_often_as_it_says_and_the_bootstrap_does_not(n):
    generator = random.Random(n)
    trials = 4_000
    covered = boot = 0
    for trial in range(trials):
        values = [generator.gauss(0, 1) for _ in range(n)]
        covered += not t_interval(values).excludes(0)
        if trial < 300:
            mean = bootstrap(range(n), lambda seeds, values=values: sum(values[s] for s in seeds) / len(seeds))
            boot += not mean.excludes(0)
    assert covered / trials == pytest.approx(0.95, abs=0.015)
    assert boot / 300 < 0.9, "which is why means have t intervals"


def test_paired_differences_are_over_shared_seeds():
    found = paired({0: 1.0, 1: 2.0, 2: 4.0, 5: 100.0}, {0: 0.0, 1: 1.5, 2: 3.0, 7: -100.0})
    assert found == t_interval([1.0, 0.5, 1.0])
    assert paired({0: 1.0}, {1: 1.0}) is None


@pytest.mark.parametrize(
    ("values", "more"),
    [([1.0, 1.1, 0.9], 0), ([1.0], None), ([1.0, -1.0], None), ([1.0, -0.9999], None)],
    ids=["separate", "one seed", "a mean of 0", "too many"],
)
def test_seeds_that_are_missing_where_that_is_plain(values, more):
    assert seeds_to_separate(t_interval(values)) == more


def test_the_seeds_that_are_missing_are_the_fewest_that_would_do():
    difference = t_interval([1.0, -0.5, 0.4])
    spread = difference.half * math.sqrt(3) / t_quantile(0.975, 2)
    more = seeds_to_separate(difference)
    for n, enough in ((2 + more, False), (3 + more, True)):
        assert (t_quantile(0.975, n - 1) * spread / math.sqrt(n) < difference.estimate) == enough


@given(
    st.lists(numbers, min_size=2, max_size=12, unique=True), st.lists(numbers, min_size=12, max_size=12, unique=True)
)
def test_p_values_are_scipys_paired_t_test(ours, theirs):
    differences = [a - b for a, b in zip(ours, theirs, strict=False)]
    expected = scipy_stats.ttest_rel(ours, theirs[: len(ours)]).pvalue
    if len(set(differences)) > 1:
        assert p_value(t_interval(differences)) == pytest.approx(expected, rel=1e-6, abs=1e-12)
        assert p_value(t_interval(differences, 0.99), 0.99) == pytest.approx(expected, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("values", [[1.0], [1.0, 1.0, 1.0], [0.0, 0.0]], ids=["one seed", "no spread", "no difference"])
def test_where_there_is_no_spread_to_judge_by_nothing_is_found(values):
    assert p_value(t_interval(values)) == 1


@given(st.lists(st.floats(0, 1), max_size=10))
def test_holms_adjustment(p):
    adjusted = holm(p)
    assert all(a >= b for a, b in zip(adjusted, p, strict=True))
    assert all(a <= 1 for a in adjusted)
    assert not p or min(adjusted) == min(1, len(p) * min(p))
    order = sorted(range(len(p)), key=p.__getitem__)
    assert [adjusted[i] for i in order] == sorted(adjusted), "the order stays"


def test_holm_by_hand():
    assert holm([]) == []
    assert holm([0.04, 0.001, 0.02, 0.5]) == pytest.approx([0.08, 0.004, 0.06, 0.5])


LRS = (0.001, 0.01, 0.1, 1.0)


def flat(*means, seeds=3):
    """Values that are the same for each seed, at the first lrs of the grid."""
    return {lr: dict.fromkeys(range(seeds), mean) for lr, mean in zip(LRS, means, strict=False)}


@pytest.mark.parametrize(
    ("means", "margin", "lrs", "is_open"),
    [
        ((80, 90, 90, 80), 5, (10**-2.5, 10**-0.5), False),
        ((89, 90, 88, 0), 5, (0.001, 10 ** (-1 + 3 / 88)), True),
        ((0, 90, 0, 90), 5, (10 ** (-2 - 5 / 90), 10 ** (-2 + 5 / 90)), False),  # the first best, not both
        ((90,), 1, (0.001, 0.001), True),
    ],
)
def test_robustness_is_the_range_around_the_best_within_the_margin(means, margin, lrs, is_open):
    found = robustness(flat(*means), margin, larger_is_better=True)
    assert found.lrs == pytest.approx(lrs)
    assert found.open == is_open
    assert found.width.estimate == pytest.approx(math.log10(lrs[1] / lrs[0]))
    assert (found.width.low, found.width.high) == pytest.approx((found.width.estimate,) * 2)
    mirrored = {lr: {seed: -value for seed, value in by_seed.items()} for lr, by_seed in flat(*means).items()}
    assert robustness(mirrored, margin, larger_is_better=False) == found


def test_a_run_that_diverged_ends_the_range():
    values = flat(90, 90, 90, 90)
    del values[0.1][1]
    assert robustness(values, 5, True).lrs == pytest.approx((0.001, 0.01))
    assert robustness({0.1: {}}, 5, True) is None
    with pytest.raises(ValueError, match="margin is 0"):
        robustness(values, 0, True)


def test_a_seed_that_diverged_at_every_lr_is_not_forgotten():
    values = flat(90, 90, 90, 90)
    assert robustness(values, 5, True, seeds=(0, 1, 2)) == robustness(values, 5, True)
    assert robustness(values, 5, True, seeds=(0, 1, 2, 3)) is None
    assert best_lr(values, True, seeds=(0, 1, 2, 3)) is None
    assert robustness(values, 5, True, seeds=(0, 1)).width.n == 2


def test_of_one_seed_a_width_has_no_interval():
    width = robustness(flat(80, 90, 90, 80, seeds=1), 5, True).width
    assert (width.estimate, width.low, width.high, width.n) == (pytest.approx(2), -math.inf, math.inf, 1)


def test_robustness_has_an_interval_where_seeds_differ():
    generator = random.Random(0)
    means = dict(zip(LRS, (80, 90, 88, 70), strict=True))
    values = {lr: {seed: mean + generator.gauss(0, 2) for seed in range(5)} for lr, mean in means.items()}
    width = robustness(values, 3, True).width
    assert width.low < width.estimate < width.high


def test_the_best_lr_is_chosen_on_other_seeds_than_it_is_told_on():
    """Two lrs that are alike, of which each is lucky on one half of the seeds."""
    values = {0.1: {0: 90.0, 1: 80.0, 2: 90.0, 3: 80.0}, 0.01: {0: 80.0, 1: 90.0, 2: 80.0, 3: 90.0}}
    found = best_lr(values, larger_is_better=True)
    assert found.honest
    assert found.lrs == (0.1, 0.01)
    assert set(found.values.values()) == {80.0}, "chosen on the even seeds, 0.1 is told on the odd ones"
    assert best_lr(values, larger_is_better=False).metric.estimate == 90


def test_with_few_seeds_the_best_lr_is_optimistic_and_said_to_be():
    found = best_lr({0.1: {0: 90.0, 1: 80.0}, 0.01: {0: 80.0, 1: 91.0}}, larger_is_better=True)
    assert (found.lrs, found.honest, found.metric.estimate) == ((0.01,), False, 85.5)


def test_an_lr_at_which_a_run_diverged_is_not_chosen():
    values = {0.1: {0: 99.0, 2: 99.0}, 0.01: {0: 80.0, 1: 81.0, 2: 82.0}}
    assert best_lr(values, larger_is_better=True).lrs == (0.01,)
    assert best_lr({0.1: {}}, larger_is_better=True) is None
    assert best_lr({}, larger_is_better=True) is None


def test_where_an_honest_choice_meets_a_run_that_diverged_it_is_optimistic():
    """0.1 is best on the even seeds and diverged on an odd one."""
    values = {0.1: {0: 99.0, 1: 99.0, 2: 99.0}, 0.01: dict.fromkeys(range(4), 80.0)}
    found = best_lr(values, larger_is_better=True)
    assert (found.lrs, found.honest, found.metric.n) == ((0.01,), False, 4)


def test_one_lr_is_no_choice():
    values = {0.1: {0: 90.0, 1: 80.0}}
    assert best_lr(values, larger_is_better=True).honest
    values[0.01] = {0: 9.0, 1: 8.0}
    assert not best_lr(values, larger_is_better=True).honest


def test_the_halves_can_be_forgone():
    values = {0.1: dict.fromkeys(range(6), 90.0), 0.01: dict.fromkeys(range(6), 80.0)}
    assert best_lr(values, larger_is_better=True).lrs == (0.1, 0.1)
    whole = best_lr(values, larger_is_better=True, halves=False)
    assert (whole.lrs, whole.honest) == ((0.1,), False)


def test_the_luck_of_the_best_of_many_lrs_is_not_told():
    """Ten lrs that are all alike: chosen and told on the same seeds the mean is too high, told on others it is not."""
    generator = random.Random(1)
    honest, optimistic = [], []
    for _ in range(300):
        values = {lr: {seed: generator.gauss(0, 1) for seed in range(6)} for lr in range(1, 11)}
        honest.append(best_lr(values, True).metric.estimate)
        optimistic.append(max(sum(by_seed.values()) / 6 for by_seed in values.values()))
    assert abs(sum(honest) / 300) < 0.1
    assert sum(optimistic) / 300 > 0.4
