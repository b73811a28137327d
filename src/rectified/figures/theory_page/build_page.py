"""Building the theory's page and its files: compute and simulate every number, draw the figures, render the page."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import jinja2
from rich.console import Console

from ..drawing import key_css
from ..html_page import environment
from ..plot import Plot
from ..table import Table
from ..theory_numbers import computed, simulated, simulated_variants
from . import computed_figures, simulated_figures
from .prose_values import prose_values
from .reader_tables import (
    digits,
    error_cells,
    law_cells,
    mean_cells,
    percent,
    period_cells,
    period_markdown,
    variance_cells,
    variance_markdown,
    variance_table,
)
from .stages import Stages
from .theory_files import Settings

TABLE_TIMES = 80  # as many paths for the table as for the figures


def build_page(settings: Settings, command: str, console: Console) -> dict[str, str | bytes]:
    """The content of every file by name, with the page last."""
    with Stages(console) as stages:
        tables = _tables(settings, stages)
        plots = {plot.name: plot for plot in _plots(tables)}
        pictures: dict[str, str] = {}
        written: dict[str, str | bytes] = {}
        with stages.stage("drawing", len(plots)) as advance:
            for name, plot in plots.items():
                pictures[name] = plot.drawing.__html__()
                written |= plot.files()
                advance()
    written["variance_table.csv"] = tables["variance_table"].csv()
    written["variance_table.md"] = variance_markdown(tables["variance_table"])
    written["periods.csv"] = tables["periods"].csv()
    written["periods.md"] = period_markdown(tables["periods"])
    written["theory.html"] = _template().render(
        settings=settings,
        betas=_betas(settings),
        period_betas=computed.PERIOD_BETAS,
        beta1=simulated.BETA1,
        table_paths=TABLE_TIMES * settings.paths,
        plots=plots,
        pictures=pictures,
        key_css=key_css(key for plot in plots.values() for key in plot.drawing.legend.values()),
        values=prose_values(tables, settings.beta2),
        variances=variance_cells(tables["variance_table"]),
        periods=period_cells(tables["periods"]),
        mean_cells=mean_cells(tables["by_mean"], tables["by_step"]["limit"][0]),
        error_cells=error_cells(tables["early"], tables["fitted_law"]),
        left_out=[name for name, w in computed.WARMUPS.items() if not computed.allows(w, settings.beta2)],
        law_cells=law_cells(tables["by_law"]),
        command=command,
    )
    return written


def _betas(settings: Settings) -> list[float]:
    return sorted({*computed.BETAS, settings.beta2})


def _tables(settings: Settings, stages: Stages) -> dict[str, Table]:
    """Every number of the page, computed and simulated."""
    beta2, paths, steps, seed = settings.beta2, settings.paths, settings.steps, settings.seed
    betas = _betas(settings)
    with stages.stage("computing the variances", 9) as advance:
        made = {}
        for name, make in {
            "first_step": computed.first_step,
            "first_step_sampled": lambda: simulated.first_step(TABLE_TIMES * paths, seed),
            "variance_of_rho": computed.variance_of_rho,
            "slope_of_rho": computed.slope_of_rho,
            "weights": lambda: computed.weights(beta2),
            "rho_by_step": lambda: computed.rho_by_step(betas),
            "fitted_law": lambda: computed.fitted_law(betas),
            "omegas": lambda: computed.omegas(beta2),
            "periods": computed.periods,
        }.items():
            made[name] = make()
            advance()
    with stages.stage("simulating ψ by step, EMA and SMA", steps) as advance:
        made["by_step"] = simulated.by_step(beta2, paths, steps, seed, advance)
    with stages.stage("simulating gradients with a mean", steps) as advance:
        made["by_mean"] = simulated.by_mean(beta2, paths, steps, seed, advance)
    with stages.stage("simulating heavy tails and correlation", steps) as advance:
        made["by_law"] = simulated.by_law(beta2, paths, steps, seed, advance)
    with stages.stage("simulating the other methods", len(simulated_variants.RATES) * steps) as advance:
        found = simulated_variants.by_variant(paths, steps, seed, computed.spaced(steps, 10), advance)
        made["by_variant"] = simulated_variants.over_last(found)
    with stages.stage("simulating the table", len(betas) * max(simulated.TABLE_STEPS)) as advance:
        made["early"] = simulated.early(betas, TABLE_TIMES * paths, seed, advance)
    made["variance_table"] = variance_table(made["early"])
    return made


def _plots(tables: dict[str, Table]) -> Iterator[Plot]:
    """Every figure, in the page's order."""
    yield computed_figures.first_step(tables["first_step"])
    yield simulated_figures.first_step_sampled(tables["first_step_sampled"])
    yield computed_figures.variance_of_rho(tables["variance_of_rho"])
    yield computed_figures.slope_of_rho(tables["slope_of_rho"])
    yield computed_figures.weights(tables["weights"])
    yield computed_figures.rho_by_step(tables["rho_by_step"])
    yield simulated_figures.variance_by_step(tables["by_step"])
    yield simulated_figures.rectified_by_step(tables["by_step"])
    yield simulated_figures.by_mean(tables["by_mean"], rectified=False)
    yield simulated_figures.by_mean(tables["by_mean"], rectified=True)
    for beta2 in dict.fromkeys(tables["early"]["beta2"]):
        yield simulated_figures.first_steps(tables["early"], beta2)
    yield computed_figures.fitted_law_error(tables["fitted_law"])
    yield computed_figures.effective_samples(tables["fitted_law"])
    yield computed_figures.omegas(tables["omegas"], beginning=False)
    yield computed_figures.omegas(tables["omegas"], beginning=True)
    yield simulated_figures.by_law(tables["by_law"], "psi")
    yield simulated_figures.by_law(tables["by_law"], "update")
    yield simulated_figures.by_variant(tables["by_variant"])


@cache
def _template() -> jinja2.Template:
    here = environment(Path(__file__).parent)
    here.filters.update(digits=digits, percent=percent, cap=_cap, beta="β₂ = {!r}".format)
    return here.get_template("theory_page.html.j2")


def _cap(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]
