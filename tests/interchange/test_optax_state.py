"""Where Adam's state is inside an optax state, which counts are set, and what is refused."""

import dataclasses

import pytest

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax", reason="pip install 'rectified[jax]'")

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from continued import equal  # noqa: E402

import rectified  # noqa: E402
import rectified.jax as ours  # noqa: E402
from rectified.interchange import AdamState, from_optax, from_torch, to_optax, to_torch  # noqa: E402
from rectified.warmup import Linear  # noqa: E402

PARAMS = {"layers": [{"w": jnp.ones((3, 2)), "b": jnp.zeros(2)}, {"w": jnp.ones((2, 1))}], "scale": jnp.ones(())}
NAMES = ["layers.0.b", "layers.0.w", "layers.1.w", "scale"]
DECAYS = {"layers": [{"w": True, "b": False}, {"w": True}], "scale": False}
SCHEDULE = optax.exponential_decay(1e-2, 1, 0.9)


def gradient(t):
    rng = np.random.default_rng(t)
    return jax.tree.map(lambda p: jnp.asarray(rng.standard_normal(p.shape) + 0.3, jnp.float32), PARAMS)


def run(optimizer, params, opt_state, first, last):
    update = jax.jit(optimizer.update)
    for t in range(first, last):
        updates, opt_state = update(gradient(t), opt_state, params)
        params = optax.apply_updates(params, updates)
    return params, opt_state


def _labels(params):
    return jax.tree.map(lambda decays: "yes" if decays else "no", DECAYS)


def _in_parts(make):
    return optax.partition({"yes": make(0.1), "no": make(0.0)}, _labels)


OPTIMIZERS = {
    "optax.adam": lambda: optax.adam(SCHEDULE),
    "optax.adamw": lambda: optax.adamw(SCHEDULE, weight_decay=0.1),
    "optax.radam": lambda: optax.radam(SCHEDULE),
    "optax.nadam": lambda: optax.nadam(1e-2),
    "adam": lambda: ours.adam(SCHEDULE, warmup=Linear(9)),
    "adamw": lambda: ours.adamw(SCHEDULE, weight_decay=optax.linear_schedule(0.1, 0.5, 20), mask=DECAYS),
    "radam": lambda: ours.radam(SCHEDULE),
    "per leaf": lambda: ours.adamw(SCHEDULE, warmup=Linear(9), per_leaf_count=True),
    "bare": lambda: ours.scale_by_adam(),
    "clipped": lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-2)),
    "warmed": lambda: optax.chain(optax.scale_by_adam(), ours.scale_by_warmup(Linear(9)), optax.scale(-0.01)),
    "decayed": lambda: optax.chain(
        optax.scale_by_adam(), optax.add_decayed_weights(SCHEDULE), optax.scale_by_learning_rate(SCHEDULE)
    ),
    "injected": lambda: optax.inject_hyperparams(ours.radam, static_args=("b2", "threshold"))(SCHEDULE),
    "injected twice": lambda: optax.inject_hyperparams(
        lambda learning_rate: optax.chain(
            optax.inject_hyperparams(optax.scale_by_adam)(b1=optax.linear_schedule(0.9, 0.5, 20)),
            optax.scale_by_learning_rate(learning_rate),
        )
    )(SCHEDULE),
    "masked": lambda: optax.masked(ours.adam(SCHEDULE), jax.tree.map(lambda _: True, PARAMS)),
    "in parts": lambda: _in_parts(lambda decay: optax.adamw(SCHEDULE, weight_decay=decay)),
    "finite": lambda: optax.apply_if_finite(optax.adam(SCHEDULE), 5),
    "every": lambda: optax.MultiSteps(ours.adam(SCHEDULE), 1),
}
every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


@every_optimizer
def test_a_state_goes_into_a_new_one_and_the_run_continues_bit_for_bit(name, tmp_path):
    optimizer = OPTIMIZERS[name]()
    params, opt_state = run(optimizer, PARAMS, optimizer.init(PARAMS), 0, 6)
    state = from_optax(opt_state, params)
    assert list(state.m) == NAMES
    assert set(state.counts.values()) == {6}
    state.save(tmp_path / "adam.npz")
    new = to_optax(AdamState.load(tmp_path / "adam.npz"), optimizer.init(params), params)
    for a, b in zip(jax.tree.leaves(new), jax.tree.leaves(opt_state), strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
    assert jax.tree.structure(new) == jax.tree.structure(opt_state)
    whole, _ = run(optimizer, params, opt_state, 6, 12)
    parts, last = run(optimizer, params, new, 6, 12)
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True))
    assert from_optax(last, params).steps == 12


@every_optimizer
def test_a_state_that_is_read_and_put_is_the_same(name):
    optimizer = OPTIMIZERS[name]()
    opt_state = optimizer.init(PARAMS)
    rng = np.random.default_rng(0)
    draw = lambda: {n: rng.uniform(size=p.shape).astype(np.float32) for n, p in named(PARAMS).items()}  # noqa: E731
    state = AdamState(draw(), draw(), dict.fromkeys(NAMES, 30))
    before = [np.array(x) for x in jax.tree.leaves(opt_state)]
    assert equal(from_optax(to_optax(state, opt_state, PARAMS), PARAMS), state)
    assert all(np.array_equal(a, b) for a, b in zip(before, jax.tree.leaves(opt_state), strict=True)), "unchanged"


def named(tree):
    return {jax.tree_util.keystr(path, simple=True, separator="."): x for path, x in jax.tree.leaves_with_path(tree)}


def ones(counts=30):
    shapes = {name: np.ones(p.shape, np.float32) for name, p in named(PARAMS).items()}
    return AdamState(shapes, shapes, dict.fromkeys(shapes, counts) if isinstance(counts, int) else counts)


def test_from_torch_and_back_to_torch_no_bit_changes():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2, bias=False))
    optimizer = rectified.AdamW(model.parameters())
    for _ in range(5):
        for p in model.parameters():
            p.grad = torch.randn_like(p)
        optimizer.step()
    params = {"0": {"weight": jnp.ones((3, 4)), "bias": jnp.ones(4)}, "1": {"weight": jnp.ones((4, 2))}}
    state = from_torch(optimizer, model)
    opt_state = to_optax(state.mapped(lambda name, x: x.T), ours.adamw(1e-3).init(params), params)
    again = from_optax(opt_state, params).mapped(lambda name, x: x.T)
    assert equal(again, state)
    other = torch.optim.AdamW(model.parameters())
    to_torch(again, other, model)
    for p in model.parameters():
        for name, x in optimizer.state[p].items():
            assert torch.equal(other.state[p][name], x), name


def test_the_layout_of_a_convolution_is_that_of_the_page():
    """Two layers with a moment in each element's own place: a step in jax is the step in torch."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(2, 3, (3, 2)), torch.nn.Flatten(), torch.nn.Linear(3, 4))
    x, y = torch.randn(8, 2, 3, 2), torch.randn(8, 4)
    optimizer = rectified.Adam(model.parameters(), lr=0.01)

    def step_in_torch():
        optimizer.zero_grad()
        ((model(x) - y) ** 2).mean().backward()
        optimizer.step()

    def in_jax(name, x):
        return x.transpose(2, 3, 1, 0) if x.ndim == 4 else x.T

    for _ in range(5):
        step_in_torch()
    params = {name: jnp.asarray(in_jax(name, p.detach().numpy())) for name, p in model.named_parameters()}
    tx = ours.adam(0.01)
    opt_state = to_optax(from_torch(optimizer, model).mapped(in_jax), tx.init(params), params)

    def loss_of(params):
        image = jnp.asarray(x.numpy().transpose(0, 2, 3, 1))
        form = ("NHWC", "HWIO", "NHWC")
        hidden = jax.lax.conv_general_dilated(image, params["0.weight"], (1, 1), "VALID", dimension_numbers=form)
        hidden = (hidden + params["0.bias"]).reshape(8, 3)
        return ((hidden @ params["2.weight"] + params["2.bias"] - y.numpy()) ** 2).mean()

    for _ in range(5):
        step_in_torch()
        updates, opt_state = tx.update(jax.grad(loss_of)(params), opt_state, params)
        params = optax.apply_updates(params, updates)
    for name, p in model.named_parameters():
        np.testing.assert_allclose(params[name], in_jax(name, p.detach().numpy()), rtol=1e-5, atol=1e-6)


def test_one_adam_of_a_part_has_the_names_of_the_whole():
    optimizer = optax.partition({"yes": ours.adamw(1e-2), "no": optax.set_to_zero()}, _labels)
    opt_state = optimizer.init(PARAMS)
    assert list(from_optax(opt_state, PARAMS).m) == ["layers.0.w", "layers.1.w"]
    with pytest.raises(ValueError, match=r"the optimizer lacks 'layers.0.b', 'scale'"):
        to_optax(ones(), opt_state, PARAMS)


def test_several_adams_of_a_parameter_are_counted_and_one_can_be_chosen():
    optimizer = optax.chain(ours.scale_by_adam(), optax.scale_by_adam(), optax.scale(-0.1))
    opt_state = optimizer.init(PARAMS)
    for refused in (lambda: from_optax(opt_state, PARAMS), lambda: to_optax(ones(), opt_state, PARAMS)):
        with pytest.raises(ValueError, match=r"there are 2 Adam states .* pass the part .* opt_state\[0\]"):
            refused()
    chosen = to_optax(ones(), opt_state[1], PARAMS)
    assert int(chosen.count) == 30
    assert from_optax((opt_state[0], chosen)[1], PARAMS).steps == 30


def test_the_counts_of_schedules_are_set_and_those_of_averages_are_not():
    optimizer = optax.chain(optax.ema(0.9), optax.adam(SCHEDULE), optax.scale_by_rms(bias_correction=True))
    ema, (adam, schedule), rms = to_optax(ones(), optimizer.init(PARAMS), PARAMS)
    assert (int(ema.count), int(adam.count), int(schedule.count), int(rms.count)) == (0, 30, 30, 0)
    _, (adam, schedule), _ = to_optax(ones(), optimizer.init(PARAMS), PARAMS, schedule_count=0)
    assert (int(adam.count), int(schedule.count)) == (30, 0)
    with pytest.raises(ValueError, match="schedule_count is -1"):
        to_optax(ones(), optimizer.init(PARAMS), PARAMS, schedule_count=-1)


def test_an_accumulation_is_of_steps_and_starts_again():
    optimizer = optax.MultiSteps(ours.adam(SCHEDULE), 4)
    params, opt_state = run(optimizer, PARAMS, optimizer.init(PARAMS), 0, 8)
    assert from_optax(opt_state, params).steps == 2
    _, middle = run(optimizer, params, opt_state, 8, 11)
    with pytest.raises(ValueError, match="has accumulated 3 gradients"):
        from_optax(middle, params)
    new = to_optax(from_optax(opt_state, params), middle, params)
    for a, b in zip(jax.tree.leaves(new), jax.tree.leaves(opt_state), strict=True):
        assert np.array_equal(a, b)


def test_counts_that_differ_need_a_count_per_leaf():
    counts = dict(zip(NAMES, (3, 8, 8, 0), strict=True))
    state = ones(counts | {"scale": 8})
    with pytest.raises(ValueError, match=r"3 for 'layers.0.b', 8 for 'layers.0.w': .*per_leaf_count=True"):
        to_optax(state, ours.adam(1e-3).init(PARAMS), PARAMS)
    optimizer = ours.adam(SCHEDULE, per_leaf_count=True)
    opt_state = to_optax(state, optimizer.init(PARAMS), PARAMS)
    assert from_optax(opt_state, PARAMS).counts == state.counts
    assert int(opt_state[1].count) == 8
    # In parts, each has its own.
    optimizer = _in_parts(lambda decay: optax.adamw(SCHEDULE, weight_decay=decay))
    state = ones(dict(zip(NAMES, (3, 8, 8, 3), strict=True)))
    assert from_optax(to_optax(state, optimizer.init(PARAMS), PARAMS), PARAMS).counts == state.counts


def test_16_bits_and_x64():
    params = {"w": jnp.ones(3, jnp.bfloat16)}
    optimizer = optax.adam(1e-3)
    opt_state = optimizer.init(params)
    state = AdamState({"w": np.full(3, 1 / 3)}, {"w": np.full(3, 1 / 3)}, {"w": 2})
    new = to_optax(state, opt_state, params)
    assert new[0].mu["w"].dtype == jnp.bfloat16
    read = from_optax(new, params)
    assert read.m["w"].dtype == np.float32
    assert equal(from_optax(to_optax(read, opt_state, params), params), read)
    with jax.enable_x64(True):
        params = {"w": jnp.ones(3, jnp.float64)}
        assert equal(from_optax(to_optax(state, optimizer.init(params), params), params), state)


@pytest.mark.skipif(jax.device_count() < 2, reason="one device")
def test_shardings_are_kept():
    mesh = jax.make_mesh((2,), ("x",))
    sharded = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x"))
    params = {"w": jax.device_put(jnp.ones((4, 3)), sharded)}
    opt_state = ours.adam(1e-3).init(params)
    state = AdamState({"w": np.ones((4, 3))}, {"w": np.ones((4, 3))}, {"w": 2})
    new = to_optax(state, opt_state, params)
    assert new[0].mu["w"].sharding == opt_state[0].mu["w"].sharding == sharded
    assert equal(from_optax(new, params), state.mapped(lambda name, x: x.astype(np.float32)))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda state: state.renamed({"scale": None}), "the state lacks 'scale'"),
        (lambda state: state.renamed({"scale": "gain"}), "the state lacks 'scale'; the optimizer lacks 'gain'"),
        (lambda state: state.mapped(lambda name, x: x.T), r"'layers.0.w' is \(2, 3\) and has to be \(3, 2\)"),
        (lambda state: state.mapped(lambda name, x: x + 0j), "complex in one and real in the other"),
        (lambda state: dataclasses.replace(state, v_max=state.v), "the v_max of amsgrad"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(change, says):
    with pytest.raises(ValueError, match=says):
        to_optax(change(ones()), ours.adam(1e-3).init(PARAMS), PARAMS)


def test_what_is_not_a_state_of_adam_is_refused():
    with pytest.raises(ValueError, match="there is no Adam state"):
        from_optax(optax.sgd(0.1).init(PARAMS), PARAMS)
    with pytest.raises(ValueError, match=r"this is a state of optax.amsgrad"):
        from_optax(optax.amsgrad(0.1).init(PARAMS), PARAMS)
    other = {"w": jnp.ones(3)}
    with pytest.raises(ValueError, match=r"is not of these params: they lack 'layers\.0\.b'"):
        from_optax(optax.adam(0.1).init(PARAMS), other)
    same = {"a": {"b": jnp.ones(2)}, "a.b": jnp.ones(2)}
    with pytest.raises(ValueError, match=r"two parameters have the path 'a\.b'"):
        from_optax(optax.adam(0.1).init(same), same)


def test_a_tree_of_one_leaf_has_an_empty_name(tmp_path):
    p = jnp.ones(3)
    optimizer = optax.adam(0.1)
    _, opt_state = optimizer.update(p, optimizer.init(p))
    from_optax(opt_state, p).save(tmp_path / "x")
    assert equal(AdamState.load(tmp_path / "x"), from_optax(opt_state, p))
