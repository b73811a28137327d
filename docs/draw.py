"""The pictures of the docs, as SVG files on white paper."""

from collections.abc import Sequence

from rectified.figures.drawing import Drawing, saved
from rectified.figures.style import canvas, look, styles
from rectified.study.analysis.results import StudyResults
from rectified.study.config.controls import controlled
from rectified.study.report.drawings import final_metric
from rectified.study.report.drawings.gradient_histograms import HEIGHT, WIDTH, draw_run, extent
from rectified.study.report.drawings.layout import BOTTOM, LEFT, RIGHT, TOP, dress
from rectified.study.report.page import sections
from rectified.study.report.plot_data import limits
from rectified.study.storage.store import Store


def robustness(store: Store) -> bytes:
    """The metric against the learning rate, of a study of one setting, without its controls."""
    (results,) = StudyResults.read(store).settings
    groups = [group for group in results.groups if controlled(group.method) is None]
    looks = styles(list(dict.fromkeys(group.method for group in groups)))
    bounds = limits([[value] for group in groups for value in group.values], results.task.larger_is_better)
    return _svg(final_metric.robustness(groups, looks, results.metric.label, bounds, "picture"))


def loss(store: Store, methods: Sequence[str]) -> bytes:
    """The loss by step, and omega, of a study at one lr."""
    records = [record for record in store.records() if record.run.method in methods]
    (section,) = sections(StudyResults.of(records, store.tasks()))
    (at,) = section.curves
    (share,) = at.shares
    drawing = share.panels[0].drawing
    assert drawing is not None
    return _svg(drawing)


def gradients(store: Store, methods: Sequence[str], columns: int = 2) -> bytes:
    """Histograms of the first steps' gradients, a panel for the first seed of each method."""
    records = {r.run.method: r for r in reversed(store.records()) if r.run.method in methods and r.gradients}
    looks, within = styles(methods), extent([record.gradients for record in records.values()])
    high = TOP + HEIGHT + BOTTOM
    width, height = columns * WIDTH, -(-len(methods) // columns) * high
    with look():
        figure = canvas(width, height)
        for i, method in enumerate(methods):
            left, bottom = i % columns * WIDTH + LEFT, height - (i // columns + 1) * high + BOTTOM
            inner = (WIDTH - LEFT - RIGHT) / width
            axes = figure.add_axes((left / width, bottom / height, inner, HEIGHT / height))
            run = records[method].run
            dress(axes, f"{method}, lr {run.lr:g}, seed {run.seed}")
            draw_run(axes, records[method].gradients, looks[method], within)
    return saved(figure, "svg", "white", "log10 of absolute gradients by step: " + ", ".join(methods))


def _svg(drawing: Drawing) -> bytes:
    return drawing.files()[f"{drawing.name}.svg"]
