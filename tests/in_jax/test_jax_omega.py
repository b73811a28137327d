"""omega and rho on the device are the warmup's own to rounding, where the textbook's rho has no digits left."""

import re

import pytest

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

import pages  # noqa: E402
import rectified.theory  # noqa: E402
from rectified.jax import omega, rho  # noqa: E402
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

PAGE = (pages.DOCS / "jax.md").read_text(encoding="utf-8")
BETAS = (0.9, 0.993, 0.999, 0.99999)
COUNTS = np.unique(np.concatenate([np.arange(1, 300), np.arange(4000, 4200), np.geomspace(300, 1e7, 400).astype(int)]))
WARMUPS = [
    Constant(),
    Rectified(),
    Rectified("exact"),
    Rectified("ema"),
    UntunedLinear(),
    UntunedExponential(),
    Linear(1000),
    SecondMomentOnly(2000),
]


def relative(found, expected):
    """The largest relative error; zeros must be zeros."""
    found, expected = np.asarray(found, float), np.asarray(expected)
    assert ((found == 0) == (expected == 0)).all()
    return np.max(np.abs(found - expected) / np.where(expected == 0, 1, expected))


def textbook_rho(t, beta2):
    """rho as optax.radam computes it."""
    end = 2.0 / (1.0 - beta2) - 1.0
    power = beta2**t
    return end - 2 * t * power / (1 - power)


@pytest.mark.parametrize(
    ("warmup", "beta2"),
    [(warmup, beta2) for warmup in WARMUPS for beta2 in (BETAS if isinstance(warmup, Rectified) else BETAS[-1:])],
    ids=str,
)
def test_omega_is_the_warmups_to_rounding(warmup, beta2):
    expected = [warmup.omega(int(t), beta2) for t in COUNTS]
    assert relative(omega(warmup, beta2)(COUNTS), expected) < 5e-7
    with jax.enable_x64(True):
        found = omega(warmup, beta2)(COUNTS)
        assert found.dtype == np.float64
        assert relative(found, expected) < 2e-15


@pytest.mark.parametrize("warmup", [Rectified(), Rectified("ema"), UntunedExponential()], ids=repr)
def test_compiled_it_is_the_same_to_rounding(warmup):
    expected = [warmup.omega(int(t), 0.9999) for t in COUNTS]
    assert relative(jax.jit(omega(warmup, 0.9999))(COUNTS), expected) < 5e-7


@pytest.mark.parametrize("beta2", [0.9, 0.99, 0.999, 0.9999, 0.99999])
def test_rho_in_float32_next_to_the_textbooks(beta2):
    expected = [rectified.theory.rho(int(t), beta2) for t in COUNTS]
    ours = relative(jax.jit(lambda t: rho(t, beta2))(COUNTS), expected)
    textbook = relative(jax.jit(lambda t: textbook_rho(t, beta2))(COUNTS.astype(np.int32)), expected)
    (row,) = re.findall(rf"^ *\| {beta2} \| ([\d.e-]+) \| ([\d.e-]+) \|$", PAGE, re.MULTILINE)
    assert ours < 1.1 * float(row[0])
    assert textbook == pytest.approx(float(row[1]), rel=0.5), "docs/jax.md"
    with jax.enable_x64(True):
        assert relative(rho(COUNTS, beta2), expected) < 4e-15


@pytest.mark.parametrize("warmup", [Rectified(), Rectified("exact", start="hold"), UntunedLinear()], ids=repr)
def test_a_traced_beta2_gives_omega_at_its_rounded_value(warmup):
    f = jax.jit(lambda t, beta2: omega(warmup, beta2)(t))
    for beta2 in BETAS:
        rounded = float(np.float32(beta2))
        assert relative(f(COUNTS, jnp.float32(beta2)), [warmup.omega(int(t), rounded) for t in COUNTS]) < 2e-6
    with jax.enable_x64(True):
        assert relative(f(COUNTS, jnp.float64(0.999)), [warmup.omega(int(t), 0.999) for t in COUNTS]) < 4e-15


def test_counts_of_any_shape_under_vmap_and_in_a_loop():
    f = omega(Rectified(), 0.999)
    table = f(jnp.arange(1, 7).reshape(2, 3))
    assert table.shape == (2, 3)
    assert f(6).shape == ()
    np.testing.assert_array_equal(jax.vmap(jax.vmap(f))(jnp.arange(1, 7).reshape(2, 3)), table)
    total = jax.lax.fori_loop(1, 7, lambda t, sum_: sum_ + f(t), 0.0)
    assert float(total) == pytest.approx(float(table.sum()))


def test_it_ends_at_1_and_stays_there():
    for warmup in WARMUPS:
        for beta2 in BETAS:
            assert float(omega(warmup, beta2)(2**31 - 1)) == 1


def test_beta2_of_0_is_an_average_of_one_step():
    assert rho(jnp.array([1, 9]), 0).tolist() == [1, 1]
    assert float(omega(UntunedLinear(), 0.0)(1)) == 0.5


def memory(f):
    """The bytes of the constants that a compiled function holds."""
    return sum(np.asarray(x).nbytes for x in jax.make_jaxpr(f)(1).consts)


def test_the_tables_are_as_long_as_the_docstring_says():
    assert memory(omega(Rectified(), 0.999)) == 16 * 1024
    assert 0 < memory(omega(Rectified(), 0.9)) < 4 * 400, "over by then"
    assert memory(omega(UntunedLinear(), 0.9999)) == 0
    assert memory(omega(OwnWarmup(), 0.9)) == 256 * 1024
    assert 16 * 1024 < max(memory(omega(Rectified("ema"), beta2)) for beta2 in (0.993, 0.994, 0.9945)) <= 32 * 1024
    with jax.enable_x64(True):
        assert memory(omega(Rectified(), 0.999)) == 32 * 1024


def test_a_warmup_of_a_users_is_a_table_whose_last_value_holds():
    f = omega(OwnWarmup(), 0.999, steps=100)
    assert f(jnp.array([1, 2, 3])).tolist() == pytest.approx([0, 0, 0.999 / 6])
    assert float(f(10**6)) == float(f(100)) == 1
    asked = []

    class Counting:
        def omega(self, t, beta2):
            asked.append(t)
            return 1.0

    f = omega(Counting(), 0.999)
    assert asked == [131_072, 65_536, *range(1, 65_537)], "asked once, beforehand"
    f(70_000)
    assert len(asked) == 65_538


@pytest.mark.parametrize("steps", [100_000, 300_000])
def test_the_table_of_a_users_long_warmup_is_as_long_as_it_is(steps):
    class Long:
        def omega(self, t, beta2):
            return min(1.0, t / steps)

    counts = np.array([1, 65_536, 65_537, 99_999, 100_000, 200_000, 300_000, 10**6])
    np.testing.assert_allclose(omega(Long(), 0.999)(counts), np.minimum(1, counts / steps), rtol=1e-6)


def test_what_jax_cannot_trace_is_refused_with_the_reason():
    with pytest.raises(TypeError, match="observes slopes of a run"):
        omega(GuardedLinear(10), 0.999)
    for warmup in (OwnMomentum(), Rectified("ema")):
        with pytest.raises(TypeError, match=r"static_args=\('b2',\)"):
            omega(warmup, jnp.float32(0.999))
    with pytest.raises(ValueError, match="steps is 0"):
        omega(OwnWarmup(), 0.999, steps=0)
    with pytest.raises(TypeError, match="omega"):
        omega("linear", 0.999)
    with pytest.raises(ValueError, match="never exceeds the threshold"):
        omega(Rectified(), 0.5)
    with pytest.raises(ValueError, match="beta2 is 1"):
        omega(Linear(3), 1.0)

    class Wrong:
        def omega(self, t, beta2):
            return 1.5 if t == 7 else 1.0

    with pytest.raises(ValueError, match=r"omega = 1.5 at t = 7"):
        omega(Wrong(), 0.999)
