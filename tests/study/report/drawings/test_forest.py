"""The forest plot: estimates and intervals are the comparison's, all means are on it, and a cut interval is marked."""

import pytest

import drawn
from rectified.figures.style import PAPER, styles
from rectified.study.analysis.comparisons import Comparison, Difference
from rectified.study.analysis.outcomes import Metric
from rectified.study.analysis.stats import Interval
from rectified.study.report.drawings.forest import forest
from rectified.workloads.tasks import TASKS, TaskInfo

METRIC = Metric.of(TaskInfo.of(TASKS["fashion-mnist-mini"], ()))
LONG = "adam+second-moment-only-500(beta2=0.95)"
STYLES = styles(["adam", "radam", "sgd", LONG])


def difference(method, lr, low, high, finding="inconclusive"):
    mean = (low + high) / 2
    interval = Interval(mean, low, high, 5)
    return Difference(method, "adam", lr, values={0: mean, 1: mean}, interval=interval, finding=finding)


def axes_of(at_best, at_lr=(), metric=METRIC):
    found = Comparison("adam", {}, None, (), (), at_best, at_lr, (), {})
    (axes,) = forest(found, STYLES, metric, "forest").figure().axes
    return axes


AT_BEST = (difference("radam", None, 0.5, 2.5, "better"), difference("sgd", None, -4.0, -1.0, "worse"))
AT_LR = (
    difference("radam", 0.01, -1.0, 2.0),
    difference("radam", 0.1, -2.0, 80.0),
    difference("sgd", 0.01, -3.0, 0.5),
    difference("sgd", 0.1, -70.0, 30.0),
)
ALL = (*AT_BEST, *AT_LR)


@pytest.fixture(scope="module")
def axes():
    return axes_of(AT_BEST, AT_LR)


def name(d):
    return f"{d.method} vs adam, {'each at its best lr' if d.lr is None else f'lr {d.lr:g}'}"


def test_estimates_and_intervals_are_the_differences(axes):
    first, last = axes.get_xlim()
    rows = {}
    for d in ALL:
        xs, ys = drawn.points(axes, f"{name(d)}: interval")
        assert xs == [max(d.interval.low, first), min(d.interval.high, last)]
        assert drawn.points(axes, name(d)) == ([d.mean], ys[:1])
        assert ys[0] == ys[1]
        rows[name(d)] = ys[0]
    texts = {row: [t.get_text() for t in axes.texts if t.get_position()[1] == row] for row in rows.values()}
    assert texts[rows["radam vs adam, each at its best lr"]] == ["each at its best lr", "+1.50 (+0.50 to +2.50)"]
    assert texts[rows["sgd vs adam, lr 0.1"]] == ["lr 0.1", "−20.00 (−70.00 to +30.00)"]
    assert len(set(rows.values())) == 6


def test_only_what_goes_on_beyond_the_axis_has_an_arrow(axes):
    first, last = axes.get_xlim()
    assert -25 < first < -20, "the mean of sgd at 0.1 is on it, and its interval is cut"
    assert 39 < last < 45, "so is that of radam at 0.1"
    cut = {
        (line.get_label(), line.get_marker()): line.get_xdata()[0]
        for line in axes.get_lines()
        if ": cut" in line.get_label()
    }
    assert cut == {
        ("radam vs adam, lr 0.1: cut", ">"): pytest.approx(last, abs=0.01 * (last - first)),
        ("sgd vs adam, lr 0.1: cut", "<"): pytest.approx(first, abs=0.01 * (last - first)),
    }


@pytest.mark.parametrize("sign", [1, -1])
def test_the_axis_ends_where_the_differences_do(sign):
    """All on one side: the other has no more than 0 and the margin."""
    here = [difference("sgd", lr, *sorted((10.0 * sign, 30.0 * sign))) for lr in (None, 0.1, 0.01)]
    ends = sorted(sign * end for end in axes_of(here[:1], here[1:]).get_xlim())
    beside = 0.04 * (30 + METRIC.margin)
    assert ends == pytest.approx([-METRIC.margin - beside, 30 + beside])


def test_a_mean_that_is_no_outlier_of_its_interval_is_on_the_axis():
    """The median row is narrow; two of five are far out, and each of them has its marker inside."""
    here = [difference("sgd", lr, low, low + 2) for lr, low in ((None, 1), (0.1, 1), (0.2, 2), (0.3, -99), (0.4, 60))]
    axes = axes_of(here[:1], here[1:])
    first, last = axes.get_xlim()
    for d in here:
        ((x,), _) = drawn.points(axes, name(d))
        assert first < x < last
        assert x == d.mean


def test_labels_keep_a_gap_from_the_axes():
    for method in ("sgd", LONG):
        axes = axes_of([difference(method, None, 1, 2)], [difference(method, 0.000123456, 1, 2)])
        edge = axes.get_window_extent().x0
        axes.figure.draw_without_rendering()
        labels = [t for t in axes.texts if t.get_text() in (method, "each at its best lr", "lr 0.000123456")]
        assert len(labels) == 3
        for label in labels:
            assert label.get_window_extent().x1 <= edge - 5, label.get_text()


def test_a_finding_is_filled_and_nothing_else(axes):
    fills = {line.get_label(): line.get_markerfacecolor() for line in axes.get_lines()}
    assert fills["radam vs adam, each at its best lr"] == STYLES["radam"].color
    assert fills["sgd vs adam, each at its best lr"] == STYLES["sgd"].color
    assert fills["radam vs adam, lr 0.01"] == fills["sgd vs adam, lr 0.01"] == PAPER


def test_the_margin_is_shaded(axes):
    band = axes.patches[0]
    assert (band.get_x(), band.get_width()) == (-METRIC.margin, 2 * METRIC.margin)
