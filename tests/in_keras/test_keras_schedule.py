"""A warmup as a schedule of Keras: omega to round-off at every step, for any optimizer."""

import pytest

keras = pytest.importorskip("keras")

import numpy as np  # noqa: E402
from keras import ops  # noqa: E402

import rectified.keras.arrays  # noqa: E402
from keras_twins import BACKEND, gradient, stepper, values  # noqa: E402
from rectified.keras import WarmupSchedule  # noqa: E402
from rectified.warmup import (  # noqa: E402
    Constant,
    GuardedLinear,
    Linear,
    Rectified,
    SecondMomentOnly,
    UntunedExponential,
    UntunedLinear,
)
from roster import OwnMomentum, OwnWarmup  # noqa: E402

WARMUPS = [
    Constant(),
    Rectified(),
    Rectified("exact"),
    Rectified("ema"),
    UntunedLinear(),
    UntunedExponential(),
    Linear(1000),
    SecondMomentOnly(2000),
    OwnWarmup(),
]
COUNTS = np.unique(np.concatenate([np.arange(1, 300), np.arange(4000, 4200), np.geomspace(300, 1e7, 100).astype(int)]))


@pytest.mark.parametrize("beta_2", [0.9, 0.999, 0.99999])
@pytest.mark.parametrize("warmup", WARMUPS, ids=repr)
def test_it_is_omega_at_every_step(warmup, beta_2):
    if isinstance(warmup, OwnWarmup) and beta_2 > 0.999:
        pytest.skip("its table ends before it does")
    expected = np.array([warmup.omega(int(t), beta_2) for t in COUNTS])
    schedule = WarmupSchedule(warmup, 1.0, beta_2, on_zero="hold")
    found = ops.convert_to_numpy(schedule(ops.convert_to_tensor(COUNTS - 1, "int32")))
    np.testing.assert_allclose(found, expected, rtol=6e-7)
    one_by_one = [float(schedule(ops.convert_to_tensor(int(t) - 1, "int32"))) for t in COUNTS[:20]]
    np.testing.assert_allclose(one_by_one, expected[:20], rtol=6e-7)


def test_the_first_zeros_are_skipped_or_held():
    skipped, held = (WarmupSchedule(Rectified(), 2.0, on_zero=on_zero) for on_zero in ("skip", "hold"))
    r = [2 * Rectified().omega(t, 0.999) for t in range(1, 9)]
    np.testing.assert_allclose([float(skipped(i)) for i in range(3)], r[5:], rtol=1e-6)
    np.testing.assert_allclose([float(held(i)) for i in range(8)], r, rtol=1e-6)
    assert float(WarmupSchedule(SecondMomentOnly(10), 0.5)(0)) == 0.5
    assert float(WarmupSchedule(OwnMomentum(), 1.0)(0)) > 0


def test_it_warms_up_any_optimizer():
    variable = keras.Variable(np.ones(2, "float32"))
    step = stepper(keras.optimizers.SGD(WarmupSchedule(Linear(4), 0.1)), [variable])
    for _ in range(5):
        step([gradient(1, 1)])
    np.testing.assert_allclose(values(variable), 1 - 0.1 * (1 + 2 + 3 + 4 + 4) / 4, rtol=1e-6)


def test_it_multiplies_another_schedule():
    decay = keras.optimizers.schedules.CosineDecay(0.1, 100)
    schedule = WarmupSchedule(Linear(10), decay)
    for step in (0, 4, 50):
        expected = float(decay(step)) * min(1, (step + 1) / 10)
        assert float(schedule(step)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("warmup", WARMUPS, ids=repr)
def test_a_step_may_be_a_float(warmup):
    schedule = WarmupSchedule(warmup, 0.1)
    for step in (3.0, np.float32(3), ops.convert_to_tensor(3.0)):
        assert float(schedule(step)) == pytest.approx(float(schedule(3)), rel=1e-6)


def test_with_gradient_accumulation_omega_counts_the_steps_of_the_optimizer():
    variable = keras.Variable(np.ones(2, "float32"))
    schedule = WarmupSchedule(Linear(4), 0.1, gradient_accumulation_steps=3)
    step = stepper(keras.optimizers.SGD(schedule, gradient_accumulation_steps=3), [variable])
    for _ in range(6):
        step([gradient(1, 1)])
    np.testing.assert_allclose(values(variable), 1 - 0.1 * (1 + 2) / 4, rtol=1e-6)


@pytest.mark.skipif(BACKEND != "torch", reason="other backends have no other way")
def test_on_torch_a_compiled_step_gets_the_same(monkeypatch):
    eager = [float(WarmupSchedule(Rectified(), 0.1)(i)) for i in range(20)]
    monkeypatch.setattr(rectified.keras.arrays, "is_eager_torch", lambda: False)
    monkeypatch.setattr(rectified.keras.warmup_schedule, "is_eager_torch", lambda: False)
    np.testing.assert_allclose([float(WarmupSchedule(Rectified(), 0.1)(i)) for i in range(20)], eager, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        (("linear",), {}, TypeError, "warmup is 'linear'"),
        ((GuardedLinear(3),), {}, TypeError, "observes slopes of a run"),
        ((Linear(3), -0.1), {}, ValueError, "learning_rate is -0.1; it must be a number, 0 or more, or a schedule"),
        ((Linear(3), "0.1"), {}, ValueError, "learning_rate is '0.1'; it must be a number"),
        ((Linear(3), 0.1, "0.9"), {}, ValueError, "beta2 is '0.9'"),
        ((Linear(3), 0.1, 1.0), {}, ValueError, "beta2 is 1.0"),
        ((Rectified(), 0.1, 0.5), {}, ValueError, "never exceeds the threshold"),
        ((Linear(3),), {"on_zero": "wait"}, ValueError, "on_zero is 'wait'; it must be 'hold' or 'skip'"),
        (
            (Linear(3),),
            {"gradient_accumulation_steps": 0},
            ValueError,
            "gradient_accumulation_steps is 0; it must be a whole number",
        ),
        ((Linear(3),), {"gradient_accumulation_steps": 2.5}, ValueError, "gradient_accumulation_steps is 2.5"),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_at_once(arguments, options, error, words):
    with pytest.raises(error, match=words):
        WarmupSchedule(*arguments, **options)
