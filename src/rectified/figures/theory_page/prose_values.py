"""The numbers in the page's sentences, read from its tables."""

import math
from collections.abc import Mapping
from typing import Any

from ...theory import rho, rho_inf, variance
from ..table import Table
from ..theory_numbers.computed import first_order, update_bound
from ..theory_numbers.simulated import BETA1, LAWS, MEANS


def prose_values(tables: Mapping[str, Table], beta2: float) -> dict[str, Any]:
    """Every number in the prose, by the name that the template uses."""
    return {
        "first_step": _first_step(tables["first_step"], tables["first_step_sampled"]),
        "rho": _rho(tables["slope_of_rho"]),
        "length": _length(beta2),
        "by_step": _by_step(tables["by_step"]),
        "by_mean": by_mean(tables["by_mean"], tables["by_step"]["limit"][0]),
        "orders": orders(tables["early"]),
        "fitted": fitted(tables["fitted_law"]),
        "by_law": by_law(tables["by_law"]),
        "by_variant": by_variant(tables["by_variant"]),
        "periods": _periods(tables["periods"]),
        "bounds": [(t, update_bound(t, BETA1, beta2)) for t in (1, 2, 10)],
        "settled": (1 - BETA1) / (1 + BETA1),
    }


def _first_step(truncated: Table, sampled: Table) -> dict[str, Any]:
    wanted = [1e2, 1e4, 1e6]
    nearest = [min(truncated.rows, key=lambda row: abs(math.log(row["bound"] / bound))) for bound in wanted]
    ends = sampled.where(draws=max(sampled["draws"]))["sample_variance"]
    return {
        "ratios": [row["ratio"] for row in nearest],
        "draws": max(sampled["draws"]),
        "low": min(ends),
        "high": max(ends),
    }


def _rho(slopes: Table) -> dict[str, Any]:
    wrong = [row["rho"] for row in slopes.rows if row["slope_by_digammas"] >= 0]
    beyond = [row for row in slopes.rows if wrong and row["rho"] >= wrong[0]]
    return {
        "pairs": [(r, variance(r), first_order(r)) for r in (5.0, 6.0, 10.0, 100.0)],
        "wrong_from": wrong[0] if wrong else None,
        "wrong": len(wrong),
        "beyond": len(beyond),
        "negative": all(slope < 0 for slope in slopes["slope"]),
    }


def _length(beta2: float) -> dict[str, Any]:
    def begins(least: float) -> int:
        t = 1
        while rho(t, beta2) <= least:
            t += 1
        return t

    t = max(2, round(1 / (1 - beta2)))
    return {
        "end": rho_inf(beta2),
        "t": t,
        "rho_t": rho(t, beta2),
        "finite": begins(2),
        "first": begins(4),
    }


def _by_step(table: Table) -> dict[str, Any]:
    sure = table.keep(lambda row: math.isfinite(row["simulated_ema_error"]))

    def outside(order: str) -> int:
        return sum(abs(row["simulated_ema"] - row[order]) > 2 * row["simulated_ema_error"] for row in sure.rows)

    first = next((row for row in sure.rows if row["r_first"] > 0), None)
    exact = min(sure.rows, key=lambda row: row["rectified_exact"])
    return {
        "points": len(sure.rows),
        "outside_ema": outside("ema"),
        "outside_exact": outside("exact"),
        "limit": table["limit"][0],
        "first": first,
        "lowest_exact": exact["rectified_exact"],
        "lowest_exact_t": exact["t"],
    }


def by_mean(table: Table, limit: float) -> list[dict[str, Any]]:
    """For each mean, the variance of psi at the last step, and that of r_t psi / C_var at step 10 and the last step."""
    last = max(table["t"])
    tenth = next(t for t in table["t"] if t >= 10)
    return [
        {
            "mu": law.mu,
            "tenth": tenth,
            "last": last,
            "variance": table.at("simulated", mu=law.mu, t=last),
            "early": table.at("simulated_rectified", mu=law.mu, t=tenth) / limit,
            "late": table.at("simulated_rectified", mu=law.mu, t=last) / limit,
        }
        for law in MEANS
    ]


def by_variant(table: Table) -> dict[str, tuple[float, float]]:
    """For each method the lowest and highest variance of omega psi, relative to the last step's, from step 5 on."""
    found: dict[str, tuple[float, float]] = {}
    for row in table.rows:
        if row["t"] > 4 and row["omega"] > 0:
            low, high = found.get(row["method"], (math.inf, 0.0))
            found[row["method"]] = min(low, row["over_last"]), max(high, row["over_last"])
    return found


def _periods(table: Table) -> tuple[float, float]:
    """The shortest and longest effective period of the rectifications and untuned warmups at beta2 = 0.999."""
    tuned = ("linear, 2000 steps", "hold, 2000 steps")
    found = [row["beta2_0.999"] for row in table.rows if row["warmup"] not in tuned]
    return min(found), max(found)


def orders(table: Table) -> list[dict[str, Any]]:
    """For each beta2, the step where the first order starts, and the factors by which both formulas are off."""
    found = []
    for beta2 in dict.fromkeys(table["beta2"]):
        here = table.where(beta2=beta2)
        begins = next((row for row in here.rows if not math.isnan(row["first"])), None)
        row = here.where(t=6).rows[0]
        found.append(
            {
                "beta2": beta2,
                "begins": begins["t"] if begins else None,
                "begins_off": begins["first"] / begins["ema"] if begins else math.nan,
                "first_off": row["first"] / row["ema"],
                "exact_off": row["exact"] / row["ema"] - 1,
            }
        )
    return found


def fitted(table: Table) -> list[dict[str, Any]]:
    """For each beta2: the largest relative error of the fitted law, its step, and the error at the last step."""
    found = []
    for beta2 in dict.fromkeys(table["beta2"]):
        here = table.where(beta2=beta2)
        far = max(here.rows, key=lambda row: row["relative_error"])
        ends = here.rows[-1]
        found.append(
            {
                "beta2": beta2,
                "error": far["relative_error"],
                "t": far["t"],
                "samples": far["relative_difference"],
                "end": ends["relative_error"],
            }
        )
    return found


def by_law(table: Table) -> dict[str, Any]:
    """For each law of the gradients: the variances of psi and of the update at a few steps."""
    last = max(table["t"])
    tenth = next(t for t in table["t"] if t >= 10)
    hundredth = next((t for t in table["t"] if t >= 100), last)
    normal = str(LAWS[0])
    rows = [
        {
            "law": str(law),
            "psi_tenth": table.at("psi", law=str(law), t=tenth),
            "psi_last": table.at("psi", law=str(law), t=last),
            "psi_times": table.at("psi", law=str(law), t=last) / table.at("psi", law=normal, t=last),
            "update_first": table.at("update", law=str(law), t=1),
            "update_tenth": table.at("update", law=str(law), t=tenth),
            "update_hundredth": table.at("update", law=str(law), t=hundredth),
            "update_last": table.at("update", law=str(law), t=last),
        }
        for law in LAWS
    ]
    plain = table.where(law=normal)
    return {
        "tenth": tenth,
        "hundredth": hundredth,
        "last": last,
        "rows": rows,
        "off_momentum": max(abs(row["update"] / row["momentum"] - 1) for row in plain.rows),
    }
