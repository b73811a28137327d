"""The metric against lr and the heat map: the numbers in the figures are those of the groups."""

from collections import Counter

import pytest

import drawn
from rectified.figures.style import PAPER, styles
from rectified.study.analysis.groups import Group
from rectified.study.analysis.stats import t_interval
from rectified.study.report.drawings import final_metric


def group(method, lr, *values, **gaps):
    lost = sum(n for fate, n in gaps.items() if fate != "missing")
    return Group(method, lr, (*values, *[10.0] * lost), Counter({"trained": len(values), **gaps}), lost)


GROUPS = [
    group("adam", 0.01, 80.0, 82.0, 87.0),
    group("adam", 0.1, 60.0, 61.0, 65.0, diverged=1),
    group("radam", 0.01, 81.0, 84.0, 84.5),
    group("radam", 0.1, 70.0, 70.5, 71.5),
    group("sgd", 0.01, diverged=2),
    group("sgd", 0.1, 50.0, missing=1),
]
METHODS = ["adam", "radam", "sgd"]


@pytest.fixture(scope="module")
def figure():
    return final_metric.robustness(GROUPS, styles(METHODS), "test accuracy, %", (40, 90), "name").figure()


def test_means_intervals_and_runs_are_the_groups(figure):
    axes = figure.axes[0]
    for i, method in enumerate(METHODS):
        here = [g for g in GROUPS if g.method == method]
        xs, means = drawn.points(axes, method)
        assert drawn.same(means, [g.mean for g in here])
        assert xs == pytest.approx([g.lr for g in here], rel=0.2), "moved a little to the side"
        for x, g in zip(xs, here, strict=True):
            name = f"{method} at {g.lr:g}"
            assert drawn.same(drawn.points(axes, name)[1], [g.mean])
            assert drawn.points(axes, f"{name}: runs") == ([x] * len(g.values), list(g.values))
            if len(g.values) >= 3 and not g.lost:
                ends = [t_interval(g.values).low, t_interval(g.values).high]
                assert drawn.points(axes, f"{name}: interval") == ([x, x], pytest.approx(ends))
                assert drawn.band(axes, method)[x] == pytest.approx(ends)
                assert ends[0] < g.mean < ends[1]
        assert i == 0 or xs[0] > drawn.points(axes, METHODS[i - 1])[0][0], "side by side"


def test_a_mean_that_leaves_a_run_out_is_hollow(figure):
    fills = {line.get_label(): line.get_markerfacecolor() for line in figure.axes[0].get_lines()}
    assert fills["adam at 0.1"] == fills["sgd at 0.1"] == PAPER
    assert fills["adam at 0.01"] == styles(METHODS)["adam"].color


def test_the_strip_counts_what_counts_as_chance(figure):
    assert drawn.texts(figure.axes[1]) == {(0.1, 0): "1/4", (0.01, 1): "2/2"}


def test_the_heat_map_has_each_mean_on_the_shade_of_its_distance():
    (axes,) = final_metric.heat_map(GROUPS, 249.5 / 3, 0.3, "test accuracy, %", "heat").figure().axes
    texts = drawn.texts(axes)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == METHODS
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.01", "0.1"]
    means = {place: text for place, text in texts.items() if text and "of" not in text}
    assert means == {
        (0, 0): "83.00",
        (1, -0.14): "49.00",
        (0, 1): "83.17",
        (1, 1): "70.67",
        (0, 1.86): "10.00",
        (1, 1.86): "50.00",
    }
    assert texts[1, 0.24] == "1 diverged of 4"
    assert texts[0, 2.24] == "2 diverged of 2"
    alphas = [patch.get_alpha() for patch in axes.patches]
    weaker, strongest = final_metric.STRENGTHS[-2:]
    assert alphas == [weaker, 0, strongest, 0, 0, 0], "no shade where a run is missing or the best is far"
