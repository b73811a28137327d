"""The variances of psi, and r_t from them, against gamma functions in forty digits."""

import math

import mpmath
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

import reference
from rectified.theory import (
    mean,
    psi,
    rectification,
    rho,
    rho_inf,
    truncated_variance,
    variance,
    variance_first_order,
    variance_slope,
)

ULP = 2.0**-52


@pytest.mark.parametrize(
    "length", [2 + 1e-6, 2.001, 2.5, 3, 4, 4.5, 5, 10, 18, 19.999, 20, 20.001, 49, 51, 100, 1999, 1e5, 1e8, 1e10, 1e12]
)
def test_the_closed_form_is_right_from_its_pole_to_the_far_end(length):
    assert abs(variance(length) / reference.variance(length) - 1) < 2e-15


@given(st.floats(-6, 12).map(lambda x: 2 + 10**x))
def test_the_closed_form_is_right_everywhere(length):
    assert abs(variance(length) / reference.variance(length) - 1) < 2e-15


@given(st.floats(-6, 12).map(lambda x: 1 + 10**x))
def test_the_mean_is_right_everywhere(length):
    assert abs(mean(length) / reference.mean(length) - 1) < 1e-14


def test_the_mean_at_its_ends():
    assert mean(1) == mean(0.3) == math.inf
    assert mean(math.inf) == 1
    assert mean(3) == pytest.approx(math.sqrt(6 / math.pi), rel=1e-15)


@given(st.floats(-6, 12).map(lambda x: 2 + 10**x))
def test_the_variance_falls_everywhere_and_its_slope_is_right(length):
    """The paper's theorem, over the whole domain."""
    assert variance_slope(length) < 0
    assert abs(variance_slope(length) / reference.variance_slope(length) - 1) < 1e-12


def test_a_digamma_in_float64_has_the_wrong_sign_where_ours_has_the_right_one():
    def by_digamma(length):
        square = math.exp(2 * (special.gammaln((length - 1) / 2) - special.gammaln(length / 2)))
        difference = special.digamma((length - 1) / 2) - special.digamma(length / 2)
        return -2 / (length - 2) ** 2 - square / 2 * (1 + length * difference)

    lengths = [10 ** (k / 10) for k in range(10, 101)]
    assert by_digamma(10.0) == pytest.approx(variance_slope(10.0), rel=1e-10)
    wrong = [length for length in lengths if by_digamma(length) >= 0]
    assert wrong
    assert min(wrong) < 1e8
    assert all(variance_slope(length) < 0 for length in lengths)


def test_the_slope_is_the_variances_own():
    for length in (2.5, 6.0, 19.0, 21.0, 300.0):
        step = 1e-5 * length
        measured = (variance(length + step) - variance(length - step)) / (2 * step)
        assert variance_slope(length) == pytest.approx(measured, rel=1e-5)
    assert variance_slope(math.inf) == 0


@pytest.mark.parametrize("bound", [1.0, 2.0, 30.0, 1e4])
def test_the_truncated_variance_is_its_integral(bound):
    def moment(power):
        cut = 1 / mpmath.mpf(bound)
        density = lambda g: mpmath.sqrt(2 / mpmath.pi) * g**-power * mpmath.exp(-g * g / 2)  # noqa: E731
        return mpmath.quad(density, [cut, 2 * cut, 10 * cut, 1 + 10 * cut, 10, mpmath.inf])

    assert truncated_variance(bound) == pytest.approx(float(moment(2) - moment(1) ** 2), rel=1e-9)


def test_the_variance_of_the_first_step_grows_without_bound_at_the_predicted_rate():
    """Theorem 1: E[psi^2; psi <= b] is sqrt(2/pi) b up to a constant, E[psi; psi <= b] a logarithm."""
    rates = [truncated_variance(10.0**k) / 10.0**k for k in range(2, 13)]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(math.sqrt(2 / math.pi), rel=1e-9)


def test_the_series_is_eulers():
    for k, number in enumerate(psi.EULER, start=1):
        assert number == int(mpmath.eulernum(2 * k))


def test_the_first_order_is_the_end_of_the_closed_form():
    """For large rho, Var = sum c_k / rho^k with c = 1/2, 15/8, 83/16 (DESIGN); the approximation has 1/2, 3, ..."""
    length = 1e6
    assert variance(length) == pytest.approx(0.5 / length + 15 / 8 / length**2 + 83 / 16 / length**3, rel=1e-14)
    assert variance_first_order(length) == pytest.approx(0.5 / length + 3 / length**2, rel=1e-10)


@pytest.mark.parametrize("length", [4 + 1e-9, 4.996, 5.99417, 100, 1999, 1e12])
def test_the_first_order_is_the_papers(length):
    exact = mpmath.mpf(length) / (2 * (mpmath.mpf(length) - 2) * (mpmath.mpf(length) - 4))
    assert variance_first_order(length) == pytest.approx(float(exact), rel=1e-15)


def test_known_values_at_the_sixth_step():
    """The closed form is near the EMA's own variance, 0.1746; the first kind is more than twice that."""
    assert variance(rho(6, 0.999)) == pytest.approx(0.1750, abs=5e-5)
    assert variance_first_order(rho(6, 0.999)) == pytest.approx(0.376, abs=5e-4)


@pytest.mark.parametrize(("length", "percent"), [(6, 115), (10, 38), (50, 4.9), (100, 2.3)])
def test_the_first_order_is_too_large_by_what_the_mathematics_page_says(length, percent):
    found = 100 * (variance_first_order(length) / variance(length) - 1)
    assert found == pytest.approx(percent, abs=0.05 if percent < 10 else 0.5)


@pytest.mark.parametrize(
    ("kind", "beta2", "t", "value"),
    [
        ("first-order", 0.999, 5, 0.01731),
        ("first-order", 0.999, 6, 0.02582),
        ("first-order", 0.999, 10, 0.0490),
        ("first-order", 0.999, 100, 0.2153),
        ("first-order", 0.999, 1000, 0.6453),
        ("first-order", 0.95, 5, 0.118),
        ("exact", 0.999, 3, 0.01515),
        ("exact", 0.999, 4, 0.02414),
        ("exact", 0.999, 5, 0.03151),
        ("exact", 0.999, 6, 0.03785),
        ("exact", 0.999, 10, 0.0575),
        ("exact", 0.999, 100, 0.2178),
        ("exact", 0.999, 1000, 0.6458),
        ("exact", 0.95, 5, 0.226),
    ],
)
def test_known_values_of_the_rectification(kind, beta2, t, value):
    assert rectification(t, beta2, kind) == pytest.approx(value, abs=0.6 * 10.0 ** -len(str(value).split(".")[1]))


@pytest.mark.parametrize("beta2", [0.65, 0.7, 0.9, 0.95, 0.99, 0.999, 0.99999, 1 - 1e-9])
@pytest.mark.parametrize("t", [1, 2, 3, 4, 5, 6, 7, 20, 1000, 10**6, 10**11])
def test_the_rectification_is_the_papers_formula(beta2, t):
    for kind, twin in (
        ("first-order", reference.rectified(t, beta2, threshold=4)),
        ("exact", reference.rectified_exactly(t, beta2, threshold=2)),
    ):
        assert rectification(t, beta2, kind) == pytest.approx(twin, rel=1e-12, abs=0)


@given(
    beta2=st.one_of(st.floats(0.61, 0.9), st.floats(-9, -1).map(lambda x: 1 - 10.0**x)),
    t=st.floats(0, 12).map(lambda x: round(10**x)),
    kind=st.sampled_from(["first-order", "exact"]),
)
def test_the_rectification_grows_from_zero_to_one(beta2, t, kind):
    here, after = rectification(t, beta2, kind), rectification(t + 1, beta2, kind)
    assert 0 <= here <= after * (1 + 4 * ULP) <= 1 + 4 * ULP
    assert after <= 1


@given(st.floats(0.34, 0.9999), st.integers(1, 10**6))
def test_the_exact_variance_makes_the_shorter_start(beta2, t):
    """The exact r_t is never below the first-order one: the paper's approximation is too careful."""
    first = rectification(t, beta2) if rho_inf(beta2) > 4 else 0.0
    assert rectification(t, beta2, "exact") >= first * (1 - 8 * ULP)


def test_variances_vanish_at_the_far_end_and_grow_without_bound_at_the_near_one():
    assert variance(math.inf) == variance_first_order(math.inf) == 0
    assert variance(2) == variance(1) == variance(0.1) == math.inf
    assert variance(2 + 1e-12) > 1e11


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: variance(0), "rho is 0"),
        (lambda: variance(-1.5), "rho is -1.5"),
        (lambda: variance(math.nan), "rho is nan"),
        (lambda: variance("3"), "rho is '3'.*positive"),
        (lambda: variance(None), "rho is None"),
        (lambda: mean(-1), "rho is -1"),
        (lambda: variance_slope(2), "rho is 2.*above 2"),
        (lambda: variance_slope(math.nan), "rho is nan"),
        (lambda: truncated_variance(0.5), "bound is 0.5.*from 1"),
        (lambda: truncated_variance(math.inf), "bound is inf"),
        (lambda: variance_first_order(4), "rho is 4.*above 4"),
        (lambda: variance_first_order(math.nan), "rho is nan"),
        (lambda: rectification(6, 0.6), "beta2 is 0.6.*above 0.6"),
        (lambda: rectification(6, 1 / 3, "exact"), "beta2 is 0.33.*above 0.3333"),
        (lambda: rectification(6, 0.999, "third"), "variance is 'third'.*'first-order', 'exact', 'ema'"),
        (lambda: rectification(0, 0.999), "t is 0"),
        (lambda: rectification(6.5, 0.999, "ema"), "t is 6.5.*whole"),
        (lambda: rectification("6", 0.999), "t is '6'"),
        (lambda: rectification(6, "0.999"), "beta2 is '0.999'"),
        (lambda: rectification(6, 1.0), "beta2 is 1.0"),
    ],
)
def test_what_has_no_meaning_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
