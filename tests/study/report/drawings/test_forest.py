"""The forest plot: estimates and intervals are the comparison's, and a cut one is marked."""

import pytest

import drawn
from rectified.figures.style import PAPER, styles
from rectified.study.analysis.comparisons import Comparison, Difference
from rectified.study.analysis.outcomes import Metric
from rectified.study.analysis.stats import Interval
from rectified.study.report.drawings.forest import forest
from rectified.workloads.tasks import TASKS, TaskInfo

METRIC = Metric.of(TaskInfo.of(TASKS["fashion-mnist-mini"], ()))
STYLES = styles(["adam", "radam", "sgd"])


def difference(method, lr, low, high, finding="open"):
    return Difference(method, "adam", lr, ((0.1,), (0.1,)), Interval((low + high) / 2, low, high, 5), finding=finding)


AT_BEST = (difference("radam", None, 0.5, 2.5, "better"), difference("sgd", None, -4.0, -1.0, "worse"))
AT_LR = (
    difference("radam", 0.01, -1.0, 2.0),
    difference("radam", 0.1, -2.0, 80.0),
    difference("sgd", 0.01, -3.0, 0.5),
    difference("sgd", 0.1, -70.0, -50.0, "worse"),
)


@pytest.fixture(scope="module")
def axes():
    found = Comparison("adam", {}, None, (), AT_BEST, AT_LR, {})
    (axes,) = forest(found, STYLES, METRIC, "forest").figure().axes
    return axes


def name(d):
    return f"{d.method}, {'each at its best lr' if d.lr is None else f'lr {d.lr:g}'}"


def test_estimates_and_intervals_are_the_differences(axes):
    reach = axes.get_xlim()[1]
    assert axes.get_xlim() == (-reach, reach)
    assert 4 < reach < 50, "the axis fits most intervals"
    rows = {}
    for d in (*AT_BEST, *AT_LR):
        xs, ys = drawn.points(axes, f"{name(d)}: interval")
        if abs(d.interval.estimate) <= reach:
            assert xs == [max(d.interval.low, -reach), min(d.interval.high, reach)]
            assert drawn.points(axes, name(d)) == ([d.interval.estimate], ys[:1])
        assert ys[0] == ys[1]
        rows[name(d)] = ys[0]
    texts = {row: [t.get_text() for t in axes.texts if t.get_position()[1] == row] for row in rows.values()}
    assert texts[rows["radam, each at its best lr"]] == ["each at its best lr", "+1.50 (+0.50 to +2.50)"]
    assert texts[rows["sgd, lr 0.1"]] == ["lr 0.1", "−60.00 (−70.00 to −50.00)"]
    assert len(set(rows.values())) == 6


def test_only_what_goes_on_beyond_the_axis_has_an_arrow(axes):
    reach = axes.get_xlim()[1]
    cut = {
        line.get_label(): (line.get_marker(), line.get_xdata()[0])
        for line in axes.get_lines()
        if ": cut" in line.get_label()
    }
    assert {label: marker for label, (marker, _) in cut.items()} == {"radam, lr 0.1: cut": ">", "sgd, lr 0.1: cut": "<"}
    assert cut["radam, lr 0.1: cut"][1] == pytest.approx(reach, rel=0.02)
    assert cut["sgd, lr 0.1: cut"][1] == pytest.approx(-reach, rel=0.02)


def test_a_finding_is_filled_and_nothing_else(axes):
    fills = {line.get_label(): line.get_markerfacecolor() for line in axes.get_lines()}
    assert fills["radam, each at its best lr"] == STYLES["radam"].color
    assert fills["sgd, each at its best lr"] == STYLES["sgd"].color
    assert fills["radam, lr 0.01"] == fills["sgd, lr 0.01"] == PAPER


def test_the_margin_is_shaded(axes):
    band = axes.patches[0]
    assert (band.get_x(), band.get_width()) == (-METRIC.margin, 2 * METRIC.margin)
