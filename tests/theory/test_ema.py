"""The EMA's own variance, against integrals in thirty digits, and what it says of the two that stand for it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from rectified.theory import ema, limiting_variance, rectification, rho, variance, variance_ema, variance_first_order

ULP = 2.0**-52


@pytest.mark.parametrize("beta2", [0.1, 0.5, 0.9, 0.99, 0.999, 1 - 1e-9])
@pytest.mark.parametrize("t", [3, 4, 6, 20, 100])
def test_it_is_its_integral_in_the_start(t, beta2):
    assert abs(variance_ema(t, beta2) / reference.variance_ema(t, beta2) - 1) < 1e-12


@pytest.mark.parametrize(
    ("t", "beta2"),
    [
        (200, 0.9),
        (500, 0.97),
        (4000, 0.99),
        (300, 0.999),
        (350, 0.999),
        (3000, 0.999),
        (10**5, 0.9999),
        (10**9, 1 - 1e-9),
    ],
)
def test_it_is_its_integral_later(t, beta2):
    assert abs(variance_ema(t, beta2) / reference.variance_ema(t, beta2) - 1) < 1e-10


def test_the_series_takes_over_without_a_seam():
    for beta2 in (0.9935, 0.999, 1 - 1e-9):
        table = ema._table(beta2)
        for index in range(len(table) - 20, len(table)):
            assert ema._by_series(index + 3, beta2) == pytest.approx(table[index], rel=3e-12)


def test_the_series_begins_as_the_cumulants_say():
    """Var[x^(-1/2)] = p_2/2 + ..., with the power sum p_2 = sum w_i^2."""
    expansion = dict(ema._expansion())
    assert expansion[()][-2:] == [0.5, 0.0]  # 1/2 a_2, a_2 = p_2; no term of order 0
    beta2, t = 1 - 1e-9, 10**8
    weights = (1 - beta2) / (1 + beta2) * (1 + math.exp(-0.1)) / (1 - math.exp(-0.1))
    assert variance_ema(t, beta2) == pytest.approx(weights / 2, rel=1e-7)


def test_known_values():
    """DESIGN's: at t = 6, beta2 = 0.999."""
    assert variance_ema(6, 0.999) == pytest.approx(0.1746, abs=5e-5)


@given(
    beta2=st.one_of(st.floats(0.05, 0.9), st.floats(-9, -1).map(lambda x: 1 - 10.0**x)),
    t=st.floats(0, 12).map(lambda x: round(10**x)),
)
def test_it_falls_to_its_limit(beta2, t):
    here, after = variance_ema(t, beta2), variance_ema(t + 1, beta2)
    assert here >= after * (1 - 4 * ULP)
    assert after >= variance_ema(math.inf, beta2) * (1 - 4 * ULP)
    assert (here == math.inf) == (t <= 2)


def test_before_the_third_step_and_without_memory_it_is_infinite():
    assert variance_ema(1, 0.9) == variance_ema(2, 0.9) == math.inf
    assert variance_ema(1000, 0.0) == variance_ema(math.inf, 0.0) == math.inf


def test_it_judges_the_fitted_law_and_the_first_order():
    """The closed form is near in the first steps, and a tenth too large later, about t = 1.5/(1 - beta2)."""
    judge = variance_ema(6, 0.999)
    assert variance(rho(6, 0.999)) / judge == pytest.approx(1.002, abs=5e-4)
    assert variance_first_order(rho(6, 0.999)) / judge == pytest.approx(2.15, abs=0.01)
    # The center of mass is not the sum of squares: 1/sum w_i^2 = 924, rho_t = 836.
    assert variance(rho(1000, 0.999)) / variance_ema(1000, 0.999) == pytest.approx(1.106, abs=1e-3)
    # In the limit they nearly agree: 1/sum w_i^2 -> (1 + beta2)/(1 - beta2) = rho_inf.
    assert variance(rho(10**6, 0.999)) / variance_ema(10**6, 0.999) == pytest.approx(1, abs=2e-3)


def test_the_rectification_by_it_makes_its_variance_the_limit_at_every_step():
    for beta2 in (0.5, 0.95, 0.999):
        for t in (3, 4, 10, 100, 1000, 10**5):
            r = rectification(t, beta2, "ema")
            assert r * r * variance_ema(t, beta2) == pytest.approx(limiting_variance(beta2, "ema"), rel=1e-12)
        assert rectification(2, beta2, "ema") == 0


@pytest.mark.parametrize(("beta2", "first", "exact"), [(0.9, 11, 5.4), (0.99, 5.7, 5.3), (0.999, 5.4, 5.3)])
def test_the_other_orders_are_too_small_in_the_middle_of_their_warmup(beta2, first, exact):
    """In percent, as docs/mathematics.md has them."""
    t = round(1.5 / (1 - beta2))
    for order, percent in (("first-order", first), ("exact", exact)):
        short = 1 - rectification(t, beta2, order) / rectification(t, beta2, "ema")
        assert 100 * short == pytest.approx(percent, abs=0.51 if percent == 11 else 0.051)
    least = min(
        rectification(t, beta2, "exact") / rectification(t, beta2, "ema") for t in range(3, int(5 / (1 - beta2)))
    )
    assert 0.94595 < least < 1
    at_6, at_10 = (100 * (1 - rectification(t, beta2, "first-order") / rectification(t, beta2, "ema")) for t in (6, 10))
    assert 31.5 < at_6 < 37
    assert at_6 == pytest.approx({0.9: 37, 0.99: 32, 0.999: 32}[beta2], abs=0.5)
    assert 14.5 < at_10 < 17.5


def test_the_exact_order_is_too_small_by_as_much_from_a_beta2_of_095_on():
    """5.3 %, as docs/mathematics.md has it."""
    for beta2 in (0.95, 0.98, 0.99, 0.999, 0.9999):
        t = round(1.5 / (1 - beta2))
        assert 1 - rectification(t, beta2, "exact") / rectification(t, beta2, "ema") == pytest.approx(0.053, abs=5e-4)


@pytest.mark.parametrize(
    ("t", "beta2", "words"),
    [
        (0, 0.9, "t is 0"),
        (2.5, 0.9, "t is 2.5.*whole"),
        (math.nan, 0.9, "t is nan"),
        ("7", 0.9, "t is '7'"),
        (7, 1.0, r"beta2 is 1.0.*\[0, 1\)"),
        (7, -0.1, "beta2 is -0.1"),
        (7, math.nan, "beta2 is nan"),
        (7, None, "beta2 is None"),
    ],
)
def test_what_has_no_meaning_is_refused(t, beta2, words):
    with pytest.raises(ValueError, match=words):
        variance_ema(t, beta2)
