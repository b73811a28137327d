"""Learning curves and omega: the numbers in the figures are the records' and the warmups'."""

import math

import pytest

import drawn
from rectified.figures.style import styles
from rectified.study.analysis.stats import t_interval
from rectified.study.config.methods import parse
from rectified.study.report.drawings import curves
from rectified.study.report.plot_data import curve, omega_lines

LOSSES = {"adam": (1.0, 2.0, 4.0), "radam": (3.0, 3.5, 5.0)}


@pytest.fixture
def records(make):
    return {
        method: [make(method, seed=i, loss=loss) for i, loss in enumerate(losses)] for method, losses in LOSSES.items()
    }


def learning(records, lines=()):
    found = [curve(method, here, "train_loss") for method, here in records.items()]
    return curves.learning(found, styles(list(records)), "train loss", (0, 10), 180, "name", lines)


def test_mean_band_and_runs_are_the_records(records):
    (axes,) = learning(records).figure().axes
    for method, here in records.items():
        runs = [[row["train_loss"] for row in record.rows] for record in here]
        assert drawn.points(axes, method) == (
            [60, 120, 180],
            pytest.approx([sum(at) / 3 for at in zip(*runs, strict=True)]),
        )
        for i, run in enumerate(runs):
            assert drawn.points(axes, f"{method}: run {i}") == ([60, 120, 180], run)
        band = drawn.band(axes, method)
        assert set(band) == {60, 120, 180}
        for step, at in zip((60, 120, 180), zip(*runs, strict=True), strict=True):
            interval = t_interval(at)
            assert band[step] == pytest.approx((interval.low, interval.high))
            assert interval.high > interval.low
    assert axes.get_ylim() == (0, 10)


def test_a_run_that_diverged_has_a_marker_in_the_strip_at_its_last_step(make):
    records = {"adam": [make("adam"), make("adam", seed=1)], "sgd": [make("sgd", status="diverged", lived=2)] * 2}
    axes, strip = learning(records).figure().axes
    assert strip.get_lines()[0].get_xydata().tolist() == [[120, 0]]
    assert [text.get_text() for text in strip.texts] == ["×2"]
    assert strip.get_lines()[0].get_marker() == styles(["adam", "sgd"])["sgd"].marker
    assert drawn.points(axes, "sgd")[0] == [60, 120]


def test_a_run_that_leaves_the_axes_is_counted_above_them(make):
    records = {"adam": [make("adam"), make("adam", seed=1, loss=1e6)]}
    (axes,) = learning(records).figure().axes
    assert axes.get_title("right") == "1 run reaches beyond, to 1.4e6"


def test_omega_below_the_loss_is_the_warmups(records):
    lines = omega_lines([parse(name) for name in ["adam", "radam"]], 180, within=True)
    loss, below = learning(records, lines).figure().axes
    for method in records:
        steps, values = drawn.points(below, method)
        assert steps[0] == 1
        assert steps[-1] == 180
        assert values == [parse(method).omega(int(step)) for step in steps]
    assert below.get_xlim() == loss.get_xlim()


def test_omega_by_step_is_the_warmups_and_the_end_of_a_run_is_marked():
    methods = [parse(name) for name in ["adam", "sgd", "adam+linear-500", "radam-hold"]]
    drawing = curves.omegas(omega_lines(methods, 240), styles([m.name for m in methods]), 240, "omega")
    (axes,) = drawing.figure().axes
    assert list(drawing.legend) == ["adam, sgd", "adam+linear-500", "radam-hold"]
    for name in drawing.legend:
        steps, values = drawn.points(axes, name)
        method = parse(name.split(", ")[0])
        assert values == [method.omega(int(step)) for step in steps]
    (end,) = (line for line in axes.get_lines() if line.get_label() not in drawing.legend)
    assert set(end.get_xdata()) == {240}
    assert [text.get_text() for text in axes.texts] == ["a run ends: step 240"]
    assert axes.patches[0].get_x() == 240, "the steps beyond a run are shaded"


def test_the_label_holds_the_numbers(records):
    label = learning(records).label
    first, last = (sum(record.rows[i]["train_loss"] for record in records["adam"]) / 3 for i in (0, -1))
    assert f"adam from {first:.2f} to {last:.2f}" in label
    assert not math.isclose(first, last)
