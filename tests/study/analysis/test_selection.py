"""The test that chooses each lr again, against a reference in plain loops that was written for this file alone."""

import math
from itertools import product

import numpy as np
import pytest

from rectified.study.analysis.selection import Grid, compare, seeds_needed

LRS = (0.001, 0.01, 0.1)


def random_values(seed, n, lrs=3, top=80.0):
    return top + np.random.default_rng(seed).standard_normal((n, lrs))


def grid(values, choices=None, lrs=LRS, lost=None):
    values = np.array(values, dtype=float)
    choices = values if choices is None else np.array(choices, dtype=float)
    return Grid(lrs[: values.shape[1]], values, choices, lost)


def mean(values):
    return sum(values) / len(values)


def best_of(choices):
    """The index of the first best lr of rows, one a seed."""
    means = [mean(column) for column in zip(*choices, strict=True)]
    return next(i for i, value in enumerate(means) if value >= max(means) - 1e-9)


def distance(ours, theirs):
    """Of two lists with a pair of rows, values and choices, for each seed."""
    a = best_of([choice for _, choice in ours])
    b = best_of([choice for _, choice in theirs])
    return mean([value[a] for value, _ in ours]) - mean([value[b] for value, _ in theirs])


def p_by_swaps(ours, theirs):
    """All 2^n swaps, one after another."""
    mine, other = (list(zip(g.values.tolist(), g.choices.tolist(), strict=True)) for g in (ours, theirs))
    seen = abs(distance(mine, other))
    far = 0
    for swaps in product((False, True), repeat=len(mine)):
        a = [y if swap else x for x, y, swap in zip(mine, other, swaps, strict=True)]
        b = [x if swap else y for x, y, swap in zip(mine, other, swaps, strict=True)]
        far += abs(distance(a, b)) >= seen - 1e-6
    return far / 2 ** len(mine)


def p_of_grids_that_differ(ours, theirs):
    """Twice the smaller of both sides: at its best lr one beats all lrs of the other, times the lrs it could choose."""

    def above(first, second):
        found = []
        for i in range(len(first.lrs)):
            beats = []
            for j in range(len(second.lrs)):
                d = [float(x) for x in first.values[:, i] - second.values[:, j]]
                signs = list(product((1, -1), repeat=len(d)))
                beats.append(
                    mean([sum(s * x for s, x in zip(each, d, strict=True)) >= sum(d) - 1e-9 for each in signs])
                )
            found.append(max(beats))
        return len(first.lrs) * min(found)

    return min(1.0, 2 * min(above(ours, theirs), above(theirs, ours)))


@pytest.mark.parametrize("n", [6, 7, 9])
@pytest.mark.parametrize("better", [0.0, 0.7, 3.0])
@pytest.mark.parametrize("validation", [False, True], ids=["chosen by the values", "chosen by validation"])
@pytest.mark.parametrize("seed", range(3))
def test_p_is_that_of_all_swaps_with_both_lrs_chosen_again(n, better, validation, seed):
    choices = [random_values(seed + 20, n) + better, random_values(seed + 30, n)] if validation else [None, None]
    ours = grid(random_values(seed, n) + better, choices[0])
    theirs = grid(random_values(seed + 10, n), choices[1])
    found = compare(ours, theirs)
    assert found.by == "swaps"
    assert found.p == pytest.approx(p_by_swaps(ours, theirs))
    assert found.p == pytest.approx(compare(theirs, ours).p), "whoever is called ours"
    assert found.differences == pytest.approx(ours.at_best - theirs.at_best)


def test_runs_that_count_as_chance_are_swapped_as_they_are():
    values = random_values(1, 8) + 1
    values[2, :] = 10
    lost = values == 10
    ours, theirs = grid(values, lost=lost), grid(random_values(2, 8))
    assert compare(ours, theirs).p == pytest.approx(p_by_swaps(ours, theirs))


@pytest.mark.parametrize("seed", range(30))
def test_lrs_that_are_equally_good_on_validation_are_chosen_alike_in_every_swap(seed):
    """A small validation split gives ties, whose sums differ by rounding."""
    generator = np.random.default_rng(seed)
    ours, theirs = (
        grid(80 + generator.standard_normal((6, 3)), 80 + generator.integers(0, 2, (6, 3)) / 10) for _ in range(2)
    )
    assert compare(ours, theirs).p == pytest.approx(p_by_swaps(ours, theirs))


@pytest.mark.parametrize("better", [0.0, 1.0, 3.0])
def test_grids_that_differ_are_compared_by_every_lr_of_each(better):
    ours, theirs = grid(random_values(1, 9) + better), grid(random_values(2, 9, 2), lrs=(0.01, 0.1))
    found = compare(ours, theirs)
    assert found.by == "swaps"
    assert found.p == pytest.approx(p_of_grids_that_differ(ours, theirs))
    assert compare(theirs, ours).p == pytest.approx(found.p)


@pytest.mark.parametrize("by", ["swaps", "t"])
def test_a_method_with_more_lrs_to_choose_from_needs_a_clearer_win(by):
    n = 9 if by == "swaps" else 4
    base, noise = random_values(3, n, 1), random_values(4, n, 1, top=0) / 3
    few = compare(grid(base + 2 + noise, lrs=(0.5,)), grid(base))
    many = compare(grid(np.repeat(base + 2 + noise, 3, axis=1)), grid(base, lrs=(0.5,)))
    assert (few.by, many.by) == (by, by)
    assert many.p == pytest.approx(3 * few.p)


def test_lrs_that_belong_to_each_other_are_swapped_though_they_differ():
    """A method and its control at matched lrs."""
    values, others = random_values(1, 6) + 1, random_values(2, 6)
    ours, theirs = grid(values), grid(others, lrs=(0.0005, 0.005, 0.05))
    matched = compare(ours, theirs, matched=True)
    assert matched.by == "swaps"
    assert matched.p == compare(ours, grid(others)).p
    assert compare(ours, theirs).by == "t", "without that it takes eight seeds"
    shorter = grid(others[:, :2])
    assert compare(ours, shorter, matched=True).p == compare(ours, shorter).p


@pytest.mark.parametrize(
    ("values", "unsteady"),
    [
        ([[80, 90, 70], [80, 90, 70]], False),
        ([[80, 90, 70], [80, 90, 10]], False),  # a bad lr is bad with or without it
        ([[80, 90, 70], [80, 10, 70]], True),  # it made another lr the best
        ([[30, 90, 30], [30, 10, 30]], True),  # it is at the best lr
        ([[80, 90, 10], [80, 90, 95]], True),  # the best lr may be the one that it spoils
        ([[80, 90, 10], [80, 90, 10]], False),
        ([[10, 10, 10], [10, 10, 10]], True),
    ],
)
def test_whether_a_run_that_counts_as_chance_decides(values, unsteady):
    lost = np.array(values) == 10
    assert grid(values, lost=lost).unsteady == unsteady
    assert not grid(values).unsteady
    assert compare(grid(values, lost=lost), grid([[1.0, 2, 3], [1, 2, 4]])).by == (None if unsteady else "t")


def test_where_a_run_that_counts_as_chance_decides_there_is_a_test_from_six_seeds_on_but_no_interval():
    values = random_values(1, 6)
    values[3, 1] = 10
    values[:, 1] += 5
    unsteady = grid(values, lost=values < 20)
    assert unsteady.unsteady
    found = compare(unsteady, grid(random_values(2, 6)))
    assert (found.by, found.interval) == ("swaps", None)
    few = compare(unsteady_few(5), grid(random_values(2, 5)))
    assert (few.by, few.p, few.interval, few.needed) == (None, 1.0, None, 6)


def unsteady_few(n):
    values = random_values(1, n)
    values[0, :] = 10
    return grid(values, lost=values == 10)


@pytest.mark.parametrize("level", [0.95, 0.99])
@pytest.mark.parametrize(
    ("n", "lrs", "validation"),
    [(5, 3, False), (8, 3, False), (8, 3, True), (10, 3, False), (11, 2, False), (4, 2, False), (14, 3, False)],
)
def test_the_interval_holds_the_differences_that_the_test_does_not_refuse(n, lrs, validation, level):
    ours = grid(random_values(1, n), random_values(5, n) if validation else None)
    theirs = grid(random_values(2, n, lrs), random_values(6, n, lrs) if validation else None)
    interval = compare(ours, theirs).interval(level)
    assert interval.low < interval.estimate < interval.high
    assert interval.estimate == pytest.approx((ours.at_best - theirs.at_best).mean())
    for end, outwards in ((interval.low, -1), (interval.high, 1)):
        tiny = 1e-3 * (interval.high - interval.low)
        assert compare(ours.shifted(-(end - outwards * tiny)), theirs).p > 1 - level
        assert compare(ours.shifted(-(end + outwards * tiny)), theirs).p <= 1 - level


def test_where_the_swaps_are_too_few_for_a_level_no_difference_is_ruled_out():
    interval = compare(grid(random_values(1, 6)), grid(random_values(2, 6))).interval(0.99)
    assert (interval.low, interval.high) == (-math.inf, math.inf)


def test_from_thirteen_seeds_on_a_sample_of_the_swaps_is_made():
    ours, theirs = grid(random_values(1, 13) + 0.3), grid(random_values(2, 13))
    sampled, every = compare(ours, theirs).p, p_by_swaps(ours, theirs)
    assert sampled == compare(ours, theirs).p, "the same sample each time"
    assert sampled == pytest.approx(every, abs=4 * math.sqrt(every * (1 - every) / 4096))
    assert compare(ours.shifted(50), theirs).p >= 1 / 4096, "what was seen is one of the swaps"


@pytest.mark.parametrize("lrs", [3, 2], ids=["equal grids", "grids that differ"])
@pytest.mark.parametrize("n", [14, 20])
@pytest.mark.parametrize("family", [1, 250, 2000])
def test_however_many_comparisons_are_made_the_swaps_can_find_a_plain_difference(family, n, lrs):
    found = compare(grid(random_values(1, n) + 50), grid(random_values(2, n, lrs)), family)
    assert found.p * family <= 0.05


@pytest.mark.parametrize(("family", "seeds"), [(1, 6), (2, 7), (4, 8), (10, 9), (50, 11), (1000, 16)])
def test_the_seeds_needed_are_the_fewest_whose_rarest_swap_is_a_finding(family, seeds):
    assert seeds_needed(family) == seeds
    assert family * 2 / 2**seeds <= 0.05 < family * 2 / 2 ** (seeds - 1)


def test_in_a_family_the_t_test_is_made_until_swaps_can_find_something():
    ours, theirs = grid(random_values(1, 8)), grid(random_values(2, 8))
    assert [compare(ours, theirs, family).by for family in (1, 6, 7)] == ["swaps", "swaps", "t"]
    assert compare(ours, theirs, 7).needed == 9


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_the_same_lead_on_every_one_of_a_few_seeds_is_no_test(n):
    base = random_values(1, n, 1)
    found = compare(grid(base + 0.1), grid(base))
    assert (found.by, found.p, found.interval) == (None, 1.0, None)


@pytest.mark.parametrize("n", [6, 8])
def test_the_same_lead_on_every_one_of_enough_seeds_is_as_rare_as_swaps_can_be(n):
    base = random_values(1, n, 1)
    found = compare(grid(base + 0.1), grid(base))
    assert (found.by, found.p) == ("swaps", 2 / 2**n)
    interval = found.interval(0.95)
    assert (interval.low, interval.high) == pytest.approx((0.1, 0.1), abs=1e-6)


def test_two_methods_that_are_the_same_are_the_same():
    values = random_values(1, 7)
    found = compare(grid(values), grid(values))
    assert found.p == 1
    assert found.interval(0.95).low <= 0 <= found.interval(0.95).high


def test_one_seed_is_no_test():
    found = compare(grid([[90.0, 80, 70]]), grid([[1.0, 2, 3]]))
    assert (found.by, found.p, list(found.differences)) == (None, 1.0, [87.0])


def test_of_lrs_that_are_equally_good_the_smallest_is_the_best():
    assert grid([[0.1, 0.3, 0.2], [0.2, 0.3, 0.4], [0.6, 0.3, 0.3]]).best == 0
    assert grid([[1, 2, 2]]).best == 1


@pytest.mark.parametrize(
    ("values", "choices", "lost"),
    [
        (np.ones((2, 2)), None, None),
        (np.ones((2, 3)), np.ones((3, 3)), None),
        (np.ones((0, 3)), None, None),
        (np.ones(3), None, None),
        (np.ones((2, 3)), None, np.zeros((3, 2), dtype=bool)),
    ],
)
def test_a_grid_has_a_value_for_each_seed_and_lr(values, choices, lost):
    with pytest.raises(ValueError, match=r"must be seeds x lrs|is missing"):
        Grid(LRS, values, values if choices is None else choices, lost)


def test_seeds_that_differ_in_number_are_refused():
    with pytest.raises(ValueError, match="3 seeds of ours and 4 of theirs"):
        compare(grid(np.ones((3, 3))), grid(np.ones((4, 3))))
