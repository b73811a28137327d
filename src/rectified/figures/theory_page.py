"""The theory's page and the files beside it: everything computed, then told in order."""

from collections.abc import Iterator
from functools import cache

import jinja2
from markupsafe import Markup
from rich.console import Console

from . import experiments, numbers, simulated, theory, variants
from .panel import Panel, files, inline, key
from .prose_values import prose_values
from .stages import Stages
from .style import SHEETS, css_variables
from .table import Table
from .tables import (
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
from .write import Settings

TABLE_TIMES = 80  # as many paths for the table as for the figures


def tell(settings: Settings, command: str, console: Console) -> dict[str, str | bytes]:
    """Every file's content by its name, the page last."""
    with Stages(console) as stages:
        tables = _tables(settings, stages)
        panels = list(_panels(tables))
        drawn: dict[str, Markup] = {}
        written: dict[str, str | bytes] = {}
        with stages.stage("drawing", len(panels)) as advance:
            for panel in panels:
                drawn[panel.name] = inline(panel)
                written |= files(panel)
                advance()
    written["variance_table.csv"] = tables["variance_table"].csv()
    written["variance_table.md"] = variance_markdown(tables["variance_table"])
    written["periods.csv"] = tables["periods"].csv()
    written["periods.md"] = period_markdown(tables["periods"])
    written["theory.html"] = _template().render(
        settings=settings,
        betas=_betas(settings),
        period_betas=numbers.PERIOD_BETAS,
        beta1=simulated.BETA1,
        table_paths=TABLE_TIMES * settings.paths,
        panels={panel.name: panel for panel in panels},
        drawn=drawn,
        keys={line.key: key(line) for panel in panels for line in panel.legend},
        said=prose_values(tables, settings.beta2),
        variances=variance_cells(tables["variance_table"]),
        periods=period_cells(tables["periods"]),
        mean_cells=mean_cells(tables["by_mean"], tables["by_step"]["limit"][0]),
        error_cells=error_cells(tables["early"], tables["fitted_law"]),
        left_out=[name for name, w in numbers.WARMUPS.items() if not numbers.allows(w, settings.beta2)],
        law_cells=law_cells(tables["by_law"]),
        command=command,
    )
    return written


def _betas(settings: Settings) -> list[float]:
    return sorted({*numbers.BETAS, settings.beta2})


def _tables(settings: Settings, stages: Stages) -> dict[str, Table]:
    """Every number of the page, computed and simulated."""
    beta2, paths, steps, seed = settings.beta2, settings.paths, settings.steps, settings.seed
    betas = _betas(settings)
    with stages.stage("computing the variances", 9) as advance:
        made = {}
        for name, make in {
            "first_step": numbers.first_step,
            "first_step_sampled": lambda: simulated.first_step(TABLE_TIMES * paths, seed),
            "variance_of_rho": numbers.variance_of_rho,
            "slope_of_rho": numbers.slope_of_rho,
            "weights": lambda: numbers.weights(beta2),
            "rho_by_step": lambda: numbers.rho_by_step(betas),
            "fitted_law": lambda: numbers.fitted_law(betas),
            "omegas": lambda: numbers.omegas(beta2),
            "periods": numbers.periods,
        }.items():
            made[name] = make()
            advance()
    with stages.stage("simulating ψ by step, EMA and SMA", steps) as advance:
        made["by_step"] = simulated.by_step(beta2, paths, steps, seed, advance)
    with stages.stage("simulating gradients with a mean", steps) as advance:
        made["by_mean"] = simulated.by_mean(beta2, paths, steps, seed, advance)
    with stages.stage("simulating heavy tails and correlation", steps) as advance:
        made["by_law"] = simulated.by_law(beta2, paths, steps, seed, advance)
    with stages.stage("simulating the other methods", len(variants.RATES) * steps) as advance:
        found = variants.by_variant(paths, steps, seed, numbers.spaced(steps, 10), advance)
        made["by_variant"] = variants.over_last(found)
    with stages.stage("simulating the table", len(betas) * max(simulated.TABLE_STEPS)) as advance:
        made["early"] = simulated.early(betas, TABLE_TIMES * paths, seed, advance)
    made["variance_table"] = variance_table(made["early"])
    return made


def _panels(tables: dict[str, Table]) -> Iterator[Panel]:
    """Every figure, in the page's order."""
    yield theory.first_step(tables["first_step"])
    yield experiments.first_step_sampled(tables["first_step_sampled"])
    yield theory.variance_of_rho(tables["variance_of_rho"])
    yield theory.slope_of_rho(tables["slope_of_rho"])
    yield theory.weights(tables["weights"])
    yield theory.rho_by_step(tables["rho_by_step"])
    yield experiments.variance_by_step(tables["by_step"])
    yield experiments.rectified_by_step(tables["by_step"])
    yield experiments.by_mean(tables["by_mean"], rectified=False)
    yield experiments.by_mean(tables["by_mean"], rectified=True)
    for beta2 in dict.fromkeys(tables["early"]["beta2"]):
        yield experiments.first_steps(tables["early"], beta2)
    yield theory.fitted_law_error(tables["fitted_law"])
    yield theory.effective_samples(tables["fitted_law"])
    yield theory.omegas(tables["omegas"], beginning=False)
    yield theory.omegas(tables["omegas"], beginning=True)
    yield experiments.by_law(tables["by_law"], "psi")
    yield experiments.by_law(tables["by_law"], "update")
    yield experiments.by_variant(tables["by_variant"])


@cache
def _template() -> jinja2.Template:
    here = jinja2.Environment(
        loader=jinja2.FileSystemLoader(SHEETS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    here.filters.update(digits=digits, percent=percent, cap=_cap, beta="β₂ = {!r}".format)
    here.globals.update(css_variables=css_variables)
    return here.get_template("theory_page.html.j2")


def _cap(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]
