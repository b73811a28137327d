"""The code of docs/interchange.md prints what the page shows."""

import pytest

pytest.importorskip("optax", reason="pip install 'rectified[jax]'")
keras = pytest.importorskip("keras")

import torch  # noqa: E402

import pages  # noqa: E402


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="another backend was chosen")
def test_the_code_of_the_page_prints_what_it_shows():
    names = pages.run("interchange.md", {})
    assert names["adam"].iterations == 30
    moments = names["optimizer"].state[names["model"][0].weight]
    assert torch.equal(moments["exp_avg"], torch.tensor(names["back"].m["0.weight"].T))
