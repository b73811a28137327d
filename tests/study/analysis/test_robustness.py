"""How forgiving a method is in its lr: the range around the best lr, by tables."""

import math

import pytest

from rectified.study.analysis.robustness import robustness

LRS = (0.001, 0.01, 0.1, 1.0)


def flat(*means, seeds=3):
    """Values that are the same for each seed."""
    return [list(means) for _ in range(seeds)]


@pytest.mark.parametrize(
    ("means", "margin", "lrs", "is_open"),
    [
        ((80, 90, 90, 80), 5, (10**-2.5, 10**-0.5), False),
        ((89, 90, 88, 0), 5, (0.001, 10 ** (-1 + 3 / 88)), True),
        ((0, 90, 0, 90), 5, (10 ** (-2 - 5 / 90), 10 ** (-2 + 5 / 90)), False),  # around the first best, not both
        ((90, 90, 10, 10), 5, (0.001, 10 ** (-2 + 5 / 80)), True),
        ((10, 10, 10, 10), 5, (0.001, 1.0), True),
        ((90,), 1, (0.001, 0.001), True),
    ],
)
def test_the_range_is_that_around_the_best_within_the_margin(means, margin, lrs, is_open):
    found = robustness(LRS[: len(means)], flat(*means), margin, larger_is_better=True)
    assert found.lrs == pytest.approx(lrs)
    assert found.open == is_open
    assert found.width == pytest.approx(math.log10(lrs[1] / lrs[0]))
    assert found.by_seed == pytest.approx((found.width, found.width)), "all seeds are alike"
    assert found.seeds == 3
    mirrored = [[-value for value in row] for row in flat(*means)]
    assert robustness(LRS[: len(means)], mirrored, margin, larger_is_better=False) == found


def test_a_run_that_counts_as_chance_ends_the_range():
    values = flat(90, 90, 90, 90)
    values[1][2] = 10
    found = robustness(LRS, values, 5, True)
    assert 0.01 < found.lrs[1] < 0.1
    assert found.by_seed == pytest.approx((1 + 5 / 80, 3))


def test_widths_by_seed_are_told_as_they_are():
    values = [[80, 90, 90, 80], [88, 90, 90, 80], [70, 90, 70, 70]]
    found = robustness(LRS, values, 5, True)
    assert found.by_seed == pytest.approx((0.5, 2.5))
    assert found.by_seed[0] < found.width < found.by_seed[1]


def test_one_seed_is_its_own_range():
    found = robustness(LRS, flat(80, 90, 90, 80, seeds=1), 5, True)
    assert (found.width, found.by_seed, found.seeds) == (pytest.approx(2), pytest.approx((2, 2)), 1)


@pytest.mark.parametrize(
    ("lrs", "values", "margin", "message"),
    [
        (LRS, flat(1, 2, 3, 4), 0, "margin is 0; it must be positive"),
        (LRS, flat(1, 2, 3, 4), -1, "margin is -1; it must be positive"),
        (LRS, [], 1, "there must be at least one seed"),
        ((), [[]], 1, "there must be at least one"),
        (LRS, flat(1, 2, 3), 1, "it must have one for each lr"),
        (LRS, [[1, 2, 3, 4], [1, 2, 3]], 1, "it must have one for each lr"),
        ((0, 1), flat(1, 2), 1, "an lr is 0; it must be positive"),
    ],
)
def test_what_makes_no_sense_is_refused(lrs, values, margin, message):
    with pytest.raises(ValueError, match=message):
        robustness(lrs, values, margin, True)
