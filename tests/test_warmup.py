"""The warmups as functions: their twins, their range, their growth; and how they are found in and put into a save."""

import math
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from rectified.warmup import (
    Constant,
    GuardedLinear,
    Linear,
    Rectified,
    SecondMomentOnly,
    UntunedExponential,
    UntunedLinear,
    Warmup,
    effective_period,
    steps_until,
)
from rectified.warmup.plain import from_plain, to_plain

ULP = 2.0**-52

# Each warmup, its twin, and the first beta2 of which it makes sense.
WARMUPS = [
    (Constant(), reference.constant, 0.0),
    (Rectified(), reference.rectified, 0.67),
    (Rectified(threshold=4), lambda t, b: reference.rectified(t, b, 4), 0.61),
    (Rectified(threshold=6.5, start="hold"), lambda t, b: reference.rectified(t, b, 6.5), 0.74),
    (Rectified("exact"), reference.rectified_exactly, 0.34),
    (Rectified("exact", threshold=3), lambda t, b: reference.rectified_exactly(t, b, 3), 0.51),
    (Rectified("ema"), reference.rectified_by_ema, 0.34),
    (UntunedLinear(), reference.untuned_linear, 0.0),
    (UntunedExponential(), reference.untuned_exponential, 0.0),
    (Linear(1), lambda t, b: reference.linear(t, b, 1), 0.0),
    (Linear(700), lambda t, b: reference.linear(t, b, 700), 0.0),
    (GuardedLinear(700), lambda t, b: reference.linear(t, b, 700), 0.0),  # where nothing is observed
    (SecondMomentOnly(0), lambda t, b: reference.hold(t, b, 0), 0.0),
    (SecondMomentOnly(2000), lambda t, b: reference.hold(t, b, 2000), 0.0),
]
every_warmup = pytest.mark.parametrize(("warmup", "twin", "least"), WARMUPS, ids=lambda x: str(x) if x in PLAIN else "")
PLAIN = [warmup for warmup, _, _ in WARMUPS]


@pytest.mark.parametrize(
    ("warmup", "twin", "beta2"),
    [
        pytest.param(
            warmup,
            twin,
            beta2,
            id=f"{warmup}-{beta2}",
            marks=[pytest.mark.slow] * (warmup == Rectified("ema") and beta2 > 0.999),
        )
        for warmup, twin, least in WARMUPS
        for beta2 in (0.35, 0.7, 0.75, 0.9, 0.95, 0.999, 0.9999, 1 - 1e-9)
        if beta2 >= least
    ],
)
def test_each_omega_is_its_twin(warmup, twin, beta2):
    for t in (1, 2, 3, 4, 5, 6, 7, 8, 20, 100, 699, 700, 701, 1999, 2000, 2001, 12345, 10**8, 10**12):
        assert warmup.omega(t, beta2) == pytest.approx(twin(t, beta2), rel=1e-12, abs=0), t


@every_warmup
@given(x=st.floats(0, 1), y=st.floats(0, 12))
def test_omega_stays_in_zero_one_and_grows(warmup, twin, least, x, y):
    beta2 = 1 - (1 - least) * 10 ** (-9 * x) if x else least
    t = round(10**y)
    here, after = warmup.omega(t, beta2), warmup.omega(t + 1, beta2)
    assert 0 <= here <= 1
    assert 0 <= after <= 1
    assert here <= after * (1 + 4 * ULP)


@every_warmup
@given(calls=st.lists(st.tuples(st.integers(1, 5000), st.sampled_from([0.9, 0.99, 0.999])), min_size=2, max_size=8))
def test_omega_does_not_remember(warmup, twin, least, calls):
    forth = [warmup.omega(t, beta2) for t, beta2 in calls]
    back = [warmup.omega(t, beta2) for t, beta2 in reversed(calls)]
    assert forth == back[::-1]


@every_warmup
def test_a_warmup_is_a_value(warmup, twin, least):
    assert isinstance(warmup, Warmup)
    again = from_plain(to_plain(warmup))
    assert again == warmup
    assert hash(again) == hash(warmup)
    assert all(isinstance(x, str | int | float) for x in to_plain(warmup).values())
    with pytest.raises(FrozenInstanceError):
        warmup.steps = 3


@every_warmup
@pytest.mark.parametrize("level", [5e-324, 0.25, 0.9, 1.0])
@pytest.mark.parametrize("after", [0, 3, 1000])
def test_steps_until_is_the_first_step_that_reaches(warmup, twin, least, level, after):
    beta2 = 0.99
    found = steps_until(warmup, beta2, level, after)
    if found is None:
        assert warmup.omega(10**12, beta2) < level
        return
    assert found > after
    assert warmup.omega(found, beta2) >= level
    assert found == after + 1 or warmup.omega(found - 1, beta2) < level


def test_steps_until_gives_up_on_what_never_comes():
    class Half:
        def omega(self, t, beta2):
            return 0.5

    assert steps_until(Half(), 0.999) is None
    assert steps_until(Half(), 0.999, level=0.5) == 1


class Slow:
    """An omega of a user's own, from its distance to 1."""

    def __init__(self, missing):
        self.missing = missing

    def omega(self, t, beta2):
        return 1 - self.missing(t)


@every_warmup
@pytest.mark.parametrize("beta2", [0.8, 0.9, 0.99])
def test_the_effective_period_is_the_plain_sum(warmup, twin, least, beta2):
    steps = 10_000  # beta2^t is below 1e-43 from here on
    plain = math.fsum(1 - warmup.omega(t, beta2) for t in range(1, steps))
    assert effective_period(warmup, beta2) == pytest.approx(plain, rel=1e-10, abs=1e-9)
    summed = effective_period(Slow(lambda t: 1 - warmup.omega(t, beta2)), beta2)  # without the closed form
    assert summed == pytest.approx(plain, rel=1e-10, abs=1e-9)


@pytest.mark.parametrize("beta2", [0.999, 0.99999, 1 - 1e-9])
def test_the_effective_period_scales_with_the_memory_of_v(beta2):
    """For beta2 near 1, r_t depends on t (1 - beta2) alone, and so every period is a number times 1/(1 - beta2)."""
    for warmup, number in ((Rectified("exact"), 1.0292), (Rectified("ema"), 0.8776), (UntunedExponential(), 1.0)):
        assert effective_period(warmup, beta2) * (1 - beta2) == pytest.approx(number, rel=4e-3)


@pytest.mark.parametrize(("beta2", "percent"), [(0.9, 48), (0.95, 25), (0.99, 7), (0.999, 3.4), (0.9999, 3.0)])
def test_rectification_and_the_untuned_warmups_are_one_warmup_for_a_long_memory_only(beta2, percent):
    """What docs/mathematics.md says of the table of periods."""
    untuned = effective_period(UntunedLinear(), beta2)
    assert effective_period(UntunedExponential(), beta2) == pytest.approx(untuned, rel=0.002)
    assert 100 * (effective_period(Rectified(), beta2) / untuned - 1) == pytest.approx(percent, abs=0.5)
    if beta2 == 0.999:
        assert effective_period(Rectified("ema"), beta2) / untuned == pytest.approx(0.88, abs=0.005)
        assert effective_period(Rectified("exact"), beta2) / untuned < 1.035


@pytest.mark.parametrize(
    ("updates", "rectified", "linear"), [(400, 0.43, 0.20), (480, 0.47, 0.24), (1000, 0.65, 0.50), (1500, 0.75, 0.75)]
)
def test_the_committed_studies_end_inside_their_warmups(updates, rectified, linear):
    """The omegas that docs/reproduction.md names, at beta2 = 0.999."""
    assert Rectified().omega(updates, 0.999) == pytest.approx(rectified, abs=0.005)
    assert UntunedLinear().omega(updates, 0.999) == pytest.approx(linear, abs=0.005)


@pytest.mark.parametrize(
    ("missing", "total"),
    [
        (lambda t: 0.5, math.inf),
        (lambda t: 100 / (t + 100), math.inf),
        (lambda t: 1 / math.sqrt(t), math.inf),
        (lambda t: t**-1.5, 2.6123753486854883),
        (lambda t: t**-2.0, math.pi**2 / 6),
        (lambda t: max(0.0, 1 - t / 54_321), 27_160),
        (lambda t: 1.0 if t < 1_000_003 else 0.0, 1_000_002),
        (lambda t: 0.0, 0.0),
    ],
)
def test_an_omega_of_ones_own_has_a_period_too_or_none(missing, total):
    assert effective_period(Slow(missing), 0.999) == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: effective_period(UntunedLinear(), 1.0), "beta2 is 1.0"),
        (lambda: effective_period(Constant(), "0.9"), "beta2 is '0.9'"),
        (lambda: effective_period(Rectified(), 0.6), "beta2 is 0.6.*threshold 5"),
    ],
)
def test_a_period_of_nothing_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize(
    ("warmup", "start", "delay"),
    [
        (Rectified(), "momentum", 0),
        (Rectified(start="hold"), "hold", 0),
        (SecondMomentOnly(7), "hold", 7),
        (Linear(7), "hold", 0),
        (Constant(), "hold", 0),
    ],
)
def test_start_and_delay_are_told_where_they_exist(warmup, start, delay):
    assert warmup.start == start
    assert warmup.m_delay == delay


@pytest.mark.parametrize(
    ("short", "full"),
    [
        (Rectified(), Rectified("first-order", 5.0, "momentum")),
        (Rectified("exact"), Rectified("exact", 2.0, "momentum")),
        (Rectified(threshold=4), Rectified("first-order", 4.0, "momentum")),
    ],
)
def test_no_threshold_means_the_orders_own(short, full):
    assert short == full


def test_threshold_four_or_five_is_one_step_at_the_usual_beta2():
    """rho_5 = 4.996: the paper starts at step 5, torch at step 6."""
    firsts = [steps_until(Rectified(threshold=x), 0.999, 5e-324) for x in (4, 5)]
    assert firsts == [5, 6]
    assert steps_until(Rectified("exact"), 0.999, 5e-324) == 3


def test_untuned_warmups_end_by_the_memory_of_v():
    """The linear one after 2 / (1 - beta2) steps; the exponential one falls short by about 1 / (1 - beta2) in sum."""
    assert steps_until(UntunedLinear(), 0.99, 1.0) == 200
    missed = math.fsum(1 - UntunedExponential().omega(t, 0.99) for t in range(1, 5000))
    assert missed == pytest.approx(1 / math.expm1(0.01), rel=1e-9)


class Linear2(Linear):
    """A user's class, though it descends from one of ours."""


class Impostor:
    def omega(self, t, beta2):
        return 1.0


Impostor.__name__ = "Constant"


@pytest.mark.parametrize("warmup", [Linear2(3), Impostor()], ids=["a subclass", "a namesake"])
def test_only_our_own_classes_become_plain(warmup):
    assert to_plain(warmup) is None


@pytest.mark.parametrize("plain", [{"name": "Lineal", "steps": 3}, {"name": "Linear", "slope": 3}, {"steps": 3}, {}])
def test_an_unknown_plain_warmup_is_refused_with_what_is_known(plain):
    with pytest.raises(ValueError, match="known are Constant, Rectified"):
        from_plain(plain)


def test_a_plain_warmup_is_checked_like_a_new_one():
    with pytest.raises(ValueError, match="threshold is 3"):
        from_plain({"name": "Rectified", "variance": "first-order", "threshold": 3, "start": "hold"})
