"""The theory's simulated numbers as tables, next to the computed ones."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ...theory import limiting_variance
from ...theory.simulation import Gradients, Sample, simulate
from ..table import Table
from .computed import momentum_variance, orders, rectifications, spaced

OnStep = Callable[[], object]

BETA1 = 0.9
NORMAL = Gradients()
MEANS = tuple(Gradients(mu=mu) for mu in (0, 0.001, 0.01, 0.1, 1, 10))
LAWS = (
    NORMAL,
    Gradients(freedom=5),
    Gradients(freedom=3),
    Gradients(correlation=0.5),
    Gradients(correlation=0.9),
)
TABLE_STEPS = (3, 5, 6, 10, 20, 50, 100)
EARLY = 20  # every step before this one is in the table


def first_step(paths: int, seed: int, repetitions: int = 4) -> Table:
    """The sample variance of psi_1 = 1/|g_1| after 2 to `paths` draws, for several repetitions."""
    generator = torch.Generator().manual_seed(seed)
    counts = [count for count in spaced(paths) if count > 1]
    rows = []
    for run in range(1, repetitions + 1):
        psi = torch.randn(paths, generator=generator, dtype=torch.float64).abs().reciprocal()
        total, squares = psi.cumsum(0), (psi * psi).cumsum(0)
        for n in counts:
            first, second = float(total[n - 1]), float(squares[n - 1])
            rows.append({"run": run, "draws": n, "sample_variance": (second - first * first / n) / (n - 1)})
    return Table.of(rows)


def by_step(beta2: float, paths: int, steps: int, seed: int, on_step: OnStep) -> Table:
    """The variance of psi by step, simulated with EMA and SMA and computed, and that of r_t psi for each r_t."""
    at = spaced(steps, 10)
    found = simulate([NORMAL], beta2, BETA1, paths, steps, seed, sma=True, at=at, on_step=on_step)
    assert found.sma is not None
    limit = limiting_variance(beta2, "ema")
    rows = []
    for i, t in enumerate(at):
        row: dict[str, Any] = {"t": t, **orders(t, beta2), "limit": limit}
        row |= _moments("simulated_ema", found.psi, 0, i) | _moments("simulated_sma", found.sma, 0, i)
        for order, r in rectifications(t, beta2).items():
            row[f"r_{order}"] = r
            row[f"rectified_{order}"] = r * r * row["ema"] / limit if r else math.nan
            row[f"simulated_rectified_{order}"] = r * r * row["simulated_ema"] / limit if r else math.nan
            row[f"simulated_rectified_{order}_error"] = r * r * row["simulated_ema_error"] / limit if r else math.nan
        rows.append(row)
    return Table.of(rows)


def by_mean(beta2: float, paths: int, steps: int, seed: int, on_step: OnStep) -> Table:
    """The variance of psi for gradients with a mean, and that of r_t psi with the closed form's r_t."""
    at = spaced(steps, 10)
    found = simulate(MEANS, beta2, BETA1, paths, steps, seed, at=at, on_step=on_step)
    rows = []
    for k, law in enumerate(MEANS):
        for i, t in enumerate(at):
            row: dict[str, Any] = {"mu": law.mu, "t": t, **_moments("simulated", found.psi, k, i)}
            r = rectifications(t, beta2)["exact"]
            row["r_exact"] = r
            row["simulated_rectified"] = r * r * row["simulated"] if r else math.nan
            row["simulated_rectified_error"] = r * r * row["simulated_error"] if r else math.nan
            rows.append(row)
    return Table.of(rows)


def by_law(beta2: float, paths: int, steps: int, seed: int, on_step: OnStep) -> Table:
    """The variances of psi and of the whole update for heavy-tailed and for correlated gradients."""
    at = spaced(steps, 10)
    found = simulate(LAWS, beta2, BETA1, paths, steps, seed, at=at, on_step=on_step)
    return Table.of(
        {
            "law": str(law),
            "t": t,
            **_moments("psi", found.psi, k, i),
            **_moments("update", found.update, k, i),
            "momentum": momentum_variance(t, BETA1),
        }
        for k, law in enumerate(LAWS)
        for i, t in enumerate(at)
    )


def early(betas: Sequence[float], paths: int, seed: int, on_step: OnStep) -> Table:
    """The variance of psi, computed in three ways and simulated, at the first steps and at those in the table."""
    at = sorted({*range(1, EARLY + 1), *TABLE_STEPS})
    rows = []
    for beta2 in betas:
        # The same seed for each beta2: the rows of the table differ by beta2, not by chance.
        found = simulate([NORMAL], beta2, BETA1, paths, at[-1], seed, at=at, on_step=on_step)
        for i, t in enumerate(at):
            rows.append({"beta2": beta2, "t": t, **orders(t, beta2), **_moments("simulated", found.psi, 0, i)})
    return Table.of(rows)


def _moments(name: str, sample: Sample, law: int, column: int) -> dict[str, float]:
    """A variance and its standard error, as two columns of a row."""
    return {name: float(sample.variance[law, column]), f"{name}_error": float(sample.error[law, column])}
