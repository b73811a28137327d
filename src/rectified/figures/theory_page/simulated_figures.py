"""The theory's simulated figures, each made from a table."""

import math

from ..plot import Line, Mark, Plot
from ..style import Style
from ..table import Table
from ..theory_numbers.simulated import EARLY
from .computed_figures import EMA, EXACT, FIRST, ORDERS, OTHERS, SIMULATED, SMA, STEP

_SIDE = 1.03  # the factor between points of one step, so that they do not hide each other


def first_step_sampled(table: Table) -> Plot:
    runs = list(dict.fromkeys(table["run"]))
    return Plot(
        "first_step_sampled",
        "sample variance of ψ₁",
        "number of draws (logarithmic)",
        [
            Line(f"run {run}", style, table.where(run=run)["draws"], table.where(run=run)["sample_variance"])
            for run, style in zip(runs, OTHERS, strict=False)
        ],
        table,
        "The sample variance of the first adaptive learning rate jumps upwards and never settles.",
    )


def variance_by_step(table: Table) -> Plot:
    x = table["t"]
    return Plot(
        "variance_by_step",
        "Var[ψₜ]",
        STEP,
        [
            *(Line(label, style, x, table[order], marked=False) for order, (label, style) in ORDERS.items()),
            _points("simulated, EMA", SIMULATED, table, "simulated_ema"),
            _points("simulated, SMA", SMA, table, "simulated_sma", shift=_SIDE),
        ],
        table.columns("t", *ORDERS, "simulated_ema*", "simulated_sma*"),
        "The simulated variance of the adaptive learning rate falls with the step, along the computed lines.",
        ylim=_decades(table, "simulated_ema"),
    )


def rectified_by_step(table: Table) -> Plot:
    sure = table.keep(lambda row: row["t"] > 4)
    simulated = [
        _points("", style, sure, f"simulated_rectified_{order}", _SIDE**side)
        for (order, (label, style)), side in zip(ORDERS.items(), (-1, 0, 1), strict=True)
    ]
    return Plot(
        "rectified_by_step",
        "Var[rₜ ψₜ] over its limit",
        STEP,
        [
            *(
                Line(f"rₜ from {label}", style, table["t"], table[f"rectified_{order}"], marked=False)
                for order, (label, style) in ORDERS.items()
            ),
            *simulated,
        ],
        table.columns("t", "limit", "r_*", "rectified_*", "simulated_rectified_*"),
        "Rectified by the EMA's own variance the ratio is 1 at every step; by the others it is at most 1.",
        logs="x",
        xlim=(1, 1.25 * table["t"][-1]),
        ylim=(0, 1.35),
        marks=[Mark("C_var", y=1, place=0.01)],
    )


def by_mean(table: Table, rectified: bool) -> Plot:
    column = "simulated_rectified" if rectified else "simulated"
    means = list(dict.fromkeys(table["mu"]))
    return Plot(
        "rectified_by_mean" if rectified else "variance_by_mean",
        "Var[rₜ ψₜ], simulated" if rectified else "Var[ψₜ], simulated",
        STEP,
        [
            _simulated(f"μ = {mu:g}", style, table.where(mu=mu), column)
            for mu, style in zip(means, (SIMULATED, *OTHERS), strict=True)
        ],
        table.columns("mu", "t", *(["r_exact"] if rectified else []), column, f"{column}_error"),
        "Rectified, the variance is nearly level for every mean, and lower for larger means."
        if rectified
        else "The variance falls with the step for every mean, and is smaller for larger means.",
        ylim=_decades(table, column),
    )


def first_steps(table: Table, beta2: float) -> Plot:
    here = table.where(beta2=beta2).keep(lambda row: 3 <= row["t"] < EARLY)
    names = ("ema", "exact", "first", "simulated", "simulated_error")
    over = Table.of({"t": row["t"], **{name: row[name] / row["ema"] for name in names}} for row in here.rows)
    top = max([7.0, *(value for value in over["first"] if value > 0)])
    return Plot(
        f"first_steps_beta2_{beta2!r}",
        f"Var[ψₜ] over the EMA's own, β₂ = {beta2!r}",
        "step t",
        [
            Line("the EMA's integral", EMA, over["t"], over["ema"], marked=False),
            Line("closed form", EXACT, over["t"], over["exact"]),
            Line("first order", FIRST, over["t"], over["first"]),
            _points("simulated", SIMULATED, over, "simulated"),
        ],
        here,
        f"At beta2 {beta2!r} the first order starts far too high; the closed form stays near the integral.",
        logs="y",
        xlim=(2.5, EARLY - 0.5),
        ylim=(0.7, 1.3 * top),
        yticks=(0.7, 1, 1.5, 2, 3, 5, 8) if top < 12 else (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
    )


def by_variant(table: Table) -> Plot:
    sure = table.keep(lambda row: row["t"] > 4 and row["omega"] > 0)
    return Plot(
        "rectified_by_variant",
        "Var[ωₜ ψₜ] over that of the last step, simulated",
        STEP,
        [
            _simulated(name, style, sure.where(method=name), "over_last")
            for name, style in zip(dict.fromkeys(sure["method"]), (SIMULATED, *OTHERS), strict=False)
        ],
        table,
        "Rectified, the variance is level for RMSprop and NAdam; Adadelta's and LAMB's rise by multiples.",
        ylim=_decades(sure, "over_last"),
    )


def by_law(table: Table, column: str) -> Plot:
    """The variance by law of the gradients: of psi, or of the whole update."""
    laws = list(dict.fromkeys(table["law"]))
    lines = [
        _simulated(law, style, table.where(law=law), column)
        for law, style in zip(laws, (SIMULATED, *OTHERS), strict=False)
    ]
    if column == "psi":
        return Plot(
            "psi_by_law",
            "Var[ψₜ], simulated",
            STEP,
            lines,
            table.columns("law", "t", "psi*"),
            "Heavy tails and correlation raise the variance of the adaptive learning rate.",
            ylim=_decades(table, "psi"),
        )
    one = table.where(law=laws[0])
    return Plot(
        "update_by_law",
        "Var[m̂ₜ ψₜ], the whole update, simulated",
        STEP,
        [*lines, Line("independent, if v̂ were 1", OTHERS[-1], one["t"], one["momentum"], marked=False)],
        table.columns("law", "t", "update*", "momentum"),
        "The whole update's variance is 1 at the first step and falls over the first tens of steps.",
        ylim=(0.6 * min(table["update"] + table["momentum"]), 1.5),
    )


def _points(label: str, style: Style, table: Table, column: str, shift: float = 1.0) -> Line:
    xs = [shift * t for t in table["t"]]
    return Line(label, style, xs, table[column], table[f"{column}_error"], points=True)


def _simulated(label: str, style: Style, table: Table, column: str) -> Line:
    return Line(label, style, table["t"], table[column], table[f"{column}_error"])


def _decades(table: Table, column: str) -> tuple[float, float]:
    """Limits of a logarithmic axis: whole decades around all values except those of step 1, which may be anything."""
    logs = [math.log10(row[column]) for row in table.rows if row["t"] > 1 and row[column] > 0]
    return 10.0 ** math.floor(min(logs)), 10.0 ** math.ceil(max(logs))
