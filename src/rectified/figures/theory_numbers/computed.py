"""The theory's computed numbers as tables, without simulation or drawing."""

import math
from collections.abc import Sequence

import torch

from ...theory import (
    mean,
    rectification,
    rho,
    rho_inf,
    truncated_variance,
    variance,
    variance_ema,
    variance_first_order,
    variance_slope,
)
from ...warmup import Linear, Rectified, SecondMomentOnly, UntunedExponential, UntunedLinear, Warmup, effective_period
from ..table import Table

BETAS = (0.9, 0.95, 0.99, 0.999)
PERIOD_BETAS = (*BETAS, 0.9999)
WARMUPS: dict[str, Warmup] = {
    "first order, threshold 5": Rectified(),
    "first order, threshold 4": Rectified(threshold=4),
    "exact": Rectified("exact"),
    "ema": Rectified("ema"),
    "untuned linear": UntunedLinear(),
    "untuned exponential": UntunedExponential(),
    "linear, 2000 steps": Linear(2000),
    "hold, 2000 steps": SecondMomentOnly(2000),
}


def spaced(last: int, a_decade: int = 16) -> list[int]:
    """Whole numbers from 1 to last, as evenly spaced on a logarithmic axis as possible.

    >>> spaced(20, a_decade=4)
    [1, 2, 3, 6, 10, 18, 20]
    """
    return sorted({last, *(round(step) for step in grid(1, last, a_decade))})


def grid(low: float, high: float, a_decade: int) -> list[float]:
    """Numbers from low to at most high, evenly spaced on a logarithmic axis."""
    count = math.floor(a_decade * math.log10(high / low) + 1e-9)
    return [low * 10 ** (i / a_decade) for i in range(count + 1)]


def first_step() -> Table:
    """The variance of psi_1 without values above a bound, and its growth rate in theory."""
    rows = []
    for bound in grid(1, 1e8, 8):
        found, rate = truncated_variance(bound), math.sqrt(2 / math.pi) * bound
        rows.append({"bound": bound, "truncated_variance": found, "rate": rate, "ratio": found / rate})
    return Table.of(rows)


def variance_of_rho() -> Table:
    """The variance in closed form, to first order, and their difference, by rho."""
    rows = []
    # More points just above 4, where the first order starts to exist.
    for r in sorted({*(2 + excess for excess in grid(0.1, 1e4, 16)), *(4 + excess for excess in grid(0.02, 2, 8))}):
        exact, first = variance(r), first_order(r)
        rows.append({"rho": r, "variance": exact, "variance_first_order": first, "difference": first - exact})
    return Table.of(rows)


def slope_of_rho() -> Table:
    """The slope of the variance in rho, summed by `variance_slope` and by digammas as in the paper.

    They differ only by round-off: Gamma's ratio is the same in both, and torch's digamma has float64 precision.
    """
    rows = []
    for r in grid(2.5, 2.5e8, 8):
        halves = torch.digamma(torch.tensor([(r - 1) / 2, r / 2], dtype=torch.float64)).tolist()
        by_digammas = -2 / (r - 2) ** 2 - mean(r) ** 2 / r * (1 + r * (halves[0] - halves[1]))
        rows.append({"rho": r, "slope": variance_slope(r), "slope_by_digammas": by_digammas})
    return Table.of(rows)


def weights(beta2: float) -> Table:
    """The weight of each gradient in the EMA and in the SMA of length rho_t, at step 1/(1 - beta2)."""
    t = max(2, round(1 / (1 - beta2)))
    length = rho(t, beta2)
    total = -math.expm1(t * math.log(beta2))
    rows = []
    for ago in sorted({0, *(round(i * (t - 1) / 200) for i in range(201)), math.floor(length - 1e-9)}):
        part = min(1.0, max(0.0, length - ago))
        rows.append(
            {"t": t, "step": t - ago, "ema": (1 - beta2) * beta2**ago / total, "sma": part / length, "rho_t": length}
        )
    return Table.of(reversed(rows))


def rho_by_step(betas: Sequence[float]) -> Table:
    """rho_t by step for each beta2, until the largest beta2 is close to rho_inf."""
    last = math.ceil(20 / (1 - max(betas)))
    return Table.of(
        {"beta2": beta2, "t": t, "rho_t": rho(t, beta2), "rho_inf": rho_inf(beta2)}
        for beta2 in betas
        for t in spaced(last)
    )


def orders(t: int, beta2: float) -> dict[str, float]:
    """The three variances of psi at a step; the first-order one is NaN where it is undefined."""
    return {
        "ema": variance_ema(t, beta2),
        "exact": variance(rho(t, beta2)),
        "first": first_order(rho(t, beta2)),
    }


def fitted_law(betas: Sequence[float]) -> Table:
    """The relative error of the fitted law's variance, and of rho_t vs 1/sum w_i^2, which causes it."""
    rows = []
    for beta2 in betas:
        for t in spaced(math.ceil(20 / (1 - beta2)), 24):
            if t < 3:
                continue
            power = t * math.log(beta2)
            samples = rho_inf(beta2) * math.tanh(-power / 2)
            ema, exact = variance_ema(t, beta2), variance(rho(t, beta2))
            rows.append(
                {
                    "beta2": beta2,
                    "t": t,
                    "scaled_t": (1 - beta2) * t,
                    "ema": ema,
                    "exact": exact,
                    "relative_error": exact / ema - 1,
                    "rho_t": rho(t, beta2),
                    "effective_samples": samples,
                    "relative_difference": samples / rho(t, beta2) - 1,
                }
            )
    return Table.of(rows)


def omegas(beta2: float) -> Table:
    """omega by step of every warmup that this beta2 allows, until all are close to 1."""
    names = {name: warmup for name, warmup in WARMUPS.items() if allows(warmup, beta2)}
    last = max(2500, math.ceil(8 / (1 - beta2)))
    steps = sorted({*spaced(last, 24), *range(1, 31), 2000, 2001})
    return Table.of({"t": t, **{name: warmup.omega(t, beta2) for name, warmup in names.items()}} for t in steps)


def periods() -> Table:
    """The effective period T(omega) of every warmup in steps, by beta2."""
    return Table.of(
        {"warmup": name, **{f"beta2_{beta2!r}": effective_period(warmup, beta2) for beta2 in PERIOD_BETAS}}
        for name, warmup in WARMUPS.items()
    )


def update_bound(t: int, beta1: float, beta2: float) -> float:
    r"""The largest possible |m_hat|/sqrt(v_hat), whatever the gradients, by Cauchy and Schwarz.

    .. math:: \Big|\sum_i a_i g_i\Big| \le \sqrt{\sum_i \frac{a_i^2}{w_i}} \sqrt{\sum_i w_i g_i^2}, \qquad
        a_i = \frac{(1 - \beta_1) \beta_1^{t-i}}{1 - \beta_1^t}, \quad
        w_i = \frac{(1 - \beta_2) \beta_2^{t-i}}{1 - \beta_2^t}

    >>> update_bound(1, 0.9, 0.999)
    1.0
    """
    ratio = beta1 * beta1 / beta2
    powers = float(t) if ratio == 1 else (1 - ratio**t) / (1 - ratio)
    first = (1 - beta1) / (1 - beta1**t)
    second = (1 - beta2) / -math.expm1(t * math.log(beta2))
    return math.sqrt(first * first / second * powers)


def momentum_variance(t: int, beta1: float) -> float:
    """The variance of m_hat for independent gradients of variance 1: that of the update if v_hat were always 1."""
    return (1 - beta1) / (1 + beta1) * (1 + beta1**t) / (1 - beta1**t)


def rectifications(t: int, beta2: float) -> dict[str, float]:
    """The rectification r_t from each of the three variances."""
    return {
        "ema": rectification(t, beta2, "ema"),
        "exact": rectification(t, beta2, "exact"),
        "first": rectification(t, beta2, "first-order"),
    }


def allows(warmup: Warmup, beta2: float) -> bool:
    """Whether the warmup leaves its start at this beta2."""
    return not isinstance(warmup, Rectified) or rho_inf(beta2) > warmup.rho_min


def first_order(r: float) -> float:
    """The first-order variance; NaN where it is undefined."""
    return variance_first_order(r) if r > 4 else math.nan
