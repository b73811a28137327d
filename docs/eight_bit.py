"""The tables of eight-bit.md: what codes lose, and trainings with moments of 8 bits against float32 ones."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

from rectified.figures.table import markdown
from rectified.study.analysis.stats import t_interval

__all__ = ["equivalence", "page_tables"]

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
MARGIN = 0.02  # nats: what these tasks call a difference
FLOATS, EIGHT = "adam+linear-10%", "adam+linear-10%(state_dtype=8bit)"
TASKS = {"gpt-post": "GPT", "cnn": "CNN", "vit": "ViT"}
M_ROWS = {
    "linear, 128, nearest": "evenly spaced, 128 elements per scale",
    "softsign, 32, nearest": "softsign, 32 (flashoptim)",
    "dynamic, 256, nearest": "dynamic map, 256 (bitsandbytes, torchao)",
    "cube root, 128, nearest": "cube root, 128 (here)",
}
V_ROWS = {
    "linear, 32, nearest, with 0": "root evenly spaced, 32, with 0 (flashoptim)",
    "dynamic, 256, nearest, with 0, v": "dynamic map, 256, with 0 (bitsandbytes, torchao)",
    "cube root, 128, nearest": "cube root of the root, 128, to nearest",
    "cube root, 128, spread": "cube root of the root, 128, right in the mean (here)",
}
BOTH_ROWS = {
    "flashoptim's": "flashoptim's codes",
    "bitsandbytes'": "bitsandbytes' and torchao's codes",
    "this package's": "here",
}


def page_tables() -> dict[str, str]:
    """Every table of the page, from the committed results."""
    codes = json.loads((RESULTS / "eight_bit_codes.json").read_text(encoding="utf-8"))["codes"]
    with (RESULTS / "eight_bit_runs.csv").open(newline="", encoding="utf-8") as file:
        runs = list(csv.DictReader(file))
    rows = {"m": M_ROWS, "v": V_ROWS, "both": BOTH_ROWS}
    return {**{f"codes of {name}": lost(codes, name, mine) for name, mine in rows.items()}, "runs": equivalence(runs)}


def lost(codes: Sequence[Mapping[str, object]], moment: str, rows: Mapping[str, str]) -> str:
    """The relative error of Adam's direction with one of the moments coded, or both."""
    errors = {(row["task"], row["code"]): float(str(row["error"])) for row in codes if row["moment"] == moment}
    table = [[name, *(f"{100 * errors[task, code]:,.0f} %" for task in TASKS)] for code, name in rows.items()]
    return markdown([moment, *TASKS.values()], table)


def equivalence(runs: Sequence[Mapping[str, str]]) -> str:
    """Validation losses of both, and the mean of the paired differences with its 90 % interval.

    Both are equivalent within a margin, at a level of 5 %, if that interval is inside it (two one-sided tests).
    """
    found: dict[tuple[str, float], dict[str, dict[str, float]]] = {}
    for run in runs:
        losses = found.setdefault((run["task"], float(run["lr"])), {}).setdefault(run["method"], {})
        losses[run["seed"]] = float(run["valid_loss"])
    rows = []
    for (task, lr), losses in sorted(found.items()):
        pairs = [(losses[EIGHT][seed], losses[FLOATS][seed]) for seed in sorted(losses[FLOATS])]
        interval = t_interval([a - b for a, b in pairs], 0.9)
        inside = interval.low > -MARGIN and interval.high < MARGIN
        difference = f"{interval.estimate:+.4f} ({interval.low:+.4f} to {interval.high:+.4f})".replace("-", "−")
        means = [f"{mean(column):.4f}" for column in zip(*pairs, strict=True)]
        rows.append([task, f"{lr:g}", means[1], means[0], difference, "yes" if inside else "no"])
    heads = ["task", "lr", "float32", "8 bits", "difference", f"within ±{MARGIN:g}"]
    return markdown(heads, rows)
