"""The variance of psi against forty digits, over the whole domain."""

import math
import warnings

import mpmath
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from rectified.theory import limiting_variance, psi, rectification, rho_inf, variance, variance_first_order

rhos = st.floats(-6, 12).map(lambda x: 2 + 10**x)


@given(rhos)
def test_the_closed_form_is_right_to_fourteen_digits(rho):
    assert abs(variance(rho) / reference.variance(rho) - 1) < 1e-14


@pytest.mark.parametrize("rho", [2 + 1e-6, 19.999999, 20.0, 20.000001, 21.999999, 22.0, 1e12])
def test_the_closed_form_is_right_at_its_seams(rho):
    assert abs(variance(rho) / reference.variance(rho) - 1) < 1e-14


@given(st.floats(0, 9).map(lambda x: 2 + 10**x))
def test_the_variance_decreases(rho):
    assert variance(rho * (1 + 1e-13)) < variance(rho)


def test_the_euler_numbers_are_eulers():
    assert [float(mpmath.eulernum(2 * k)) for k in range(1, 11)] == list(psi._EULER)


@pytest.mark.parametrize("rho", [5e-324, 1.0, 1.9999, 2.0])
def test_up_to_2_the_variance_is_infinite_without_a_warning(rho):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert variance(rho) == math.inf


def test_at_infinity_nothing_varies():
    assert variance(math.inf) == variance_first_order(math.inf) == 0.0


def test_the_first_order_is_the_papers_and_wrong_early():
    """DESIGN's table at t = 6, beta2 = 0.999: closed form 0.1750, first order 0.376."""
    rho = float(reference.rho(6, 0.999))
    assert variance(rho) == pytest.approx(0.1750, abs=5e-5)
    assert variance_first_order(rho) == pytest.approx(0.376, abs=5e-4)
    assert variance_first_order(1e6) == pytest.approx(variance(1e6), rel=1e-5)


@pytest.mark.parametrize("rho", [0.0, -1.0, math.nan, -math.inf])
def test_a_rho_that_is_no_positive_number_is_refused(rho):
    with pytest.raises(ValueError, match="positive") as error:
        variance(rho)
    assert repr(rho) in str(error.value)


@pytest.mark.parametrize("rho", [4.0, 3.0, 0.0, math.nan])
def test_the_first_order_refuses_what_it_has_no_meaning_for(rho):
    with pytest.raises(ValueError, match="above 4"):
        variance_first_order(rho)


@pytest.mark.parametrize(
    ("order", "t", "value"),
    [
        ("first", 4, 0.0),
        ("first", 5, 0.01731),
        ("first", 6, 0.02582),
        ("first", 1000, 0.6453),
        ("exact", 2, 0.0),
        ("exact", 3, 0.01515),
        ("exact", 4, 0.02414),
        ("exact", 5, 0.03151),
        ("exact", 6, 0.03785),
        ("exact", 100, 0.2178),
        ("exact", 1000, 0.6458),
    ],
)
def test_known_rectifications_at_beta2_999(order, t, value):
    assert rectification(t, 0.999, order) == pytest.approx(value, abs=5.1 * 10 ** -(5 if t < 100 else 4) / 10)


@given(st.integers(1, 10**7), st.floats(0.61, 1 - 1e-7))
def test_both_rectifications_equal_the_textbook(t, beta2):
    for order, twin, threshold in (("first", reference.rectified, 4.0), ("exact", reference.rectified_exactly, 2.0)):
        assert rectification(t, beta2, order) == pytest.approx(twin(t, beta2, threshold), rel=1e-9, abs=1e-14)


@pytest.mark.parametrize(("order", "beta2", "least"), [("first", 0.6, "0.6"), ("exact", 1 / 3, "0.3333")])
def test_a_beta2_at_which_the_variance_is_never_finite_is_refused(order, beta2, least):
    with pytest.raises(ValueError, match=f"a beta2 above {least}"):
        rectification(10, beta2 - 1e-9, order)
    assert limiting_variance(beta2 + 1e-3, order) > 0


def test_an_unknown_order_is_refused():
    with pytest.raises(ValueError, match="order is 'second'; it must be one of 'first', 'exact'"):
        rectification(10, 0.999, "second")


def test_the_limit_is_the_variance_at_rho_inf():
    assert limiting_variance(0.99, "exact") == variance(rho_inf(0.99))
