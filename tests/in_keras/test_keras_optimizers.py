"""What Keras asks of an optimizer: decay, clipping, accumulation, averages, narrow variables and loss scales."""

import functools
import math

import pytest

keras = pytest.importorskip("keras")

import numpy as np  # noqa: E402
from keras import ops  # noqa: E402

import rectified.keras as ours  # noqa: E402
from keras_twins import BACKEND, gradient, stepper, values  # noqa: E402
from rectified.warmup import Constant, GuardedLinear, Linear, Rectified, SecondMomentOnly, UntunedLinear  # noqa: E402
from roster import OwnWarmup  # noqa: E402


def moved(optimizer, steps, theta=(1.0, -1.0), g=(0.5, 2.0)):
    """A variable after steps with the same gradient."""
    variable = keras.Variable(np.array(theta, "float32"), dtype="float32")
    step = stepper(optimizer, [variable])
    for _ in range(steps):
        step([gradient(*g)])
    return values(variable)


def test_without_a_warmup_it_is_the_adam_of_keras():
    for options in ({}, {"amsgrad": True}, {"weight_decay": 0.1}, {"clipnorm": 0.1}, {"use_ema": True}):
        mine, theirs = ours.Adam(0.01, **options), keras.optimizers.Adam(0.01, **options)
        np.testing.assert_allclose(moved(mine, 30), moved(theirs, 30), rtol=2e-5)
    np.testing.assert_allclose(moved(ours.AdamW(0.01), 30), moved(keras.optimizers.AdamW(0.01), 30), rtol=2e-5)


def test_its_variables_are_those_of_the_adam_of_keras():
    variables = [keras.Variable(np.ones(shape, "float32")) for shape in ((2, 3), (3,))]
    for amsgrad in (False, True):
        mine, theirs = ours.Adam(amsgrad=amsgrad, name="a"), keras.optimizers.Adam(amsgrad=amsgrad, name="a")
        mine.build(variables)
        theirs.build(variables)
        assert [(x.path, x.shape, x.dtype) for x in mine.variables] == [
            (x.path, x.shape, x.dtype) for x in theirs.variables
        ]


@pytest.mark.parametrize("start", ["hold", "momentum"])
def test_weight_decay_rests_while_the_variables_do(start):
    optimizer = ours.RAdam(0.01, weight_decay=0.5, start=start)
    now = moved(optimizer, 5, g=(0.0, 0.0))  # rho_t is at most 5
    np.testing.assert_allclose(now, [1.0, -1.0] if start == "hold" else np.array([1, -1]) * 0.995**5, rtol=1e-6)
    held = ours.AdamW(0.01, weight_decay=0.5, warmup=SecondMomentOnly(3))
    np.testing.assert_allclose(moved(held, 4, g=(0.0, 0.0)), np.array([1, -1]) * 0.995, rtol=1e-6)


def test_variables_that_are_excluded_do_not_decay():
    optimizer = ours.AdamW(0.1, weight_decay=0.5, warmup=Linear(2))
    kernel, bias = (keras.Variable(np.ones(2, "float32"), name=name) for name in ("kernel", "bias"))
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    stepper(optimizer, [kernel, bias])([gradient(0, 0), gradient(0, 0)])
    np.testing.assert_allclose(values(kernel), 0.95, rtol=1e-6)
    np.testing.assert_array_equal(values(bias), 1)


def test_omega_multiplies_a_schedule():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.1, 0.2])
    # A constant gradient is a step of lr omega; the boundary is after step 2.
    np.testing.assert_allclose(
        moved(ours.Adam(schedule, warmup=Linear(4)), 3, g=(1, 1))[0], 1 - 0.025 - 0.05 - 0.15, rtol=1e-6
    )
    np.testing.assert_allclose(
        moved(ours.Adam(lambda: 0.1, warmup=Linear(4)), 2, g=(1, 1))[0], 1 - 0.025 - 0.05, rtol=1e-6
    )


def test_a_learning_rate_that_is_set_counts():
    optimizer = ours.Adam(1, warmup=Constant())
    optimizer.learning_rate = 0.25
    np.testing.assert_allclose(moved(optimizer, 1, g=(1, 1)), [0.75, -1.25], rtol=1e-5)


@pytest.mark.parametrize("number", [np.float32(0.25), np.array(0.25), np.float64(0.25)], ids=repr)
def test_a_learning_rate_may_be_a_number_of_any_type(number):
    optimizer = ours.Adam(number)
    np.testing.assert_allclose(moved(optimizer, 1, g=(1, 1)), [0.75, -1.25], rtol=1e-5)
    assert optimizer.get_config()["learning_rate"] == 0.25


@pytest.mark.parametrize("name", ["beta_1", "beta_2", "epsilon", "weight_decay"])
def test_an_option_that_is_set_counts(name):
    given = {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 0.1, "weight_decay": 0.2}[name]
    later = ours.Adam(0.1, warmup=UntunedLinear())
    setattr(later, name, given)
    np.testing.assert_allclose(moved(later, 5), moved(ours.Adam(0.1, warmup=UntunedLinear(), **{name: given}), 5))


@pytest.mark.parametrize("given", [Linear(100), OwnWarmup(), None], ids=repr)
def test_a_warmup_that_is_set_counts(given):
    later = ours.Adam(0.1, warmup=Linear(2))
    later.warmup = given
    np.testing.assert_array_equal(moved(later, 5), moved(ours.Adam(0.1, warmup=given), 5))


def test_a_warmup_that_is_set_is_checked():
    for given, words in (("linear", "warmup is 'linear'"), (GuardedLinear(10), "observes slopes of a run")):
        optimizer = ours.Adam(0.1, warmup=Linear(2))
        optimizer.warmup = given
        with pytest.raises(TypeError, match=words):
            moved(optimizer, 1)
    optimizer = ours.RAdam(0.1)
    optimizer.warmup = Linear(2)
    with pytest.raises(TypeError, match=r"it must be Rectified\. Use Adam for any other"):
        moved(optimizer, 1)
    optimizer.warmup = Rectified(start="hold")
    assert optimizer.get_config()["start"] == "hold"


class Long:
    """A user's warmup of this many steps."""

    def __init__(self, steps):
        self.steps = steps

    def omega(self, t, beta2):
        return min(1.0, t / self.steps)


@pytest.mark.parametrize("t", [65_000, 80_000, 99_999, 200_000])
def test_a_long_warmup_of_a_user_does_not_end_early(t):
    optimizer = ours.Adam(0.1, warmup=Long(100_000))
    variable = keras.Variable(np.zeros(1, "float32"))
    step = stepper(optimizer, [variable])
    optimizer.iterations.assign(t - 1)
    step([gradient(1)])
    plain = ours.Adam(0.1)
    other = keras.Variable(np.zeros(1, "float32"))
    step = stepper(plain, [other])
    plain.iterations.assign(t - 1)
    step([gradient(1)])
    np.testing.assert_allclose(values(variable) / values(other), min(1, t / 100_000), rtol=1e-5)


@pytest.fixture
def floatx():
    before = keras.config.floatx()
    yield keras.config.set_floatx
    keras.config.set_floatx(before)


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_with_a_floatx_of_16_bits_the_numbers_of_a_step_have_32(name, floatx):
    expected = moved(ours.RAdam(0.0625), 300)  # a learning rate that 16 bits hold
    later = moved_from(70_000)
    floatx(name)
    np.testing.assert_allclose(moved(ours.RAdam(0.0625), 300), expected, rtol=1e-5)
    np.testing.assert_allclose(moved_from(70_000), later, rtol=1e-5)


def moved_from(count):
    optimizer = ours.RAdam(0.0625, beta_2=0.9999)
    variable = keras.Variable(np.zeros(2, "float32"), dtype="float32")
    step = stepper(optimizer, [variable])
    optimizer.iterations.assign(count)
    step([gradient(1, -1)])
    return values(variable)


def test_with_gradient_accumulation_omega_counts_the_steps_of_the_optimizer():
    accumulating = ours.Adam(0.1, warmup=Linear(4), gradient_accumulation_steps=2)
    np.testing.assert_allclose(moved(accumulating, 1, g=(1, 1)), [1, -1])
    accumulating = ours.Adam(0.1, warmup=Linear(4), gradient_accumulation_steps=2)
    plain = ours.Adam(0.1, warmup=Linear(4))
    np.testing.assert_allclose(moved(accumulating, 6, g=(1, 1)), moved(plain, 3, g=(1, 1)), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_variables_have_moments_in_float32(dtype):
    optimizer = ours.Adam(0.01, warmup=UntunedLinear())
    variable = keras.Variable(np.ones(4), dtype=dtype)
    step = stepper(optimizer, [variable])
    for _ in range(1000):
        step([ops.convert_to_tensor(np.ones(4), dtype)])
    m, v = optimizer.variables[2:]
    assert variable.dtype == dtype
    assert m.dtype == v.dtype == "float32"
    np.testing.assert_allclose(values(v), 1 - 0.999**1000, rtol=1e-4)  # in bfloat16 it would stall below 0.5


def test_a_gradient_of_another_dtype_is_cast():
    variable = keras.Variable(np.ones(2, "float32"))
    optimizer = ours.Adam(0.1)
    stepper(optimizer, [variable])([ops.convert_to_tensor(np.ones(2), "bfloat16")])
    np.testing.assert_allclose(values(variable), 0.9, rtol=1e-6)


@pytest.mark.skipif(BACKEND != "torch", reason="layouts are torch's")
def test_a_gradient_or_a_variable_of_another_layout_steps_the_same():
    import torch

    expected = moved(ours.AdamW(0.1), 3, np.arange(6.0).reshape(2, 3), np.arange(6.0).reshape(2, 3) - 2)
    variable = keras.Variable(np.arange(6, dtype="float32").reshape(2, 3))
    optimizer = ours.AdamW(0.1)
    optimizer.build([variable])
    for _ in range(3):
        optimizer.apply([(torch.arange(6.0).reshape(2, 3) - 2).t().contiguous().t()], [variable])
    np.testing.assert_allclose(values(variable), expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["Adam", "AdamW", "RAdam"])
def test_zero_gradients_do_not_divide_by_zero(name):
    assert np.isfinite(moved(getattr(ours, name)(0.1, epsilon=0.0), 10, g=(0, 0))).all()


def test_a_loss_scale_skips_a_step_with_its_count():
    inner = ours.RAdam(0.1, start="hold")
    scaled = keras.optimizers.LossScaleOptimizer(inner, initial_scale=4.0)
    variable = keras.Variable(np.ones(2, "float32"))
    step = stepper(scaled, [variable])
    step([gradient(math.inf, 1)])
    assert int(inner.iterations) == 0
    for _ in range(6):
        step([gradient(2, 2)])
    assert int(inner.iterations) == 6
    alone = moved(ours.RAdam(0.1, start="hold"), 6, theta=(1, 1), g=(1, 1))
    np.testing.assert_allclose(values(variable), alone, rtol=1e-5)


def test_an_embedding_learns():
    model = keras.Sequential([keras.layers.Embedding(10, 4), keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile(optimizer=ours.AdamW(0.01, warmup=Linear(5)), loss="mse")
    x = np.arange(64).reshape(32, 2) % 10
    history = model.fit(x, x.sum(1, keepdims=True) / 10, epochs=30, verbose=0).history["loss"]
    assert history[-1] < history[0] / 3


def test_a_variable_without_a_gradient_rests():
    variables = [keras.Variable(np.ones(2, "float32")) for _ in range(2)]
    optimizer = ours.AdamW(0.1)
    optimizer.build(variables)
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        optimizer.apply([gradient(1, 1), None], variables)
    np.testing.assert_array_equal(values(variables[1]), 1)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="other backends have no variables besides Keras's")
def test_a_narrow_variable_of_tensorflow_learns():
    import tensorflow as tf

    variable = tf.Variable(np.ones(2), dtype=tf.bfloat16)
    optimizer = ours.Adam(0.1)
    optimizer.apply([tf.ones(2, tf.bfloat16)], [variable])
    np.testing.assert_allclose(variable.numpy().astype("float32"), 0.9, rtol=1e-2)


@pytest.mark.skipif(BACKEND != "torch", reason="the other backends always compile")
@pytest.mark.filterwarnings("default")  # dynamo warns of Keras's own functions
@pytest.mark.slow
def test_under_torch_compile_it_takes_the_same_steps():
    import torch

    paths = []
    for wrap in (lambda f: f, functools.partial(torch.compile, backend="eager")):  # inductor's import warns
        variable = keras.Variable(np.array([1.0, -1.0], "float32"))
        optimizer = ours.RAdam(0.1)
        optimizer.build([variable])
        step = wrap(lambda g, optimizer=optimizer, variable=variable: optimizer.apply([g], [variable]))
        for _ in range(8):
            step(gradient(0.5, 2.0))
        paths.append(values(variable))
    np.testing.assert_allclose(*paths, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"learning_rate": -1.0}, ValueError, "learning_rate is -1.0; it must be a number, 0 or more, a schedule"),
        ({"learning_rate": "0.1"}, ValueError, "learning_rate is '0.1'; it must be a number"),
        ({"learning_rate": keras.Variable(0.1)}, ValueError, "learning_rate is <Variable .* it must be a number"),
        ({"beta_1": 1.0}, ValueError, r"beta_1 is 1.0; it must be a number in \[0, 1\)"),
        ({"beta_1": None}, ValueError, r"beta_1 is None; it must be a number in \[0, 1\)"),
        ({"beta_2": 1.5}, ValueError, "beta2 is 1.5"),
        ({"epsilon": -1e-8}, ValueError, "epsilon is -1e-08; it must be a number, 0 or more"),
        ({"epsilon": None}, ValueError, "epsilon is None; it must be a number"),
        ({"weight_decay": -0.1}, ValueError, "weight_decay is -0.1; it must be a number, 0 or more, or None"),
        ({"weight_decay": math.nan}, ValueError, "weight_decay is nan; it must be a number"),
        ({"warmup": "linear"}, TypeError, "warmup is 'linear'"),
        ({"warmup": GuardedLinear(10)}, TypeError, "observes slopes of a run"),
        ({"warmup": Rectified(), "beta_2": 0.5}, ValueError, "never exceeds the threshold"),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_at_once(options, error, words):
    with pytest.raises(error, match=words):
        ours.Adam(**options)


def test_options_that_radam_has_not_are_named_with_the_way_out():
    with pytest.raises(TypeError, match=r"RAdam has no amsgrad: its warmup is Rectified. Use Adam"):
        ours.RAdam(amsgrad=True)
    with pytest.raises(TypeError, match="RAdam has no warmup"):
        ours.RAdam(warmup=Linear(3))
