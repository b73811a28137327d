"""Keras' variables: there and back, one count for all, accumulation, loss scaling; and a process with jax below."""

import dataclasses
import os
import subprocess
import sys

import pytest

keras = pytest.importorskip("keras")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from continued import equal  # noqa: E402

import rectified  # noqa: E402
import rectified.keras  # noqa: E402
from rectified.interchange import AdamState, from_keras, from_torch, to_keras, to_torch  # noqa: E402

pytestmark = pytest.mark.skipif(keras.backend.backend() != "torch", reason="another backend was chosen")
SHAPES = {"kernel": (3, 4), "bias": (4,), "gain": ()}


def variables(dtype="float32"):
    rng = np.random.default_rng(0)
    return [keras.Variable(rng.standard_normal(shape), name=name, dtype=dtype) for name, shape in SHAPES.items()]


def built(make, **options):
    optimizer = make(0.01, **options)
    there = variables()
    optimizer.build(there)
    return optimizer, there


def train(optimizer, there, steps, seed=1):
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        optimizer.apply([keras.ops.convert_to_tensor(rng.standard_normal(v.shape), v.dtype) for v in there], there)


def values(of):
    return [keras.ops.convert_to_tensor(v).detach().clone() for v in of]


def snapshot(optimizer):
    return [x.tolist() for x in values(optimizer.variables)]


KINDS = {
    "Adam": (keras.optimizers.Adam, {}),
    "AdamW": (keras.optimizers.AdamW, {"weight_decay": 0.1}),
    "Adam, amsgrad": (keras.optimizers.Adam, {"amsgrad": True}),
    "AdamW, amsgrad": (keras.optimizers.AdamW, {"amsgrad": True}),
    "rectified's AdamW, amsgrad": (rectified.keras.AdamW, {"weight_decay": 0.1, "amsgrad": True}),
    "rectified's RAdam": (rectified.keras.RAdam, {}),
    "accumulating": (keras.optimizers.Adam, {"gradient_accumulation_steps": 3}),
    "a schedule": (lambda lr, **options: keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(lr, 30)), {}),
    "scaled": (lambda lr: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(lr), initial_scale=1.0), {}),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_run_continues_bit_for_bit(name, tmp_path):
    make, options = KINDS[name]
    optimizer, there = built(make, **options)
    train(optimizer, there, 9)
    from_keras(optimizer).save(tmp_path / "adam.npz")
    state = AdamState.load(tmp_path / "adam.npz")
    assert state.counts == dict.fromkeys(SHAPES, 3 if name == "accumulating" else 9)
    assert bool(state.v_max) == ("amsgrad" in name)
    other, twins = built(make, **options)
    for mine, v in zip(twins, there, strict=True):
        mine.assign(v)
    to_keras(state, other)
    train(optimizer, there, 6, seed=2)
    train(other, twins, 6, seed=2)
    assert all(torch.equal(a, b) for a, b in zip(values(there), values(twins), strict=True))
    assert equal(from_keras(optimizer), from_keras(other))


@pytest.mark.parametrize("amsgrad", [False, True])
def test_to_torch_and_back_no_bit_changes(amsgrad):
    optimizer, there = built(keras.optimizers.Adam, amsgrad=amsgrad)
    train(optimizer, there, 5)
    state = from_keras(optimizer)
    params = {v.path: torch.nn.Parameter(v.value.detach().clone()) for v in there}
    ours = rectified.Adam(list(params.values()), amsgrad=amsgrad)
    to_torch(state, ours, params)
    other, _ = built(keras.optimizers.Adam, amsgrad=amsgrad)
    to_keras(from_torch(ours, params), other)
    assert equal(from_keras(other), state)


def test_an_accumulation_that_is_not_finished_is_refused_and_starts_again():
    optimizer, there = built(keras.optimizers.Adam, gradient_accumulation_steps=3)
    train(optimizer, there, 3)
    state = from_keras(optimizer)
    train(optimizer, there, 2)
    with pytest.raises(ValueError, match="has accumulated 2 of 3 gradients"):
        from_keras(optimizer)
    to_keras(state, optimizer)
    assert equal(from_keras(optimizer), state)
    assert not any(x.value.any() for x in optimizer._accumulated_gradients)


@pytest.mark.parametrize("kind", [keras.optimizers.Adam, rectified.keras.Adam])
def test_16_bits(kind):
    there = variables("bfloat16")
    optimizer = kind(0.01)
    optimizer.build(there)
    train(optimizer, there, 3)
    state = from_keras(optimizer)
    assert state.m["kernel"].dtype == np.float32
    train(optimizer, there, 1)
    to_keras(state, optimizer)
    assert equal(from_keras(optimizer), state)
    assert optimizer._momentums[0].dtype == ("bfloat16" if kind is keras.optimizers.Adam else "float32")


def test_a_state_is_a_copy():
    optimizer, there = built(keras.optimizers.Adam)
    train(optimizer, there, 2)
    state = from_keras(optimizer)
    before = state.m["kernel"].copy()
    to_keras(state, optimizer)
    train(optimizer, there, 1)
    assert np.array_equal(state.m["kernel"], before)


REFUSED = {
    "missing": (lambda state: state.renamed({"bias": None}), "the state lacks 'bias'"),
    "superfluous": (lambda state: state | state.renamed({"bias": "z"}), r"the optimizer \(Adam\) lacks 'z'"),
    "transposed": (lambda state: state.mapped(lambda name, x: x.T), r"'kernel' is \(4, 3\) and has to be \(3, 4\)"),
    "complex": (lambda state: state.mapped(lambda name, x: x + 0j), "complex in one and real in the other"),
    "amsgrad": (lambda state: dataclasses.replace(state, v_max=state.v), "has amsgrad=False"),
    "counts": (
        lambda state: dataclasses.replace(state, counts={**state.counts, "bias": 2}),
        "Keras counts steps once for all parameters, and the state has 2 for 'bias', 4 for 'kernel'",
    ),
    "too many": (
        lambda state: dataclasses.replace(state, counts=dict.fromkeys(state.counts, 2**31)),
        "2,147,483,648 steps, which is more than Keras counts",
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_state_that_does_not_fit_changes_nothing(why):
    change, says = REFUSED[why]
    optimizer, there = built(keras.optimizers.Adam)
    train(optimizer, there, 4)
    state = change(from_keras(optimizer))
    train(optimizer, there, 1)
    before = snapshot(optimizer)
    with pytest.raises(ValueError, match=says):
        to_keras(state, optimizer)
    assert snapshot(optimizer) == before


def test_amsgrad_needs_its_v_max():
    optimizer, there = built(keras.optimizers.Adam)
    train(optimizer, there, 1)
    other, _ = built(keras.optimizers.Adam, amsgrad=True)
    with pytest.raises(ValueError, match="the state has no v_max of 'kernel', 'bias', 'gain'"):
        to_keras(from_keras(optimizer), other)


@pytest.mark.parametrize("make", [keras.optimizers.SGD, keras.optimizers.Nadam, keras.optimizers.Lamb])
def test_another_method_is_refused(make):
    optimizer, _ = built(make)
    with pytest.raises(TypeError, match=r"is not an Adam or AdamW of keras\.optimizers"):
        from_keras(optimizer)


def test_a_schedule_is_refused_as_another_method():
    with pytest.raises(TypeError, match="WarmupSchedule is not an Adam or AdamW"):
        from_keras(rectified.keras.WarmupSchedule(rectified.warmup.Linear(3)))


def test_an_optimizer_without_variables_is_refused_with_the_way_out():
    for refused in (from_keras, lambda optimizer: to_keras(AdamState({}, {}, {}), optimizer)):
        with pytest.raises(ValueError, match=r"is not built.*optimizer\.build\(model\.trainable_variables\)"):
            refused(keras.optimizers.Adam(0.01))


def test_two_variables_with_the_same_path_are_refused():
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.build([keras.Variable([1.0], name="same"), keras.Variable([2.0], name="same")])
    with pytest.raises(ValueError, match="several variables have the path 'same'"):
        from_keras(optimizer)


WITH_JAX = """
import sys
import keras, numpy as np
assert keras.backend.backend() == "jax"
from rectified.interchange import AdamState, from_keras, to_keras
model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="head")], name="mlp")
optimizer = keras.optimizers.Adam(0.01)
optimizer.build(model.trainable_variables)
state = AdamState.load(sys.argv[1])
to_keras(state, optimizer)
again = from_keras(optimizer)
assert again.counts == state.counts
assert all(np.array_equal(x, state.m[name]) for name, x in again.m.items())
kept = {name: x.copy() for name, x in state.m.items()}
model.compile(optimizer=optimizer, loss="mse")
model.fit(np.ones((8, 3), np.float32), np.ones((8, 2), np.float32), batch_size=4, epochs=2, verbose=0)
assert all(np.array_equal(x, state.m[name]) for name, x in kept.items())
from_keras(optimizer).save(sys.argv[2])
assert "torch" not in sys.modules
"""


@pytest.mark.slow
def test_a_file_from_torch_continues_in_keras_on_jax_and_back(tmp_path):
    pytest.importorskip("jax")
    model = torch.nn.Linear(3, 2)
    optimizer = rectified.Adam(model.parameters())
    model(torch.ones(4, 3)).pow(2).sum().backward()
    optimizer.step()
    names = {"weight": "mlp/head/kernel", "bias": "mlp/head/bias"}
    state = from_torch(optimizer, model)
    state.renamed(names).mapped(lambda name, x: x.T).save(tmp_path / "there.npz")
    done = subprocess.run(
        [sys.executable, "-c", WITH_JAX, str(tmp_path / "there.npz"), str(tmp_path / "back.npz")],
        env={**os.environ, "KERAS_BACKEND": "jax", "XLA_FLAGS": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    back = AdamState.load(tmp_path / "back.npz")
    assert back.counts == dict.fromkeys(names.values(), 5)
    to_torch(back.renamed({new: old for old, new in names.items()}).mapped(lambda name, x: x.T), optimizer, model)
    assert rectified.explain(optimizer)[0].t == 6
