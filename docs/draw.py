"""The pictures of the docs: a report's drawings, standing alone, with colours for light and dark."""

from collections.abc import Mapping, Sequence

from markupsafe import escape

from rectified.figures.style import Style, standing, styles
from rectified.study import Store
from rectified.study.report import final_metric as figures
from rectified.study.report.draw import Drawing
from rectified.study.report.page import sections
from rectified.study.report.plot_data import groups, limits
from rectified.workloads.tasks import parse_task

WIDTH, LEFT = 760, 54


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
    return beside(
        [panel.drawing for share in at.shares for panel in share.panels[:1] if panel.drawing], 1, section.styles
    )


def gradients(store: Store, methods: Sequence[str]) -> str:
    """Histograms of the first steps' gradients, a panel a method; each names its own."""
    (section,) = sections([record for record in store.records() if record.cell.method in methods])
    return beside(section.gradients, 2, {})


def beside(drawings: Sequence[Drawing], columns: int, legend: Mapping[str, Style]) -> str:
    """In rows of so many, below the legend."""
    rows = [list(map(str, drawings[i : i + columns])) for i in range(0, len(drawings), columns)]
    total = max(sum(_size(figure)[0] for figure in row) for row in rows)
    parts, top = _keys(legend, total)
    for row in rows:
        left = 0.0
        for figure in row:
            width, height = _size(figure)
            place = f'<svg x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" '
            parts.append(figure.replace("<svg ", place, 1))
            left += width
        top += max(_size(figure)[1] for figure in row)
    return standing("".join(parts), total, top)


def _size(figure: str) -> tuple[float, float]:
    width, height = map(float, figure.split('viewBox="')[1].split('"')[0].split()[2:])
    return width, height


def _keys(legend: Mapping[str, Style], width: float) -> tuple[list[str], float]:
    """The legend, in as many lines as it takes, and where it ends."""
    parts, x, y = [], LEFT, 8
    for method, style in legend.items():
        length = 80 + 8 * len(method)
        if x > LEFT and x + length > width:
            x, y = LEFT, y + 22
        label = f'<text x="{x + 46}" y="{y + 11}" style="fill:var(--ink)">{escape(method)}</text>'
        parts.append(f'<g transform="translate({x},{y})">{figures.key(style)}</g>{label}')
        x += length
    return parts, y + 32.0 if legend else 0.0
