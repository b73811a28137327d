"""One small training in torch and in Keras, from the same weights on the same data, ends in the same loss."""

import inspect
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

keras = pytest.importorskip("keras")

import numpy as np  # noqa: E402

import pages  # noqa: E402
import rectified.keras as ours  # noqa: E402
from keras_twins import BACKEND  # noqa: E402
from rectified.warmup import UntunedLinear  # noqa: E402
from small_training import STEPS, data, losses_in_torch  # noqa: E402

TORCH_EPS = {"epsilon": 1e-8, "eps_hat": False}
IN_KERAS = {
    "adamw": lambda: ours.AdamW(1e-2, 0.01, beta_2=0.98, warmup=UntunedLinear(), **TORCH_EPS),
    "radam": lambda: ours.RAdam(1e-2, variance="exact", epsilon=1e-8),
}


@pytest.mark.parametrize("name", IN_KERAS)
def test_the_losses_are_the_same_to_rounding(name):
    x, y, weights = data("float32")
    dense = keras.layers.Dense
    model = keras.Sequential([keras.Input((3,)), dense(32, activation="tanh"), dense(1)])
    model.set_weights(weights)
    model.compile(optimizer=IN_KERAS[name](), loss="mse")
    history = model.fit(x, y, batch_size=len(x), epochs=STEPS, shuffle=False, verbose=0).history["loss"]
    expected = losses_in_torch(name, "float32")
    np.testing.assert_allclose(history, expected, rtol=2e-5)
    assert expected[-1] < expected[0] / 3


def test_the_code_of_the_page_runs():
    assert "model" in pages.run("keras.md", {})


@pytest.mark.parametrize("name", ["Adam", "AdamW", "RAdam"])
def test_the_reference_has_the_arguments_that_keras_hides_from_sphinx(name):
    arguments = list(inspect.signature(getattr(ours, name).__init__).parameters.values())[1:]
    plain = inspect.Signature([x.replace(annotation=inspect.Parameter.empty) for x in arguments])
    page = (pages.DOCS / "reference" / "keras.md").read_text(encoding="utf-8")
    assert f".. autoclass:: rectified.keras.{name}{plain}\n" in page


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "torch" or find_spec("jax") is None, reason="from here the other backend is jax")
def test_all_of_this_holds_on_jax():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(Path(__file__).parent)],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " failed" not in done.stdout
