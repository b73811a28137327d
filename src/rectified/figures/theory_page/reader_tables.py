"""The page's tables as text, for the page and for Markdown."""

import math

from ...theory import rho
from ..table import Table, markdown
from ..theory_numbers.computed import PERIOD_BETAS
from ..theory_numbers.simulated import TABLE_STEPS
from .prose_values import by_law, by_mean, fitted, orders


def variance_table(early: Table) -> Table:
    """The variance of psi by EMA, closed form, first order and simulation, at the steps of the table."""
    names = {"ema": "ema", "exact": "closed_form", "first": "first_order"}
    names |= {"simulated": "simulated", "simulated_error": "standard_error"}
    return Table.of(
        {
            "beta2": row["beta2"],
            "t": row["t"],
            "rho_t": rho(row["t"], row["beta2"]),
            **{name: row[column] for column, name in names.items()},
        }
        for row in early.rows
        if row["t"] in TABLE_STEPS
    )


def variance_cells(table: Table) -> list[list[str]]:
    """The rows of the table of variances, as text."""
    return [
        [
            repr(row["beta2"]),
            str(row["t"]),
            f"{row['rho_t']:.2f}",
            *(digits(row[name], 4) for name in ("ema", "closed_form", "first_order")),
            measured(row["simulated"], row["standard_error"]),
        ]
        for row in table.rows
    ]


def variance_markdown(table: Table) -> str:
    """The table of variances as Markdown."""
    heads = ["β₂", "t", "ρₜ", "EMA, by integral", "closed form at ρₜ", "first order", "simulated ± standard error"]
    return markdown(heads, variance_cells(table))


def period_cells(table: Table) -> list[list[str]]:
    """The rows of the table of effective warmup periods, as text."""
    return [[row["warmup"], *(f"{row[f'beta2_{b!r}']:,.1f}" for b in PERIOD_BETAS)] for row in table.rows]


def period_markdown(table: Table) -> str:
    """The table of effective warmup periods as Markdown."""
    return markdown(["T(ω)", *(f"β₂ = {b!r}" for b in PERIOD_BETAS)], period_cells(table))


def law_cells(table: Table) -> list[list[str]]:
    """The rows of the table of the gradients' laws, as text."""
    return [
        [row["law"], *(digits(value) for name, value in row.items() if name not in ("law", "psi_times"))]
        for row in by_law(table)["rows"]
    ]


def mean_cells(table: Table, limit: float) -> list[list[str]]:
    """The rows of the table of the gradients' means, as text."""
    return [
        [f"{row['mu']:g}", digits(row["variance"]), digits(row["early"]), digits(row["late"])]
        for row in by_mean(table, limit)
    ]


def error_cells(early: Table, fitted_law: Table) -> list[list[str]]:
    """The rows of the table of the formulas' errors, as text."""
    return [
        [
            repr(first["beta2"]),
            str(first["begins"] or "–"),
            digits(first["begins_off"]),
            digits(first["first_off"]),
            percent(first["exact_off"]),
            f"{percent(late['error'])} at t = {late['t']:,}",
            percent(late["end"]),
        ]
        for first, late in zip(orders(early), fitted(fitted_law), strict=True)
    ]


def percent(part: float) -> str:
    """A fraction as a percentage with one decimal."""
    return f"{100 * part:.1f} %".replace("-", "−")


def digits(value: float, count: int = 3) -> str:
    """A number with `count` significant digits; a dash for NaN.

    >>> digits(0.17463, 4), digits(1999.0), digits(0.00002345), digits(math.nan), digits(math.inf)
    ('0.1746', '2,000', '2.35 × 10⁻⁵', '–', 'infinite')
    """
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "infinite"
    if value and not 1e-4 <= abs(value) < 1e7:
        mantissa, exponent = f"{value:.{count - 1}e}".split("e")
        power = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        return f"{mantissa} × 10{power}".replace("-", "−")
    rounded = float(f"{value:.{count}g}")
    decimals = max(0, count - 1 - math.floor(math.log10(abs(rounded)))) if rounded else 0
    return f"{rounded:,.{decimals}f}".replace("-", "−")


def measured(value: float, error: float) -> str:
    """A variance with its standard error, rounded to the error's second digit.

    >>> measured(0.174612, 0.00061), measured(1.0832, math.inf)
    ('0.17461 ± 0.00061', '1.08 (no finite error)')
    """
    if not math.isfinite(error):
        return f"{digits(value)} (no finite error)"
    decimals = max(0, 1 - math.floor(math.log10(error))) if error else 3
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"
