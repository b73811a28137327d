"""The transformations do as optax's do: in chains, under masks, injected, mapped, sharded, saved and resumed."""

import pickle
from functools import cache, partial

import pytest

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

import rectified  # noqa: E402
from rectified.jax import adam, adamw, omega, radam, scale_by_adam, scale_by_warmup  # noqa: E402
from rectified.warmup import Linear, Rectified, SecondMomentOnly, UntunedLinear  # noqa: E402


def tree(seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return {"w": jnp.asarray(rng.standard_normal((3, 2)), dtype), "b": jnp.asarray(rng.standard_normal(2), dtype)}


@cache
def compiled(optimizer):
    @jax.jit
    def step(params, state, grads):
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    return step


def trained(optimizer, params, steps, state=None, gradients=tree):
    """The parameters and state after the steps."""
    state = optimizer.init(params) if state is None else state
    for t in steps:
        params, state = compiled(optimizer)(params, state, gradients(100 + t))
    return params, state


def assert_equal(a, b, rtol=0.0):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=0), a, b)


def test_without_a_warmup_they_are_optaxs():
    params = tree()
    assert_equal(trained(adam(0.01), params, range(5))[0], trained(optax.adam(0.01), params, range(5))[0], 1e-5)
    assert_equal(trained(adamw(0.01), params, range(5))[0], trained(optax.adamw(0.01), params, range(5))[0], 1e-5)


def test_optaxs_radam_differs_in_its_first_steps_and_continues_here():
    params = tree()
    late, state = trained(optax.radam(0.01), params, range(300))
    assert jax.tree.structure(state) == jax.tree.structure(radam(0.01).init(params))
    ours, _ = trained(radam(0.01, eps_hat=False), late, range(300, 310), state)
    theirs, _ = trained(optax.radam(0.01), late, range(300, 310), state)
    assert_equal(ours, theirs, 1e-5)

    def sizes(make, beta2):
        """The first eight steps at a gradient of 1, where m_hat and v_hat are 1: 1 in a momentum start, then r_t."""
        optimizer, g = make(1.0, b2=beta2), jnp.ones(())
        state, found = optimizer.init(g), []
        for _ in range(8):
            update, state = optimizer.update(g, state)
            found.append(-float(update))
        return np.array(found)

    for beta2, error in ((0.999, 1e-3), (0.99999, 0.1)):
        r = [rectified.theory.rectification(t, beta2) if t > 5 else 1.0 for t in range(1, 9)]
        np.testing.assert_allclose(sizes(radam, beta2), r, rtol=1e-4)  # eps is 1e-8 / sqrt(1 - beta2^t)
        off = np.abs(sizes(optax.radam, beta2) / r - 1)
        assert not np.nanmax(off) < error, "rho has lost its digits"


def test_a_hold_moves_the_moments_and_no_parameter_not_even_by_decay():
    params = tree()
    optimizer = adamw(0.1, weight_decay=0.1, warmup=Rectified(start="hold"))
    held, state = trained(optimizer, params, range(5))
    assert_equal(held, params)
    assert float(jnp.abs(state[0].mu["w"]).min()) > 0
    moved, _ = trained(optimizer, held, range(5, 6), state)
    assert float(jnp.abs(moved["w"] - params["w"]).min()) > 0


def test_a_momentum_start_moves_by_lr_m_hat():
    g = jnp.array([3.0, -0.5])
    update, _ = radam(0.1).update(g, radam(0.1).init(g))
    np.testing.assert_allclose(update, -0.1 * g, rtol=1e-6)


def test_only_v_moves_in_adam_2k():
    params = tree()
    _, state = trained(adam(0.1, warmup=SecondMomentOnly(3)), params, range(3))
    assert_equal(state[0].mu, jax.tree.map(jnp.zeros_like, params))
    assert float(state[0].nu["w"].min()) > 0


def test_the_lr_may_be_a_schedule_that_omega_multiplies():
    g = jnp.ones(2)
    optimizer = adam(lambda count: 0.1 / (1 + count), warmup=Linear(10))
    state, sizes = optimizer.init(g), []
    for _ in range(3):
        update, state = optimizer.update(g, state)
        sizes.append(-float(update[0]))
    np.testing.assert_allclose(sizes, [0.1 * 0.1, 0.05 * 0.2, 0.1 / 3 * 0.3], rtol=1e-5)


def test_weight_decay_has_a_mask_and_may_be_a_schedule():
    params, zero = tree(), jax.tree.map(jnp.zeros_like, tree())
    for mask in ({"w": True, "b": False}, lambda p: jax.tree.map(lambda x: x.ndim > 1, p)):
        optimizer = adamw(0.1, weight_decay=0.5, mask=mask, warmup=Linear(10))
        update, _ = optimizer.update(zero, optimizer.init(params), params)
        np.testing.assert_allclose(update["w"], -0.05 * params["w"], rtol=1e-6)
        assert not update["b"].any()
    optimizer = adamw(1.0, weight_decay=lambda count: 0.1 * count)
    (_, state), params = optimizer.update(zero, optimizer.init(params), params), tree()
    update, _ = optimizer.update(zero, state, params)
    np.testing.assert_allclose(update["w"], -0.1 * params["w"], rtol=1e-6)
    with pytest.raises(ValueError, match="needs the parameters"):
        optimizer.update(zero, state)


@pytest.mark.parametrize("make", [radam, pytest.param(adamw, marks=pytest.mark.slow)])
def test_inject_hyperparams_traces_every_number(make):
    params = tree()
    injected = optax.inject_hyperparams(make)(learning_rate=0.01)
    found, state = trained(injected, params, range(20))
    assert {"learning_rate", "b1", "b2", "eps"} <= set(state.hyperparams)
    assert_equal(found, trained(make(0.01), params, range(20))[0], 1e-4)
    state.hyperparams["learning_rate"] = jnp.float32(0)
    assert_equal(trained(injected, found, range(20, 22), state)[0], found)


def test_inject_hyperparams_with_a_warmup_that_needs_its_beta2():
    params = tree()
    options = {"warmup": Rectified("ema"), "b2": 0.99}
    with pytest.raises(TypeError, match="static_args"):
        optax.inject_hyperparams(adam)(0.01, **options).init(params)
    injected = optax.inject_hyperparams(adam, static_args=("b2",))(optax.linear_schedule(0.01, 0, 100), **options)
    plain = adam(optax.linear_schedule(0.01, 0, 100), **options)
    assert_equal(trained(injected, params, range(9))[0], trained(plain, params, range(9))[0], 1e-5)
    with pytest.raises(TypeError, match="static_args"):
        optax.inject_hyperparams(radam)(0.01, threshold=4.0).init(params)
    optax.inject_hyperparams(radam, static_args=("threshold",))(0.01, threshold=4.0).init(params)


def test_under_a_mask_others_are_untouched_and_each_part_counts_its_own_steps():
    params = tree()
    masked = optax.masked(adamw(0.01, warmup=Linear(5), weight_decay=0.1), {"w": True, "b": False})
    update, _ = masked.update(tree(1), masked.init(params), params)
    assert_equal(update["b"], tree(1)["b"])
    alone = adamw(0.01, warmup=Linear(5), weight_decay=0.1)
    expected, _ = alone.update(tree(1)["w"], alone.init(params["w"]), params["w"])
    assert_equal(update["w"], expected)
    parts = optax.partition({"a": radam(0.01), "z": adam(0.01, warmup=Linear(5))}, {"w": "a", "b": "z"})
    found, _ = trained(parts, params, range(7))
    for name, optimizer in (("w", radam(0.01)), ("b", adam(0.01, warmup=Linear(5)))):
        assert_equal(found[name], trained(optimizer, params, range(7))[0][name], 1e-6)


def test_with_a_count_per_leaf_a_leaf_without_a_gradient_rests():
    params = tree()
    optimizer = adamw(0.01, warmup=UntunedLinear(), b2=0.9, weight_decay=0.1, per_leaf_count=True)
    both, state = trained(optimizer, params, range(3), gradients=lambda t: {**tree(t), "b": None})
    assert_equal(both["b"], params["b"])
    assert {name: int(count) for name, count in state[0].count.items()} == {"w": 3, "b": 0}
    both, state = trained(optimizer, both, range(3, 9), state)
    assert {name: int(count) for name, count in state[0].count.items()} == {"w": 9, "b": 6}
    w, b = (torch.nn.Parameter(torch.from_numpy(np.array(params[name]))) for name in ("w", "b"))
    in_torch = rectified.AdamW(
        [w, b], lr=0.01, betas=(0.9, 0.9), weight_decay=0.1, warmup=rectified.warmup.UntunedLinear()
    )
    for t in range(9):
        w.grad, b.grad = (torch.from_numpy(np.array(tree(100 + t)[name])) for name in ("w", "b"))
        b.grad = b.grad if t >= 3 else None
        in_torch.step()
    np.testing.assert_allclose(both["w"], w.detach(), rtol=1e-5)
    np.testing.assert_allclose(both["b"], b.detach(), rtol=1e-5)


def test_with_one_count_a_missing_gradient_is_an_error():
    params = tree()
    with pytest.raises(ValueError, match="per_leaf_count=True"):
        adam(0.1).update({**params, "b": None}, adam(0.1).init(params))
    nothing = {**params, "b": None}  # as equinox's filters leave it: no parameter, no gradient
    update, _ = adam(0.1).update(nothing, adam(0.1).init(nothing))
    assert update["b"] is None


def test_moments_of_16_bits_are_float32_and_the_step_is_rounded_once():
    params = tree(dtype=jnp.bfloat16)
    found, state = trained(radam(0.01), params, range(20), gradients=lambda t: tree(t, jnp.bfloat16))
    assert {str(x.dtype) for x in jax.tree.leaves(found)} == {"bfloat16"}
    assert {str(x.dtype) for x in jax.tree.leaves((state[0].mu, state[0].nu))} == {"float32"}
    p = torch.nn.Parameter(torch.from_numpy(np.array(params["w"], np.float32)).bfloat16())
    optimizer = rectified.RAdam([p], lr=0.01)
    for t in range(20):
        p.grad = torch.from_numpy(np.array(tree(100 + t)["w"])).bfloat16()
        optimizer.step()
    np.testing.assert_array_equal(np.asarray(found["w"], np.float32), p.detach().float())


def test_mu_dtype_is_that_of_the_first_moment_alone():
    params = tree()
    found, state = trained(adam(0.01, mu_dtype=jnp.bfloat16), params, range(3))
    assert (state[0].mu["w"].dtype, state[0].nu["w"].dtype) == (jnp.bfloat16, jnp.float32)
    assert_equal(found, trained(adam(0.01), params, range(3))[0], 0.05)


def test_a_gradient_of_0_and_eps_of_0_give_no_nan():
    zero = jnp.zeros(3)
    update, _ = adam(0.1, eps=0.0).update(zero, adam(0.1).init(zero))
    assert not np.asarray(update).any()


def test_complex_parameters_are_refused_and_split_by_optax():
    z = jnp.array([1 + 2j])
    with pytest.raises(TypeError, match="split_real_and_imaginary"):
        adam(0.1).init(z)
    split = optax.contrib.split_real_and_imaginary(adam(0.1))
    update, _ = split.update(z, split.init(z), z)
    np.testing.assert_allclose(update, [-0.1 - 0.1j], rtol=1e-5)


@pytest.mark.parametrize("make", [pytest.param(radam, marks=pytest.mark.slow), partial(adamw, warmup=UntunedLinear())])
def test_a_loss_after_training_has_derivatives_in_lr_and_betas(make):
    with jax.enable_x64(True):

        def loss(hyper):
            optimizer, theta = make(hyper[0], hyper[1], hyper[2]), jnp.array([1.0, -2.0])

            def step(carry, _):
                theta, state = carry
                update, state = optimizer.update(theta * jnp.array([1.0, 3.0]), state, theta)
                return (optax.apply_updates(theta, update), state), None

            (theta, _), _ = jax.lax.scan(step, (theta, optimizer.init(theta)), length=8)
            return (theta**2).sum()

        at = jnp.array([0.05, 0.9, 0.99])
        loss = jax.jit(loss)
        steps = 1e-6 * np.eye(3)
        differences = [float(loss(at + step) - loss(at - step)) / 2e-6 for step in steps]
        np.testing.assert_allclose(jax.grad(loss)(at), differences, rtol=1e-5)


def test_an_ensemble_steps_under_vmap():
    params, lrs = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), tree()), jnp.array([0.1, 0.01])

    def two_steps(params, lr):
        optimizer = radam(lr, start="hold", variance="exact")
        return trained(optimizer, params, range(6))[0]

    together = jax.vmap(two_steps)(params, lrs)
    for i in (0, 1):
        alone = two_steps(jax.tree.map(lambda x, i=i: x[i], params), float(lrs[i]))
        assert_equal(jax.tree.map(lambda x, i=i: x[i], together), alone, 1e-5)


@pytest.mark.slow
def test_two_devices_step_under_pmap_and_shards_stay_where_they_are():
    devices = jax.devices()
    if len(devices) < 2:
        pytest.skip("jax was initialized with one device before")
    params, optimizer = tree(), adamw(0.01, warmup=UntunedLinear())

    def step(params, state, grads):
        updates, state = optimizer.update(jax.lax.pmean(grads, "devices"), state, params)
        return optax.apply_updates(params, updates), state

    twice = jax.tree.map(lambda x: jnp.stack([x, x]), (params, optimizer.init(params)))
    grads = jax.tree.map(lambda x, y: jnp.stack([x, y]), tree(1), tree(2))
    found, _ = jax.pmap(step, axis_name="devices", devices=devices[:2])(*twice, grads)
    mean = jax.tree.map(lambda x, y: (x + y) / 2, tree(1), tree(2))
    expected, _ = trained(optimizer, params, [0], gradients=lambda t: mean)
    for i in (0, 1):
        assert_equal(jax.tree.map(lambda x, i=i: x[i], found), expected, 1e-6)

    split = jax.sharding.NamedSharding(jax.sharding.Mesh(np.array(devices[:2]), "x"), jax.sharding.PartitionSpec("x"))
    w = jax.device_put(jnp.ones((4, 2)), split)
    assert optimizer.init(w)[0].nu.sharding.is_equivalent_to(split, 2)
    moved, state = trained(optimizer, w, range(2), gradients=lambda t: w)
    assert state[0].mu.sharding.is_equivalent_to(split, 2)
    assert moved.sharding.is_equivalent_to(split, 2)


def test_a_saved_run_resumes_bit_for_bit(tmp_path):
    params, optimizer = tree(), adamw(optax.linear_schedule(0.1, 0, 100), warmup=Rectified())
    straight = trained(optimizer, params, range(20))
    half = trained(optimizer, params, range(10))
    np.savez(tmp_path / "run.npz", *jax.tree.leaves(half))
    with np.load(tmp_path / "run.npz") as saved:
        leaves = [jnp.asarray(saved[name]) for name in saved.files]
    from_file = jax.tree.unflatten(jax.tree.structure((params, optimizer.init(params))), leaves)
    for loaded, state in (from_file, pickle.loads(pickle.dumps(half))):
        assert_equal(trained(optimizer, loaded, range(10, 20), state), straight)


def test_optaxs_tools_find_the_moments_and_the_count():
    params, optimizer = tree(), radam(0.01)
    _, state = trained(optimizer, params, range(3))
    assert int(optax.tree.get(state, "count")) == 3
    doubled = optax.tree.map_params(optimizer, lambda x: 2 * x, state)
    assert_equal(doubled[0].nu, jax.tree.map(lambda x: 2 * x, state[0].nu))
    assert int(doubled[0].count) == 3


def test_steps_may_be_accumulated():
    params = tree()
    optimizer = optax.MultiSteps(adam(0.01, warmup=Linear(3)), every_k_schedule=2)
    found, _ = trained(optimizer, params, range(4), gradients=lambda t: tree(7))
    assert_equal(found, trained(adam(0.01, warmup=Linear(3)), params, range(2), gradients=lambda t: tree(7))[0], 1e-6)


@pytest.mark.parametrize("on_zero", ["skip", "hold"])
def test_scale_by_warmup_is_rectify(on_zero):
    theta = np.array([1.0, -1.0], np.float32)
    p = torch.nn.Parameter(torch.from_numpy(theta.copy()))
    in_torch = rectified.rectify(torch.optim.Adam([p], lr=0.1), Rectified(), on_zero=on_zero)
    in_jax = optax.chain(
        optax.scale_by_adam(), scale_by_warmup(Rectified(), 0.999, on_zero=on_zero), optax.scale_by_learning_rate(0.1)
    )
    for t in range(12):
        p.grad = torch.from_numpy(np.array(tree(t)["b"]))
        in_torch.step()
    found, _ = trained(in_jax, jnp.asarray(theta), range(12), gradients=lambda t: tree(t - 100)["b"])
    np.testing.assert_allclose(found, p.detach(), rtol=2e-5)


def test_scale_by_warmup_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="on_zero is 'wait'"):
        scale_by_warmup(Linear(3), on_zero="wait")
    with pytest.raises(TypeError, match="on_zero='hold'"):
        scale_by_warmup(Rectified(), jnp.float32(0.999))
    scale_by_warmup(Rectified(), jnp.float32(0.999), on_zero="hold")
    scale_by_warmup(UntunedLinear(), jnp.float32(0.999))


def test_the_state_is_a_count_and_two_moments():
    state = scale_by_adam(warmup=Linear(3)).init(tree())
    assert state._fields == ("count", "mu", "nu")
    assert state.count.dtype == jnp.int32
    assert float(omega(Linear(3), 0.9)(state.count + 1)) == pytest.approx(1 / 3)
