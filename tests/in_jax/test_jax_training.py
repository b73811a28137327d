"""One small training in torch and in jax, from the same weights on the same data, ends in the same loss."""

import pytest

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

import pages  # noqa: E402
import rectified.jax as ours  # noqa: E402
from rectified.warmup import UntunedLinear  # noqa: E402
from small_training import STEPS, data, losses_in_torch  # noqa: E402

IN_JAX = {
    "adamw": lambda: ours.adamw(1e-2, b2=0.98, weight_decay=0.01, warmup=UntunedLinear()),
    "radam": lambda: ours.radam(1e-2, variance="exact"),
}


def losses_in_jax(make, dtype):
    x, y, params = data(dtype)
    optimizer = make()

    def loss_of(params):
        w1, b1, w2, b2 = params
        return ((jnp.tanh(x @ w1 + b1) @ w2 + b2 - y) ** 2).mean()

    def step(carry, _):
        params, state = carry
        loss, grads = jax.value_and_grad(loss_of)(params)
        updates, state = optimizer.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), loss

    params = [jnp.asarray(w) for w in params]
    carry = params, optimizer.init(params)
    return np.asarray(jax.jit(lambda carry: jax.lax.scan(step, carry, length=STEPS))(carry)[1])


@pytest.mark.parametrize(
    ("name", "dtype", "close"),
    [
        ("adamw", "float32", 2e-5),
        pytest.param("radam", "float64", 1e-12, marks=pytest.mark.slow),
        pytest.param("radam", "float32", 5e-6, marks=pytest.mark.slow),
        pytest.param("adamw", "float64", 1e-12, marks=pytest.mark.slow),
    ],
)
def test_the_losses_are_the_same_to_rounding(name, dtype, close):
    with jax.enable_x64(dtype == "float64"):
        found = losses_in_jax(IN_JAX[name], dtype)
        assert found.dtype == dtype
    expected = losses_in_torch(name, dtype)
    np.testing.assert_allclose(found, expected, rtol=close)
    assert expected[-1] < expected[0] / 3


def test_the_code_of_the_page_prints_what_it_shows():
    assert "optimizer" in pages.run("jax.md", {})
