"""The theory's computed figures, each made from a table; simulated_figures.py has the simulated ones."""

import math

from ..plot import Line, Mark, Plot
from ..style import Style
from ..table import Table
from ..theory_numbers.computed import WARMUPS

# The same style in every figure: the three variances (and the warmups made of them), the simulations.
EXACT, FIRST, EMA, SMA, SIMULATED = Style(0), Style(1), Style(2), Style(5), Style(7)
ORDERS = {"ema": ("the EMA's integral", EMA), "exact": ("closed form", EXACT), "first": ("first order", FIRST)}
OTHERS = (Style(3), Style(4), Style(5), Style(6), Style(8))  # everything else
_WARMUPS = dict(zip(WARMUPS, (FIRST, Style(9), EXACT, EMA, *OTHERS), strict=False))
STEP = "step t (logarithmic)"


def first_step(table: Table) -> Plot:
    x = table["bound"]
    return Plot(
        "first_step",
        "Var[ψ₁; ψ₁ ≤ b]",
        "bound b (logarithmic)",
        [
            Line("variance, values above b left out", EXACT, x, table["truncated_variance"]),
            Line("√(2/π) b", FIRST, x, table["rate"], marked=False),
        ],
        table,
        "The truncated variance of the first adaptive learning rate grows in proportion to the bound.",
    )


def variance_of_rho(table: Table) -> Plot:
    x = table["rho"]
    return Plot(
        "variance_of_rho",
        "Var[ψ]",
        "degrees of freedom ρ (logarithmic)",
        [
            Line("closed form", EXACT, x, table["variance"], marked=False),
            Line("first order", FIRST, x, table["variance_first_order"], marked=False),
            Line("first order − closed form", OTHERS[0], x, table["difference"], marked=False),
        ],
        table,
        "Closed form and first order fall as rho grows; their difference falls faster.",
        ylim=(1e-8, 1e2),
        marks=[Mark("ρ = 4", x=4, place=0.03)],
    )


def slope_of_rho(table: Table) -> Plot:
    right = table.keep(lambda row: row["slope_by_digammas"] < 0)
    wrong = table.keep(lambda row: row["slope_by_digammas"] >= 0)
    sizes = [max(value, 1e-300) for value in wrong["slope_by_digammas"]]
    return Plot(
        "slope_of_rho",
        "size of dVar[ψ]/dρ",
        "degrees of freedom ρ (logarithmic)",
        [
            Line(
                "summed from terms of one sign", EXACT, table["rho"], [-slope for slope in table["slope"]], marked=False
            ),
            Line(
                "by digammas in float64, negative",
                FIRST,
                right["rho"],
                [-slope for slope in right["slope_by_digammas"]],
                points=True,
            ),
            Line(
                "by digammas, not negative: wrong",
                OTHERS[0],
                wrong["rho"],
                sizes,
                error=[math.inf] * len(sizes),
                points=True,
            ),
        ],
        table,
        "The slope is negative throughout; by digammas it loses its digits and then its sign.",
        ylim=(1e-19, 1e3),
    )


def weights(table: Table) -> Plot:
    x = table["step"]
    t, length = table["t"][0], table["rho_t"][0]
    center = t - (length - 1) / 2
    return Plot(
        "weights",
        f"weight of each gradient at step {t:,}",
        "step of the gradient",
        [
            Line("exponential average", EMA, x, table["ema"], marked=False),
            Line(
                f"simple average of the last {length:,.1f}", SMA, x, table["sma"], marked=False, drawstyle="steps-mid"
            ),
        ],
        table,
        "The exponential weights rise to the last step; the simple ones are level over the last rho of them.",
        logs="",
        ylim=(0, 1.25 * max(*table["ema"], *table["sma"])),
        marks=[Mark("center of mass of both", x=center, place=0.03)],
    )


def rho_by_step(table: Table) -> Plot:
    betas = list(dict.fromkeys(table["beta2"]))
    return Plot(
        "rho_by_step",
        "ρₜ",
        STEP,
        [
            Line(f"β₂ = {beta2!r}", style, table.where(beta2=beta2)["t"], table.where(beta2=beta2)["rho_t"])
            for beta2, style in zip(betas, OTHERS, strict=False)
        ],
        table,
        "Rho follows the step count and then levels off at rho infinity, later for larger beta2.",
        marks=[Mark("4: first order begins", y=4, place=0.98), Mark("2: variance is finite", y=2, place=0.98)],
    )


def fitted_law_error(table: Table) -> Plot:
    return _scaled(
        table,
        "fitted_law_error",
        "relative_error",
        "error of the fitted law's Var[ψₜ], %",
        "The fitted law's variance is too large, most of all around the step 1/(1 - beta2).",
    )


def effective_samples(table: Table) -> Plot:
    return _scaled(
        table,
        "effective_samples",
        "relative_difference",
        "1/Σwᵢ² over ρₜ, minus 1, %",
        "1/sum of squared weights exceeds rho most around the step 1/(1 - beta2).",
    )


def omegas(table: Table, beginning: bool) -> Plot:
    """omega by step, or its first 30 steps on a logarithmic y axis; warmups that coincide share a line."""
    shared: dict[tuple[float, ...], list[str]] = {}
    for name in list(table.rows[0])[1:]:
        shared.setdefault(tuple(round(value, 12) for value in table[name]), []).append(name)
    here = table.keep(lambda row: row["t"] <= 30) if beginning else table
    lines = [
        Line("; ".join(names), _WARMUPS[names[0]], here["t"], [omega or math.nan for omega in here[names[0]]])
        if beginning
        else Line("; ".join(names), _WARMUPS[names[0]], here["t"], here[names[0]])
        for names in shared.values()
        if not beginning or any(here[names[0]])
    ]
    if beginning:
        title, alt = "ω, first 30 steps (logarithmic)", "Rectifications start later than other warmups, and higher."
        return Plot("omega_first_steps", title, "step t", lines, here, alt, logs="y")
    alt = "Omega grows from 0 to 1, fastest between a tenth of 1/(1 - beta2) steps and twice as many."
    return Plot("omega_by_step", "ω", STEP, lines, here, alt, logs="x", ylim=(-0.03, 1.06))


def _scaled(table: Table, name: str, column: str, title: str, alt: str) -> Plot:
    betas = list(dict.fromkeys(table["beta2"]))
    return Plot(
        name,
        title,
        "(1 − β₂) t (logarithmic)",
        [
            Line(
                f"β₂ = {beta2!r}",
                style,
                table.where(beta2=beta2)["scaled_t"],
                [100 * value for value in table.where(beta2=beta2)[column]],
            )
            for beta2, style in zip(betas, OTHERS, strict=False)
        ],
        table,
        alt,
        logs="x",
    )
