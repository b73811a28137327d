"""rho: how long the moving average is, to round-off wherever the textbook form loses its digits."""

import math
from itertools import pairwise

import mpmath
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from rectified.theory import center_of_mass, rho, rho_inf, sma, sma_length

BETAS = [0.0, 1e-12, 0.1, 0.3, 0.5, 0.51, 0.6, 0.9, 0.95, 0.99, 0.999, 0.9995, 0.99999, 1 - 1e-7, 1 - 1e-9]
STEPS = [1, 2, 3, 4, 5, 6, 7, 10, 33, 100, 999, 1000, 1001, 12345, 10**6, 10**9, 10**12]
ULP = 2.0**-52


def one_minus(exponent):
    return 1 - 10.0**exponent


@pytest.mark.parametrize("beta2", [b for b in BETAS if b >= 0.1])
def test_rho_is_right_to_round_off(beta2):
    crossing = -1 / math.log(beta2)  # where one form takes over from the other
    steps = STEPS + [t for t in (math.floor(crossing), math.ceil(crossing), 650 * math.ceil(crossing)) if t >= 1]
    for t in steps:
        exact = reference.rho(t, beta2)
        assert abs(rho(t, beta2) / exact - 1) < 1e-15, (t, beta2)


@given(
    beta2=st.one_of(st.floats(0.1, 0.9), st.floats(-9, -1).map(one_minus)),
    t=st.floats(0, 12).map(lambda x: round(10**x)),
)
def test_rho_is_right_everywhere(beta2, t):
    assert abs(rho(t, beta2) / reference.rho(t, beta2) - 1) < 1e-15


def test_the_textbook_form_is_not():
    """The reason for the other one: digits cancel, as in torch's capturable RAdam (FACTS, defect 1)."""
    t, beta2 = 4, 0.99999
    textbook = 2 / (1 - beta2) - 1 - 2 * t * beta2**t / (1 - beta2**t)
    assert abs(textbook / reference.rho(t, beta2) - 1) > 1e-9
    assert abs(rho(t, beta2) / reference.rho(t, beta2) - 1) < 1e-15


@pytest.mark.parametrize("beta2", BETAS)
def test_rho_inf(beta2):
    assert rho_inf(beta2) == pytest.approx(float(reference.rho_inf(beta2)), rel=4e-16)


@pytest.mark.parametrize(
    ("t", "value"), [(1, 1.0), (2, 1.9995), (4, 3.9975), (5, 4.996), (6, 5.99417), (10**6, 1999.0)]
)
def test_known_values_at_the_papers_beta2(t, value):
    """Report's Algorithm 2, line 8 drops a t: without it, rho_6 would be 1667."""
    assert rho(t, 0.999) == pytest.approx(value, abs=5e-5)


def test_the_first_length_is_one_sample():
    for beta2 in BETAS:
        assert rho(1, beta2) == pytest.approx(1, abs=4 * ULP)


@given(
    beta2=st.one_of(st.floats(0, 0.9), st.floats(-9, -1).map(one_minus)),
    t=st.floats(0, 12).map(lambda x: round(10**x)),
)
def test_rho_grows_with_t_up_to_its_limit(beta2, t):
    here, after = rho(t, beta2), rho(t + 1, beta2)
    assert here <= after * (1 + 4 * ULP)
    assert after <= rho_inf(beta2) * (1 + 4 * ULP)
    assert 1 - 4 * ULP <= here <= t * (1 + 4 * ULP), "no average of t samples is longer than t"


@pytest.mark.parametrize("beta2", [0.2, 0.7, 0.9, 0.99, 0.999, 0.9999])
def test_rho_grows_across_the_crossing_of_its_two_forms(beta2):
    crossing = round(-1 / math.log(beta2))
    values = [rho(t, beta2) for t in range(max(1, crossing - 20), crossing + 21)]
    assert all(a <= b for a, b in pairwise(values))


def test_the_series_is_bernoullis():
    """g(y) = y/(e^y - 1) - 1 + y/2 = sum B_2k y^2k / (2k)!."""
    for k, coefficient in enumerate(reversed(sma.G_COEFFICIENTS), start=1):
        assert coefficient == float(mpmath.bernoulli(2 * k) / mpmath.factorial(2 * k))
    with mpmath.workdps(40):
        for y in (1e-9, 0.01, 0.5, 0.999):
            g = mpmath.mpf(y) / mpmath.expm1(mpmath.mpf(y)) - 1 + mpmath.mpf(y) / 2
            assert sma._g(y) == pytest.approx(float(g), rel=1e-15)


@pytest.mark.parametrize("t", [0, -1, 0.5, math.inf, math.nan])
def test_steps_count_from_one(t):
    with pytest.raises(ValueError, match=r"t is .*counted from 1"):
        rho(t, 0.9)


@pytest.mark.parametrize("beta2", [1.0, -0.1, 2, math.nan])
def test_beta2_lies_in_zero_one(beta2):
    for call in (lambda: rho(3, beta2), lambda: rho_inf(beta2)):
        with pytest.raises(ValueError, match=r"beta2 is .*\[0, 1\)"):
            call()


@pytest.mark.parametrize("beta2", [0.3, 0.9, 0.99, 0.999])
@pytest.mark.parametrize("t", [1, 2, 3, 10, 100, 2000])
def test_rho_is_the_length_that_solves_the_equation_of_the_centers_of_mass(t, beta2):
    """The paper's Eq. 4, with i in both sums."""
    assert sma_length(t, center_of_mass(t, beta2)) == pytest.approx(rho(t, beta2), rel=1e-9)


@pytest.mark.parametrize("beta2", [0.9, 0.99, 0.999])
@pytest.mark.parametrize("t", [3, 10, 100, 2000])
def test_rho_does_not_solve_the_equation_that_the_arxiv_version_prints(t, beta2):
    """There (t + 1 - i) stands in the EMA's sum too, which mirrors its center: the length comes out above rho."""
    weights = [beta2 ** (t - i) for i in range(1, t + 1)]
    printed = sum((t + 1 - i) * w for i, w in enumerate(weights, 1)) / sum(weights)
    assert printed == pytest.approx(t + 1 - center_of_mass(t, beta2), rel=1e-9)
    solution = 2 * (t - printed) + 1
    assert solution - rho(t, beta2) > 2e-3
    if t * (1 - beta2) > 1:
        assert solution > 1.3 * rho(t, beta2)


def test_the_center_of_mass_at_its_ends():
    assert center_of_mass(1, 0.9) == center_of_mass(1, 0) == 1
    assert center_of_mass(50, 0) == 50  # the last gradient alone
    assert center_of_mass(50, 1 - 1e-12) == pytest.approx(25.5)  # a plain mean
    assert sma_length(50, 25.5) == 50


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: center_of_mass(0, 0.9), "t is 0"),
        (lambda: center_of_mass(2.5, 0.9), "t is 2.5.*whole"),
        (lambda: center_of_mass(5, 1), "beta2 is 1"),
        (lambda: sma_length(10, 11), r"center is 11.*\[5.5, 10\]"),
        (lambda: sma_length(10, 5), "center is 5"),
        (lambda: sma_length(10, math.nan), "center is nan"),
    ],
)
def test_a_center_out_of_the_steps_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
