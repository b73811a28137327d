"""Every warmup: its textbook twin, its bounds, its order, and what it refuses."""

import math
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from rectified.warmup import (
    Constant,
    Hold,
    Linear,
    Rectified,
    UntunedExponential,
    UntunedLinear,
    Warmup,
    from_plain,
    steps_until,
    to_plain,
)

TWINS = [
    (Constant(), reference.constant),
    (Rectified(), reference.rectified),
    (Rectified(threshold=4), partial(reference.rectified, threshold=4)),
    (Rectified(start="hold"), reference.rectified),
    (Rectified(order="exact"), reference.rectified_exactly),
    (Rectified(order="exact", threshold=5), partial(reference.rectified_exactly, threshold=5)),
    (UntunedLinear(), reference.untuned_linear),
    (UntunedExponential(), reference.untuned_exponential),
    (Linear(250), partial(reference.linear, steps=250)),
    (Hold(100), partial(reference.hold, steps=100)),
]
every_warmup = pytest.mark.parametrize(("warmup", "twin"), TWINS, ids=lambda x: str(x) if isinstance(x, Warmup) else "")
beta2s = st.one_of(st.floats(0.7, 0.9999), st.floats(-9, -0.6).map(lambda x: 1 - 10**x))
steps = st.floats(0, 12).map(lambda x: int(10**x))


@every_warmup
@given(t=st.integers(1, 10**6), beta2=st.floats(0.7, 0.99999))
def test_omega_equals_its_textbook_twin(warmup, twin, t, beta2):
    assert warmup.omega(t, beta2) == pytest.approx(twin(t, beta2), rel=1e-9, abs=1e-12)


@every_warmup
@given(t=steps, beta2=beta2s)
def test_omega_lies_in_0_1_and_does_not_decrease(warmup, twin, t, beta2):
    now, then = warmup.omega(t, beta2), warmup.omega(t + 1, beta2)
    assert 0 <= now <= 1
    assert 0 <= then <= 1
    assert then >= now - 4 * math.ulp(now)


@every_warmup
@given(calls=st.lists(st.tuples(st.integers(1, 10**4), st.sampled_from([0.9, 0.95, 0.999])), min_size=2, max_size=9))
def test_omega_does_not_depend_on_the_order_of_calls(warmup, twin, calls):
    forwards = {call: warmup.omega(*call) for call in calls}
    assert forwards == {call: warmup.omega(*call) for call in reversed(calls)}


@every_warmup
def test_a_warmup_survives_its_plain_form(warmup, twin):
    plain = to_plain(warmup)
    assert all(isinstance(value, (str, int, float)) for value in plain.values())
    assert from_plain(plain) == warmup


def test_the_linear_warmup_does_not_waste_its_first_step():
    assert Linear(100).omega(1, 0.999) == 0.01
    assert Linear(100).omega(100, 0.999) == 1.0


def test_untuned_linear_ends_at_2_over_1_minus_beta2_unrounded():
    assert UntunedLinear().omega(1999, 0.999) < 1.0 == UntunedLinear().omega(2000, 0.999)


def test_thresholds_4_and_5_differ_in_one_step():
    omegas = [[Rectified(threshold=at).omega(t, 0.999) > 0 for t in range(1, 10)] for at in (4, 5)]
    assert omegas == [[False] * 4 + [True] * 5, [False] * 5 + [True] * 4]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Rectified(order="second"), "order is 'second'; it must be one of 'first', 'exact'"),
        (lambda: Rectified(start="jump"), "start is 'jump'; it must be 'momentum' or 'hold'"),
        (lambda: Rectified(threshold=3.9), "threshold is 3.9; order 'first' needs a finite one of at least 4"),
        (lambda: Rectified(order="exact", threshold=1), "needs a finite one of at least 2"),
        (lambda: Rectified(threshold=math.nan), "threshold is nan"),
        (lambda: Rectified(threshold=math.inf), "threshold is inf"),
        (lambda: Linear(0), "steps is 0; Linear needs at least 1"),
        (lambda: Linear(math.nan), "steps is nan"),
        (lambda: Hold(-1), "steps is -1; Hold needs 0 or more"),
        (lambda: from_plain({"name": "Cosine"}), "the saved warmup is {'name': 'Cosine'}; known are Constant"),
        (lambda: from_plain({"name": "Linear", "colour": 3}), "with their own fields"),
    ],
)
def test_what_cannot_be_meant_is_refused(make, says):
    with pytest.raises(ValueError, match="is") as error:
        make()
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("warmup", "beta2", "least"),
    [(Rectified(), 2 / 3, "0.6667"), (Rectified(threshold=4), 0.6, "0.6"), (Rectified("exact"), 1 / 3, "0.3333")],
)
def test_a_beta2_that_never_leaves_the_start_is_refused_and_one_just_above_is_not(warmup, beta2, least):
    for refused in (0.0, beta2 - 1e-6):
        for call in (lambda b: warmup.check(b), lambda b: warmup.omega(10, b)):
            with pytest.raises(ValueError, match=f"never leave its start. Use a beta2 above {least}"):
                call(refused)
    warmup.check(beta2 + 1e-3)
    assert steps_until(warmup, beta2 + 1e-3, level=1e-300) is not None


def test_a_class_of_ones_own_has_no_plain_form():
    class Linear:
        def omega(self, t, beta2):
            return 1.0

    assert to_plain(Linear()) is None


@pytest.mark.parametrize(
    ("warmup", "level", "after", "expected"),
    [
        (Constant(), 0.9, 0, 1),
        (Constant(), 0.9, 41, 42),
        (Linear(1000), 0.9, 0, 900),
        (Linear(1000), 0.9, 950, 951),
        (Hold(2000), 0.9, 0, 2001),
        (Rectified(), 1e-300, 0, 6),
        (Linear(10**14), 0.9, 0, None),
    ],
)
def test_steps_until(warmup, level, after, expected):
    assert steps_until(warmup, 0.999, level, after) == expected
