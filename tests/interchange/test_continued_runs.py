"""A run that changes the framework after half of its steps ends where the uninterrupted run does, to round-off."""

from functools import cache, partial

import pytest

optax = pytest.importorskip("optax", reason="pip install 'rectified[jax]'")
keras = pytest.importorskip("keras")

import torch  # noqa: E402
from continued import BETAS, EPS, STEPS, SWITCH, WEIGHT_DECAY, InJax, InKeras, InTorch, distance, start  # noqa: E402

import rectified  # noqa: E402
import rectified.jax  # noqa: E402
import rectified.keras  # noqa: E402
from rectified.interchange import AdamState  # noqa: E402
from rectified.warmup import Linear, UntunedLinear  # noqa: E402

if keras.backend.backend() != "torch":
    pytest.skip("another backend of Keras was chosen", allow_module_level=True)

CLOSE = 4e-6  # some units in the last place: the frameworks' own runs differ by as much


def ours(kind, **options):
    return partial(InTorch, lambda params, lr: kind(params, lr, BETAS, EPS, **options))


def optax_of(kind, **options):
    return partial(InJax, lambda lr: kind(lr, *BETAS, EPS, **options))


def keras_of(kind, **options):
    options = {"beta_1": BETAS[0], "beta_2": BETAS[1], "epsilon": EPS, **options}
    return partial(InKeras, lambda lr: kind(lr, **options))


# The same optimizer in every framework that has it. Keras adds eps before the bias correction.
ROSTER = {
    "adam": {
        "torch.optim": ours(torch.optim.Adam),
        "rectified": ours(rectified.Adam),
        "rectified.jax": optax_of(rectified.jax.adam),
        "optax": optax_of(optax.adam),
        "rectified.keras": keras_of(rectified.keras.Adam, eps_hat=False),
    },
    "adam+eps-hat": {
        "rectified": ours(rectified.Adam, eps_hat=True),
        "rectified.jax": optax_of(rectified.jax.adam, eps_hat=True),
        "keras": keras_of(keras.optimizers.Adam),
        "rectified.keras": keras_of(rectified.keras.Adam),
    },
    "adam-amsgrad": {
        "torch.optim": ours(torch.optim.Adam, amsgrad=True),
        "rectified": ours(rectified.Adam, amsgrad=True),
    },
    "adam-amsgrad+eps-hat": {
        "rectified": ours(rectified.Adam, amsgrad=True, eps_hat=True),
        "keras": keras_of(keras.optimizers.Adam, amsgrad=True),
        "rectified.keras": keras_of(rectified.keras.Adam, amsgrad=True),
    },
    "adamw": {
        "torch.optim": ours(torch.optim.AdamW, weight_decay=WEIGHT_DECAY),
        "rectified": ours(rectified.AdamW, weight_decay=WEIGHT_DECAY),
        "rectified.jax": optax_of(rectified.jax.adamw, weight_decay=WEIGHT_DECAY),
    },
    "adamw+eps-hat": {
        "rectified": ours(rectified.AdamW, weight_decay=WEIGHT_DECAY, eps_hat=True),
        "rectified.jax": optax_of(rectified.jax.adamw, weight_decay=WEIGHT_DECAY, eps_hat=True),
        "keras": keras_of(keras.optimizers.AdamW, weight_decay=WEIGHT_DECAY),
    },
    "adamw+linear": {  # the warmup is at 2/3 at the switch
        "rectified": ours(rectified.AdamW, weight_decay=WEIGHT_DECAY, warmup=Linear(45)),
        "rectified.jax": optax_of(rectified.jax.adamw, weight_decay=WEIGHT_DECAY, warmup=Linear(45)),
        "rectified.keras": keras_of(rectified.keras.AdamW, weight_decay=WEIGHT_DECAY, warmup=Linear(45), eps_hat=False),
    },
    "adam+untuned-linear": {
        "rectified": ours(rectified.Adam, warmup=UntunedLinear()),
        "rectified.jax": optax_of(rectified.jax.adam, warmup=UntunedLinear()),
    },
    "radam": {
        "torch.optim": ours(torch.optim.RAdam),
        "rectified": ours(rectified.RAdam),
        "rectified.jax": optax_of(rectified.jax.radam),
        "rectified.keras": keras_of(rectified.keras.RAdam),
    },
}
PAIRS = [(method, a, b) for method, frameworks in ROSTER.items() for a in frameworks for b in frameworks if a != b]
QUICK = "adamw+linear"  # the method that the default tests change frameworks with


@cache
def uninterrupted(method, framework):
    return ROSTER[method][framework](start()).run(0, STEPS).weights()


@cache
def half(method, framework):
    """The state and the weights after half of the steps."""
    run = ROSTER[method][framework](start()).run(0, SWITCH)
    return run.state(), run.weights()


@pytest.mark.parametrize(
    ("method", "first", "then"),
    [pytest.param(*pair, marks=() if pair[0] == QUICK else pytest.mark.slow) for pair in PAIRS],
)
def test_a_run_ends_where_the_uninterrupted_one_does(tmp_path, method, first, then):
    state, weights = half(method, first)
    state.save(tmp_path / "adam.npz")
    rest = ROSTER[method][then](weights).load(AdamState.load(tmp_path / "adam.npz")).run(SWITCH, STEPS)
    for whole in (first, then):
        assert distance(rest.weights(), uninterrupted(method, whole)) < CLOSE
    assert set(rest.state().counts.values()) == {STEPS}


@pytest.mark.parametrize("method", ["adam", "radam"])
def test_without_the_state_it_ends_elsewhere(method):
    """By far more than the tests above allow, so that they would notice a state that is lost."""
    rest = ROSTER[method]["rectified"](half(method, "rectified")[1]).run(SWITCH, STEPS)
    assert distance(rest.weights(), uninterrupted(method, "rectified")) > 1000 * CLOSE


def test_the_names_of_the_roster_exist_in_every_framework():
    assert {framework for frameworks in ROSTER.values() for framework in frameworks} == {
        "torch.optim",
        "rectified",
        "optax",
        "rectified.jax",
        "keras",
        "rectified.keras",
    }
