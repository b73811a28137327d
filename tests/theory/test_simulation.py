"""The simulation, against formulas where there are some, and against a plain loop."""

import math
from itertools import islice

import pytest
import torch

from rectified.theory import rho, simulation, variance, variance_ema
from rectified.theory.simulation import Gradients, simulate

NORMAL = Gradients()


def draw(laws, paths, steps, seed):
    return torch.stack([g.clone() for g in islice(simulation.draw(laws, paths, seed), steps)])


@pytest.fixture(scope="module")
def normal():
    """40,000 paths make errors of a percent."""
    return simulate([NORMAL], beta2=0.95, paths=40_000, steps=60, seed=1, sma=True)


@pytest.mark.parametrize("t", [5, 6, 10, 20, 60])
def test_the_variance_of_psi_is_the_integrals(normal, t):
    found, error = float(normal.psi.variance[0, t - 1]), float(normal.psi.error[0, t - 1])
    assert abs(found - variance_ema(t, 0.95)) < 5 * error
    assert error < 0.1 * found


def test_it_tells_the_ema_from_the_law_fitted_to_it(normal):
    t = 20
    assert abs(normal.psi.variance[0, t - 1] - variance(rho(t, 0.95))) > 5 * normal.psi.error[0, t - 1]


@pytest.mark.parametrize("t", [1, 5, 10, 40])
def test_the_mean_of_psi_by_ema_and_by_sma_is_its_formula(t):
    """For beta2 near 1, rho_t = t and both averages are the plain mean."""
    found = simulate([NORMAL], beta2=1 - 1e-4, paths=20_000, steps=t, sma=True)
    if t > 2:
        expected = math.sqrt(t / 2) * math.exp(math.lgamma((t - 1) / 2) - math.lgamma(t / 2))
        spread = math.sqrt(variance(t) / 20_000)
        assert abs(found.psi.mean[0, -1] - expected) < 5 * spread
        assert abs(found.sma.mean[0, -1] - expected) < 5 * spread + 0.01 * expected
    assert found.psi.mean[0, -1] == pytest.approx(float(found.sma.mean[0, -1]), rel=1e-2)


def test_where_the_fourth_moment_is_infinite_so_is_the_error(normal):
    assert torch.isinf(normal.psi.error[0, :4]).all()
    assert torch.isfinite(normal.psi.error[0, 4:]).all()
    assert torch.isfinite(normal.update.error).all()


def test_the_standard_error_is_the_spread_over_repetitions():
    runs = [simulate([NORMAL], beta2=0.9, paths=500, steps=20, seed=seed) for seed in range(60)]
    estimates = torch.stack([run.psi.variance[0, -1] for run in runs])
    told = torch.stack([run.psi.error[0, -1] for run in runs]).mean()
    assert 0.7 < told / estimates.std() < 1.4


def test_the_first_update_is_one_whatever_the_gradients():
    """|m_hat|/sqrt(v_hat) = |g|/|g|: the whole update is bounded where psi alone has no variance."""
    laws = [NORMAL, Gradients(mu=10), Gradients(freedom=3), Gradients(correlation=0.9)]
    found = simulate(laws, paths=1000, steps=1)
    for i, mean in ((0, 0), (1, 1), (2, 0), (3, 0)):
        assert abs(found.update.mean[i, 0] - mean) < 0.2
        assert found.update.variance[i, 0] == pytest.approx(
            1 - float(found.update.mean[i, 0]) ** 2, rel=2e-3, abs=1e-12
        )


def test_the_late_update_has_the_variance_of_m():
    """v has settled: Var[m_hat] = (1 - beta1)/(1 + beta1) for independent gradients of variance 1."""
    found = simulate([NORMAL, Gradients(freedom=5)], beta2=0.9999, paths=20_000, steps=300)
    assert found.update.variance[0, -1] == pytest.approx(0.1 / 1.9, rel=0.05)


@pytest.mark.parametrize(
    "law", [NORMAL, Gradients(mu=0.5), Gradients(freedom=5.5), Gradients(correlation=0.8)], ids=str
)
def test_the_gradients_have_the_law_they_are_said_to_have(law):
    steps = draw([law], 50_000, 3, seed=2)[:, 0]
    assert steps.shape == (3, 50_000)
    assert torch.allclose(steps.mean(1), torch.tensor(law.mu, dtype=torch.float64), atol=0.03)
    assert torch.allclose(steps.var(1), torch.ones(3, dtype=torch.float64), rtol=0.06)
    centered = steps - law.mu
    assert float((centered[0] * centered[1]).mean()) == pytest.approx(law.correlation, abs=0.03)
    kurtosis = 3 + 6 / (law.freedom - 4) if law.freedom < math.inf else 3
    assert float((centered**4).mean()) == pytest.approx(kurtosis, rel=0.35 if law.freedom < math.inf else 0.05)


def test_it_is_the_plain_loop():
    """Two paths by hand."""
    found = simulate([NORMAL, Gradients(mu=2)], beta2=0.9, beta1=0.8, paths=2, steps=30, seed=5, sma=True)
    gradients = draw([NORMAL, Gradients(mu=2)], 2, 30, seed=5)
    for law in range(2):
        for t in (1, 2, 7, 30):
            psi, update, sma = [], [], []
            for path in range(2):
                g = [float(x) for x in gradients[:t, law, path]]
                v = sum(0.1 * 0.9 ** (t - i) * x * x for i, x in enumerate(g, 1)) / (1 - 0.9**t)
                m = sum(0.2 * 0.8 ** (t - i) * x for i, x in enumerate(g, 1)) / (1 - 0.8**t)
                length = rho(t, 0.9)
                whole, part = int(length + 1e-9), max(0.0, length - int(length + 1e-9))
                squares = [x * x for x in reversed(g)]
                tail = part * squares[whole] if whole < t else 0.0
                psi.append(v**-0.5)
                update.append(m * v**-0.5)
                sma.append(((sum(squares[:whole]) + tail) / length) ** -0.5)
            for sample, values in ((found.psi, psi), (found.update, update), (found.sma, sma)):
                values = torch.tensor(values, dtype=torch.float64)
                assert float(sample.mean[law, t - 1]) == pytest.approx(float(values.mean()), rel=1e-9)
                assert float(sample.variance[law, t - 1]) == pytest.approx(float(values.var()), rel=1e-7, abs=1e-12)


def test_a_seed_repeats_and_the_laws_are_paired():
    one = simulate([NORMAL, Gradients(mu=1)], paths=50, steps=20, seed=3)
    two = simulate([NORMAL, Gradients(mu=1)], paths=50, steps=20, seed=3)
    other = simulate([NORMAL, Gradients(mu=1)], paths=50, steps=20, seed=4)
    assert torch.equal(one.psi.variance, two.psi.variance)
    assert not torch.equal(one.psi.variance, other.psi.variance)
    alone = simulate([NORMAL], paths=50, steps=20, seed=3)
    assert torch.equal(one.psi.variance[0], alone.psi.variance[0])


def test_moments_at_some_steps_are_those_of_all_steps():
    every = simulate([NORMAL], paths=50, steps=40, sma=True)
    some = simulate([NORMAL], paths=50, steps=40, sma=True, at=[3, 17, 40])
    assert some.at == (3, 17, 40)
    for name in ("psi", "update", "sma"):
        assert torch.equal(getattr(some, name).variance, getattr(every, name).variance[:, [2, 16, 39]])


def test_every_step_is_told():
    told = []
    simulate([NORMAL], paths=2, steps=7, on_step=lambda: told.append(1))
    assert len(told) == 7


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Gradients(mu=math.inf), "mu is inf"),
        (lambda: Gradients(freedom=2), "freedom is 2.*above 2"),
        (lambda: Gradients(correlation=1), "correlation is 1"),
        (lambda: Gradients(correlation=-0.1), "correlation is -0.1"),
        (lambda: Gradients(freedom=3, correlation=0.5), "correlation is 0.5.*normal"),
        (lambda: simulate([], paths=5), "0 laws"),
        (lambda: simulate([NORMAL], paths=1), "1 paths"),
        (lambda: simulate([NORMAL], steps=0), "0 steps"),
        (lambda: simulate([NORMAL], steps=5, at=[2, 2]), r"at is \(2, 2\).*increasing"),
        (lambda: simulate([NORMAL], steps=5, at=[6]), r"at is \(6,\).*1 to 5"),
        (lambda: simulate([NORMAL], beta2=1.0), "beta2 is 1.0"),
        (lambda: simulate([NORMAL], beta1=1.0), "beta1 is 1.0"),
    ],
)
def test_what_cannot_be_simulated_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
