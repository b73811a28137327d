"""rho against forty digits, and against the known errors of the source texts."""

import math

import mpmath
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from rectified.theory import rho, rho_inf, sma

beta2s = st.one_of(st.floats(0.1, 0.999), st.floats(-9, -0.1).map(lambda x: 1 - 10**x))
steps = st.floats(0, 12).map(lambda x: int(10**x))


@given(steps, beta2s)
def test_rho_is_right_to_twelve_digits(t, beta2):
    assert abs(rho(t, beta2) / reference.rho(t, beta2) - 1) < 1e-12


@given(beta2s)
def test_rho_inf_is_right_to_twelve_digits(beta2):
    assert abs(rho_inf(beta2) / reference.rho_inf(beta2) - 1) < 1e-12


@given(steps, beta2s)
def test_rho_does_not_decrease_and_stays_within_its_bounds(t, beta2):
    assert rho(t, beta2) * (1 + 1e-15) >= 1
    assert rho(t, beta2) <= rho(t + 1, beta2) <= rho_inf(beta2)


@pytest.mark.parametrize(("t", "value"), [(1, 1.0), (4, 3.9975), (5, 4.996), (6, 5.9942)])
def test_published_values_at_beta2_999(t, value):
    assert rho(t, 0.999) == pytest.approx(value, abs=5e-5)


def test_algorithm_2_of_the_report_which_drops_a_t_is_not_what_is_computed():
    beta2, t = 0.999, 6
    dropped = rho_inf(beta2) - 2 * beta2**t / (1 - beta2**t)
    assert abs(dropped / rho(t, beta2) - 1) > 100


def test_the_coefficients_are_bernoullis():
    for k, coefficient in enumerate(sma._G, start=1):
        assert coefficient == pytest.approx(float(mpmath.bernoulli(2 * k) / mpmath.factorial(2 * k)), rel=1e-15)


def test_at_beta2_0_one_sample_is_all_there_is():
    assert rho(1, 0.0) == rho(10**9, 0.0) == rho_inf(0.0) == 1.0


@pytest.mark.parametrize("beta2", [1.0, -0.1, 2.0, math.nan, math.inf])
def test_beta2_outside_its_range_is_refused_by_value_and_range(beta2):
    for function in (rho_inf, lambda b: rho(1, b)):
        with pytest.raises(ValueError, match=r"beta2 is .*\[0, 1\)") as error:
            function(beta2)
        assert repr(beta2) in str(error.value)


@pytest.mark.parametrize("t", [0, -3, 0.5, math.nan, math.inf])
def test_steps_are_counted_from_1(t):
    with pytest.raises(ValueError, match="counted from 1") as error:
        rho(t, 0.9)
    assert repr(t) in str(error.value)
