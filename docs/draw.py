"""The pictures of the docs: a report's drawings, standing alone, with colours for light and dark."""

from collections.abc import Mapping, Sequence

from markupsafe import escape

from rectified.figures.style import Style, standing, styles
from rectified.study import Store
from rectified.study.report import figures
from rectified.study.report.draw import Drawing
from rectified.study.report.numbers import groups, limits
from rectified.study.report.page import sections
from rectified.study.tasks import parse_task

WIDTH, LEGEND = 760, 40


def robustness(store: Store) -> str:
    """The metric at the end against lr."""
    task = parse_task(store.cells()[0].task)
    records = store.records()
    looks = styles(list(dict.fromkeys(record.cell.method for record in records)))
    found = groups(records, task.metric)
    bounds = limits([[value] for group in found for value in group.values], task.larger_is_better)
    return beside([figures.robustness(found, looks, task.metric_label, bounds, WIDTH, "picture")], 1, looks)


def loss(store: Store, methods: Sequence[str]) -> str:
    """The loss by step, and omega, of a study at one lr."""
    (section,) = sections([record for record in store.records() if record.cell.method in methods])
    (at,) = section.curves
    return beside([panel.drawing for panel in at.panels[:1] if panel.drawing], 1, section.styles)


def gradients(store: Store, methods: Sequence[str]) -> str:
    """Histograms of the first steps' gradients, a panel a method; each names its own."""
    (section,) = sections([record for record in store.records() if record.cell.method in methods])
    return beside(section.gradients, 2, {})


def beside(drawings: Sequence[Drawing], columns: int, legend: Mapping[str, Style]) -> str:
    """In rows of so many, below the legend."""
    keys, x = [], 54
    for method, style in legend.items():
        label = f'<text x="{x + 46}" y="19" style="fill:var(--ink)">{escape(method)}</text>'
        keys.append(f'<g transform="translate({x},8)">{figures.key(style)}</g>{label}')
        x += 80 + 8 * len(method)
    parts, top, total = [], LEGEND if legend else 0.0, 0.0
    for row in (drawings[i : i + columns] for i in range(0, len(drawings), columns)):
        left = tallest = 0.0
        for figure in map(str, row):
            width, height = map(float, figure.split('viewBox="')[1].split('"')[0].split()[2:])
            place = f'<svg x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" '
            parts.append(figure.replace("<svg ", place, 1))
            left, tallest = left + width, max(tallest, height)
        top, total = top + tallest, max(total, left)
    return standing("".join(keys) + "".join(parts), total, top)
