"""Configurations, names and saved models: an optimizer, a schedule and a run continue from what Keras saved."""

import copy
import json
import pickle

import pytest

keras = pytest.importorskip("keras")

import numpy as np  # noqa: E402

import rectified.keras as ours  # noqa: E402
from keras_twins import PAIRS, values  # noqa: E402
from rectified.warmup import Linear, Rectified, SecondMomentOnly, UntunedLinear, Warmup  # noqa: E402
from roster import OwnWarmup  # noqa: E402


@keras.saving.register_keras_serializable("tests")
class Saved(Warmup):
    """A user's warmup that Keras can save."""

    def __init__(self, steps):
        self.steps = steps

    def omega(self, t, beta2):
        return min(1.0, (t / self.steps) ** 2)

    def get_config(self):
        return {"steps": self.steps}

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def __repr__(self):
        return f"Saved({self.steps})"


@keras.saving.register_keras_serializable("tests")
class SavedObject:
    """One that Keras can save, and that is no Warmup."""

    def __init__(self, steps):
        self.steps = steps

    def omega(self, t, beta2):
        return min(1.0, t / self.steps)

    def get_config(self):
        return {"steps": self.steps}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


class OtherRAdam(keras.optimizers.Optimizer):
    """A user's optimizer whose class has the name of one here."""

    def update_step(self, gradient, variable, learning_rate):
        self.assign(variable, variable - learning_rate * gradient)


OtherRAdam.__name__ = "RAdam"


def data(n=256):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 3)).astype("float32")
    return x, (np.sin(2 * x[:, :1]) * x[:, 1:2]).astype("float32")


def model(optimizer):
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(16, activation="tanh"), keras.layers.Dense(1)])
    network.compile(optimizer=optimizer, loss="mse")
    return network


def fit(network, epochs):
    return network.fit(*data(), epochs=epochs, batch_size=64, shuffle=False, verbose=0).history["loss"]


SAVES = [name for name in PAIRS if "own" not in name]


@pytest.mark.parametrize("name", SAVES)
def test_a_configuration_makes_the_same_optimizer(name):
    optimizer = PAIRS[name].keras(clipnorm=1.0, name="mine")
    config = json.loads(json.dumps(optimizer.get_config()))
    again = type(optimizer).from_config(config)
    assert again.get_config() == optimizer.get_config()
    assert again.warmup == optimizer.warmup
    saved = json.loads(json.dumps(keras.optimizers.serialize(optimizer)))
    assert type(keras.optimizers.deserialize(saved)) is type(optimizer)


@pytest.mark.parametrize("name", SAVES)
def test_a_configuration_has_an_argument_of_the_constructor_for_each_key(name):
    optimizer = PAIRS[name].keras()
    assert type(optimizer)(**optimizer.get_config()).get_config() == optimizer.get_config()


@pytest.mark.parametrize("name", ["radam", "rectified>RAdam", "rectified>Adam", "rectified>AdamW"])
def test_compile_finds_it_by_name(name):
    network = model(name)
    assert type(network.optimizer) is getattr(ours, {"radam": "RAdam"}.get(name, name.split(">")[-1]))
    assert np.isfinite(fit(network, 1)).all()


def test_the_names_of_keras_stay_its_own():
    for name in ("adam", "Adam", "adamw", "AdamW"):
        assert type(keras.optimizers.get(name)).__module__.startswith("keras.")


def test_a_class_of_a_user_with_the_name_of_one_here_is_loaded(tmp_path):
    network = model(OtherRAdam(0.1))
    network.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", custom_objects={"RAdam": OtherRAdam})
    assert type(loaded.optimizer) is OtherRAdam


SCHEDULES = [
    0.01,
    keras.optimizers.schedules.CosineDecay(0.01, 30),
    ours.WarmupSchedule(UntunedLinear(), keras.optimizers.schedules.ExponentialDecay(0.01, 10, 0.9), 0.98),
]


@pytest.mark.parametrize("lr", SCHEDULES, ids=["number", "cosine", "warmup"])
@pytest.mark.parametrize(
    "make",
    [
        lambda lr: ours.RAdam(lr),
        lambda lr: ours.AdamW(lr, warmup=Linear(12)),
        lambda lr: ours.Adam(lr, warmup=Rectified("exact", start="hold"), amsgrad=True),
        lambda lr: ours.Adam(lr, warmup=SecondMomentOnly(3)),
        lambda lr: ours.Adam(lr, warmup=Saved(9)),
        lambda lr: ours.Adam(lr, warmup=SavedObject(9)),
        lambda lr: keras.optimizers.Lion(ours.WarmupSchedule(Rectified(), 0.001)),
    ],
    ids=["radam", "adamw", "amsgrad", "second-moment-only", "own", "object", "schedule"],
)
def test_a_loaded_model_continues_as_if_it_had_not_stopped(make, lr, tmp_path):
    network = model(make(lr))
    fit(network, 2)
    network.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.optimizer) is type(network.optimizer)
    assert int(loaded.optimizer.iterations) == 8
    assert fit(loaded, 3) == fit(network, 3)
    for a, b in zip(loaded.optimizer.variables, network.optimizer.variables, strict=True):
        np.testing.assert_array_equal(values(a), values(b))


def test_a_state_of_the_adam_of_keras_continues_here(tmp_path):
    theirs = model(keras.optimizers.Adam(0.01))
    fit(theirs, 2)
    theirs.save_weights(tmp_path / "run.weights.h5")
    mine = model(ours.Adam(0.01))
    mine.optimizer.build(mine.trainable_variables)
    mine.load_weights(tmp_path / "run.weights.h5")
    assert int(mine.optimizer.iterations) == 8
    np.testing.assert_allclose(fit(mine, 3), fit(theirs, 3), rtol=1e-4)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"])
@pytest.mark.parametrize("warmup", [Linear(9), Rectified("ema"), OwnWarmup()], ids=repr)
def test_a_copy_of_a_schedule_is_the_same(warmup, copied):
    schedule = ours.WarmupSchedule(warmup, 0.1, 0.99)
    assert [float(copied(schedule)(i)) for i in range(8)] == [float(schedule(i)) for i in range(8)]


def test_a_copy_of_a_model_continues_as_the_model():
    network = model(ours.RAdam(0.01))
    fit(network, 2)
    copied = pickle.loads(pickle.dumps(network))
    assert fit(copied, 2) == fit(network, 2)


def test_a_cloned_model_gets_an_optimizer_of_its_own():
    network = model(ours.RAdam(0.01, variance="exact"))
    clone = keras.models.clone_model(network)
    clone.compile(optimizer=type(network.optimizer).from_config(network.optimizer.get_config()), loss="mse")
    assert clone.optimizer.warmup == Rectified("exact")


def test_a_warmup_that_keras_cannot_save_is_named_with_the_way_out():
    with pytest.raises(TypeError, match=r"get_config\(\) that returns its arguments and a from_config"):
        ours.Adam(warmup=OwnWarmup()).get_config()
    with pytest.raises(ValueError, match="the saved warmup is"):
        ours.Adam.from_config({**ours.Adam().get_config(), "warmup": {"name": "Cosine", "steps": 3}})


@pytest.mark.parametrize("learning_rate", SCHEDULES[:2], ids=["number", "cosine"])
@pytest.mark.parametrize("warmup", [Linear(9), Rectified("ema"), Saved(4)], ids=repr)
def test_a_schedule_is_saved_and_made_again(warmup, learning_rate):
    schedule = ours.WarmupSchedule(warmup, learning_rate, 0.99, on_zero="hold", gradient_accumulation_steps=2)
    saved = json.loads(json.dumps(keras.saving.serialize_keras_object(schedule)))
    again = keras.saving.deserialize_keras_object(saved)
    assert again.get_config() == schedule.get_config()
    assert [float(again(i)) for i in range(8)] == [float(schedule(i)) for i in range(8)]
