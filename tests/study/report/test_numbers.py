"""From records to numbers, by tables."""

import itertools
import math
from collections import Counter
from dataclasses import replace

import pytest

from made_by_hand import results_of
from rectified.study.analysis.groups import Group, groups
from rectified.study.analysis.stats import t_interval
from rectified.study.config.methods import parse
from rectified.study.execution.gradients import EDGES, Histogram
from rectified.study.report import plot_data as numbers
from rectified.study.report.page import sections
from rectified.study.report.plot_data import beyond, curve, limits, omega_lines, thin


def group(method, *values, lr=0.01, **gaps):
    counts = Counter({"done": len(values), **gaps})
    return Group(method, lr, values, counts)


def test_groups_keep_the_plans_order_and_count_what_has_no_value(make):
    records = [
        make("sgd", 0.1, 0, accuracy=50),
        make("sgd", 0.1, 1, "diverged", lived=2),
        make("sgd", 0.1, 2, "failed"),
        make("adam", 0.1, 0, "missing"),
    ]
    sgd, adam = groups(results_of(records).settings[0].outcomes)
    assert (sgd.method, adam.method) == ("sgd", "adam")
    assert sgd.values == (records[0].rows[-1]["test_accuracy"], 10.0), "chance"
    assert sgd.mean == (sgd.values[0] + 10) / 2
    assert all(map(math.isnan, sgd.band)), "of a run at chance there is none"
    assert sgd.interval is None
    assert sgd.gaps == ["1 diverged", "1 failed"]
    assert not sgd.whole
    assert (adam.gaps, adam.runs) == (["1 missing"], 1)
    assert math.isnan(adam.mean)
    assert adam.interval is None


def test_a_band_is_the_t_interval_from_three_runs_on():
    interval = t_interval([1, 2, 4])
    assert group("a", 1, 2, 4).band == (interval.low, interval.high)
    assert all(map(math.isnan, group("a", 1, 2).band))


def test_a_curve_is_over_the_runs_that_got_there(make):
    records = [
        make(seed=0, loss=1),
        make(seed=1, loss=3, status="diverged", lived=2),
        make(seed=2, status="diverged", lived=0),
        make(seed=3, status="failed", lived=1),
        make(seed=4, status="missing"),
    ]
    found = curve("adam", records, "test_loss")
    assert found.epochs == (1, 2, 3)
    assert found.steps == (60, 120, 180)
    assert found.mean == (2, 2, 1)
    assert all(map(math.isnan, found.low)), "two runs have no band"
    assert found.stops == (0, 120), "the last step that each took"
    assert found.drawn(found.runs[1]) == ([60, 120], [3, 3])


def test_a_curves_band_is_the_t_interval_where_three_runs_got(make):
    records = [make(seed=0, loss=1), make(seed=1, loss=2), make(seed=2, loss=4, status="diverged", lived=1)]
    found = curve("adam", records, "test_loss")
    interval = t_interval([1, 2, 4])
    assert (found.low[0], found.high[0]) == (interval.low, interval.high)
    assert all(map(math.isnan, (*found.low[1:], *found.high[1:])))


def test_a_curve_of_nothing(make):
    found = curve("adam", [make(status="missing"), make(seed=1, status="failed")], "test_loss")
    assert (found.epochs, found.steps, found.mean, found.low, found.runs, found.stops) == ((), (), (), (), (), ())


@pytest.mark.parametrize("length", [0, 1, 2, 99, 100, 101, 5000])
def test_thinned_epochs_keep_both_ends(length):
    epochs = thin(length)
    assert list(epochs) == sorted(set(epochs))
    assert len(epochs) == min(length, numbers.POINTS)
    assert not length or (epochs[0], epochs[-1]) == (1, length)


@pytest.mark.parametrize(
    ("runs", "larger", "inside", "outside"),
    [
        ([(2.3, 0.5), (2.3, 0.6)], False, (0.5, 2.3), []),
        ([(2.3, 0.5), (2.3, 0.6), (2.4, 1e6)], False, (0.5, 2.4), [1e6]),
        ([(2.3, 0.5), (1e5, 1e9), (2e5, 1e8), (3e4, 1e7)], False, (0.5, 2.3), [1e9, 1e8, 1e7]),
        ([(1e5, 1e5), (2e5, 2e5)], False, (1e5, 2e5), []),
        ([(85.0,), (10.0,), (10.0,), (10.0,)], True, (10, 85), []),
        ([(0.8,), (0.7,), (-1e6,)], True, (0.7, 0.8), [-1e6]),
        ([(0.0, 0.0), (5.0,)], False, (0, 5), []),
        ([(), (1.0,)], False, (1, 1), []),
    ],
    ids=["plain", "one explodes", "most explode", "all explode", "dead is no explosion", "downwards", "zeros", "empty"],
)
def test_limits_hold_all_but_what_explodes(runs, larger, inside, outside):
    low, high = limits(runs, larger)
    assert low < inside[0] <= inside[1] < high
    assert beyond(runs, low, high) == outside
    assert high - low < 1.3 * (inside[1] - inside[0]) or inside[0] == inside[1]


def test_limits_of_nothing():
    assert limits([]) == (0, 1)


def test_omega_lines_are_shared_by_methods_that_coincide():
    names = ("adam", "radam", "sgd", "radam-hold", "adam+linear-500", "adam+second-moment-only-2000")
    methods = list(map(parse, names))
    shared, radam, linear, hold = omega_lines(methods, 240)
    assert shared.methods == ("adam", "sgd")
    assert shared.constant
    assert not shared.unfinished(240)
    assert radam.methods == ("radam", "radam-hold")
    assert (radam.start, radam.at_end) == (5, methods[1].omega(240))
    assert (linear.warm_at, linear.start, linear.at_end) == (450, 0, 0.48)
    assert linear.unfinished(240)
    assert not linear.unfinished(450)
    assert (hold.warm_at, hold.start, hold.at_end) == (2001, 2000, 0)
    assert {1, 240, 2000, 2001} <= set(hold.steps)
    assert hold.values[hold.steps.index(2000) :][:2] == (0, 1), "the jump is upright"
    assert shared.steps == hold.steps


def test_a_control_is_no_warmup_that_outlasts_the_run():
    (line,) = omega_lines([parse("matched-lr(radam)").over(240)], 240)
    assert 0 < line.at_end < 0.5
    assert line.constant
    assert not line.unfinished(240)


@pytest.mark.parametrize("length", [1, 2, 100, 10**6])
def test_omega_lines_stop_within_reach_of_the_run(length):
    (line,) = omega_lines([parse("adam+linear-1000000000")], length)
    assert line.steps[0] == 1
    assert line.steps[-1] == 30 * length
    assert length in line.steps


def test_omega_within_a_run_is_sampled_evenly():
    (line,) = omega_lines([parse("adam+linear-500")], 480, within=True)
    assert (line.steps[0], line.steps[-1]) == (1, 480)
    assert max(b - a for a, b in itertools.pairwise(line.steps)) <= 5
    assert line.values == pytest.approx([step / 500 for step in line.steps])


@pytest.mark.parametrize(("times", "shown"), [(20, 20), (31, 31), (99, 99), (101, 30)])
def test_omega_is_drawn_up_to_where_its_warmup_is_over_or_else_the_legend_says_later(times, shown):
    method = parse(f"adam+linear-{100 * times}")
    warm_at = method.warm_at()
    (line,) = omega_lines([method], 90)
    assert warm_at == 90 * times
    assert line.steps[-1] == 90 * shown
    assert line.later == (shown < times)


def test_no_figure_takes_the_place_of_another_and_none_has_a_name_that_is_too_long(make):
    methods = [*(f"torch.optim.{letter}dam+linear-10" for letter in "NR"), *("a" * 300 + end for end in "xy"), "adam"]
    histogram = Histogram(1, 0, (1,) * (len(EDGES) - 1))
    records = [replace(make(method), gradients=[histogram]) for method in methods]
    (section,) = sections(results_of(records))
    found = [name for drawing in section.gradients for name in drawing.files()]
    assert len(set(found)) == len(found) == 2 * len(methods)
    assert max(map(len, found)) < 120
    assert "gradients-adam-0.01.svg" in found
