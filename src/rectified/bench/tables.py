"""The benchmark's tables, for a terminal and for a page."""

from collections.abc import Sequence

import torch
from rich.console import Console
from rich.table import Table

from ..figures.table import Sheet
from .entries import BASE, ENTRIES, Entry
from .ratios import Outcome, Results


def sheets(results: Results, quartiles: bool) -> dict[str, Sheet]:
    """The tables by name: peers, our own methods, 16-bit parameters, cold caches; empty ones are left out."""
    wide = [entry for entry in ENTRIES if entry.dtype is torch.float32]
    peers = [BASE, *(entry for entry in wide if entry.kind != "ours")]
    ours = [entry for entry in wide if entry.kind == "ours"]
    narrow = [entry for entry in ENTRIES if entry.dtype is not torch.float32]
    of_steps = [
        ("peers", "Step time / ours", peers),
        ("ours", "Our other methods: step time / our RAdam's", ours),
        ("bfloat16", "Parameters and gradients in bfloat16 / our RAdam in float32", narrow),
    ]
    found = {name: _steps(title, entries, results.outcomes, quartiles) for name, title, entries in of_steps}
    found["cold"] = _cold("Single steps with cold caches / ours", peers, results.outcomes, quartiles)
    return {name: sheet for name, sheet in found.items() if any(row[0] != BASE.name for row in sheet.rows)}


def _steps(title: str, entries: Sequence[Entry], outcomes: Sequence[Outcome], quartiles: bool) -> Sheet:
    """The table of step times on every model, with bytes and bandwidth on the largest."""
    largest = outcomes[-1]

    def row(entry: Entry) -> list[str]:
        cells = [entry.name]
        for outcome in outcomes:
            ratio = outcome.ratio(entry.name)
            if ratio is None:
                cells.append("–")
            elif entry is BASE:
                cells.append(f"1 ({_time(outcome.seconds(entry.name))})")
            else:
                cells.append(str(ratio) if quartiles else f"{ratio.median:.2f}")
        each, fraction = largest.bytes_each(entry.name), largest.fraction(entry.name)
        cells += ["–", "–"] if each is None else [f"{each[0]:.2f}", f"{each[1]:.2f}"]
        return [*cells, "–" if fraction is None else f"{100 * fraction.median:.0f} %"]

    heads = ["", *(outcome.title for outcome in outcomes)]
    heads += [f"{largest.model}: state, B/param", "extra at peak, B/param", "of bandwidth"]
    shown = [row(entry) for entry in entries if any(entry.name in outcome.entries for outcome in outcomes)]
    return Sheet(title, heads, shown)


def _cold(title: str, entries: Sequence[Entry], outcomes: Sequence[Outcome], quartiles: bool) -> Sheet:
    where = [outcome for outcome in outcomes if outcome.cold_ratio(BASE.name) is not None]
    rows = []
    for entry in entries:
        ratios = [outcome.cold_ratio(entry.name) for outcome in where]
        if any(ratio is not None for ratio in ratios):
            cells = ["–" if r is None else str(r) if quartiles else f"{r.median:.2f}" for r in ratios]
            rows.append([entry.name, *(["1"] * len(where) if entry is BASE else cells)])
    return Sheet(title, ["", *(outcome.title for outcome in where)], rows)


def markdown(results: Results) -> str:
    """All results as a Markdown page."""
    parts = [
        f"Made by `{results.command}`.",
        *(f"**{s.title}**\n\n{s.markdown()}" for s in sheets(results, True).values()),
    ]
    return "\n\n".join([*(part.strip() for part in parts), *remarks(results)]) + "\n"


def show(results: Results, console: Console) -> None:
    """Print all results to a terminal, with medians only."""
    for sheet in sheets(results, quartiles=False).values():
        table = Table(box=None, pad_edge=False)
        table.add_column(no_wrap=True)
        for head in sheet.heads[1:]:
            table.add_column(head, justify="right")
        for row in sheet.rows:
            table.add_row(*row)
        console.print(sheet.title, style="bold")
        console.print(table, "")
    for line in remarks(results):
        console.print(line, soft_wrap=True)


def remarks(results: Results) -> list[str]:
    """Remarks on where the benchmark ran and what was not measured."""
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    speeds = [speed / 1e9 for outcome in results.outcomes for speed in outcome.bandwidth]
    moved = f"An in-place addition read and wrote {min(speeds):.1f} to {max(speeds):.1f} GB/s."
    gone = [f"{name} ({why})" for name, why in results.absent.items()]
    gone += [
        f"{name} on {outcome.model} ({why.splitlines()[0][:160]})"
        for outcome in results.outcomes
        for name, why in outcome.failed.items()
    ]
    lines = [f"On {results.machine}; {versions}. {moved}"]
    if gone:
        lines.append(f"Not measured: {'; '.join(gone)}.")
    if results.device == "cpu":
        lines.append("Nothing here was measured on a GPU.")
    return lines


def _time(seconds: float) -> str:
    """Format seconds in a suitable unit.

    >>> _time(115e-6), _time(0.0681)
    ('115 µs', '68.1 ms')
    """
    return f"{1e6 * seconds:.3g} µs" if seconds < 1e-3 else f"{1e3 * seconds:.3g} ms"
