"""Statistics by tables of values, by their properties, and by what they refuse."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rectified.study.analysis.robustness import robustness
from rectified.study.analysis.selection import Grid
from rectified.study.analysis.stats import (
    Interval,
    finite,
    holm,
    no_spread,
    seeds_to_separate,
    t_interval,
    t_p_value,
    t_quantile,
)

numbers = st.floats(-1e3, 1e3).map(lambda x: round(x, 6))


@pytest.mark.parametrize(
    ("p", "freedom", "value"),
    [
        (0.975, 1, 12.706),
        (0.975, 2, 4.303),
        (0.975, 4, 2.776),
        (0.975, 9, 2.262),
        (0.995, 4, 4.604),
        (0.025, 2, -4.303),
    ],
)
def test_quantiles_are_those_of_the_printed_tables(p, freedom, value):
    assert t_quantile(p, freedom) == pytest.approx(value, abs=5e-4)


@pytest.mark.parametrize(("p", "freedom"), [(0, 3), (1, 3), (math.nan, 3), (math.inf, 3), (0.9, 0)])
def test_quantiles_of_nothing_are_refused(p, freedom):
    with pytest.raises(ValueError, match="must"):
        t_quantile(p, freedom)


BAD = [math.nan, math.inf, -math.inf]
FUNCTIONS = {
    "finite": lambda x: finite([1.0, x]),
    "no_spread": lambda x: no_spread([1.0, x]),
    "the scale of no_spread": lambda x: no_spread([1.0, 2.0], scale=x),
    "t_interval": lambda x: t_interval([1.0, x, 2.0]),
    "t_interval of one value": lambda x: t_interval([x]),
    "the level of t_interval": lambda x: t_interval([1.0, 2.0], level=x),
    "t_p_value": lambda x: t_p_value([1.0, x, 2.0]),
    "t_p_value of one value": lambda x: t_p_value([x]),
    "the scale of t_p_value": lambda x: t_p_value([1.0, 2.0], scale=x),
    "holm": lambda x: holm([0.5, x]),
    "seeds_to_separate": lambda x: seeds_to_separate([1.0, x]),
    "the estimate of an interval": lambda x: Interval(x, 0.0, 1.0, 2),
    "the value of excludes": lambda x: Interval(0.5, 0.0, 1.0, 2).excludes(x),
    "robustness": lambda x: robustness([0.1, 1.0], [[1.0, x]], 1.0, True),
    "the lrs of robustness": lambda x: robustness([0.1, x], [[1.0, 2.0]], 1.0, True),
    "the margin of robustness": lambda x: robustness([0.1, 1.0], [[1.0, 2.0]], x, True),
    "the values of a grid": lambda x: Grid((0.1,), np.array([[x]]), np.array([[1.0]])),
    "the choices of a grid": lambda x: Grid((0.1,), np.array([[1.0]]), np.array([[x]])),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_nan_and_infinity_are_refused_everywhere(function, bad):
    with pytest.raises(ValueError, match=r"must|missing"):
        FUNCTIONS[function](bad)


@pytest.mark.parametrize("ends", [(math.nan, 1.0), (0.0, math.nan)])
def test_an_interval_may_be_the_whole_line_but_has_no_end_that_is_nan(ends):
    assert not Interval(0.5, -math.inf, math.inf, 1).excludes(1e99)
    with pytest.raises(ValueError, match="must be numbers"):
        Interval(0.5, *ends, 2)


@pytest.mark.parametrize("function", [finite, no_spread, t_interval, t_p_value, seeds_to_separate])
def test_no_value_at_all_is_refused(function):
    with pytest.raises(ValueError, match="no values"):
        function([])


def test_the_t_interval_by_hand():
    """Of 1, 2 and 3 the mean is 2, the standard error 1/sqrt(3), and 4.3027 of them are 2.4841."""
    found = t_interval([1.0, 2.0, 3.0])
    assert (found.estimate, found.low, found.high) == pytest.approx((2, 2 - 2.48414, 2 + 2.48414), abs=1e-5)
    assert found.half == pytest.approx(2.48414, abs=1e-5)
    assert found.excludes(4.49)
    assert not found.excludes(4.48)


def test_one_value_says_nothing_beyond_itself():
    assert t_interval([3.0]) == Interval(3.0, -math.inf, math.inf, 1)


@given(st.lists(numbers, min_size=2, max_size=12, unique=True))
def test_the_t_test_finds_something_exactly_where_the_interval_excludes_zero(values):
    p, interval = t_p_value(values), t_interval(values)
    if abs(p - 0.05) > 1e-9:
        assert (p < 0.05) == interval.excludes(0.0)


@pytest.mark.parametrize(
    ("values", "scale", "alike"),
    [
        ([0.1, 0.2], 0.0, False),
        ([0.1, 0.1, 0.1], 0.0, True),
        ([0.0, 0.0], 0.0, True),
        ([87.1 - 87.0, 86.4 - 86.3], 87.1, True),
        ([87.1 - 87.0, 86.4 - 86.3], 0.0, True),
        ([1e-7, 2e-7], 0.0, False),
        ([1e-7, 2e-7], 1000.0, True),
        ([1e-7, 2e-7], 80.0, False),
        ([1e12, 1e12 + 1], 0.0, True),
        ([1e-12, 2e-12], 0.0, False),
        ([5.0], 0.0, True),
    ],
)
def test_whether_values_are_alike_is_relative_to_their_size(values, scale, alike):
    assert no_spread(values, scale) == alike
    assert no_spread([-value for value in values], scale) == alike


@pytest.mark.parametrize(
    "values",
    [[1.0], [1.0, 1.0, 1.0], [0.0, 0.0], [87.1 - 87.0, 86.4 - 86.3, 81.1 - 81.0]],
    ids=["one pair", "no spread", "no difference", "rounding"],
)
def test_without_a_spread_the_t_test_finds_nothing(values):
    assert t_p_value(values, scale=87.1) == 1


@pytest.mark.parametrize(
    ("values", "more"),
    [([1.0, 1.1, 0.9], 0), ([1.0], None), ([1.0, -1.0], None), ([1.0, -0.9999], None)],
    ids=["separate", "one seed", "a mean of 0", "too many"],
)
def test_seeds_that_are_missing_where_that_is_plain(values, more):
    assert seeds_to_separate(values) == more


@given(st.lists(numbers, min_size=3, max_size=6, unique=True), st.sampled_from([0.95, 0.99]))
def test_the_seeds_that_are_missing_are_the_fewest_that_would_do(values, level):
    more, n = seeds_to_separate(values, level), len(values)
    spread, mean = float(np.std(values, ddof=1)), abs(float(np.mean(values)))
    separate = {
        m: t_quantile((1 + level) / 2, n + m - 1) * spread / math.sqrt(n + m) < mean
        for m in ([] if more is None else [more, more - 1] if more else [0])
    }
    assert not separate or separate.pop(more)
    assert not any(separate.values())


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
    for no_p in (-0.1, 1.1):
        with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
            holm([0.5, no_p])
