"""Every line of the theory's figures is what its legend says: by the theory's functions or the simulation's table."""

import math

import pytest

import drawn
from rectified.figures.theory_numbers import computed, simulated, simulated_variants
from rectified.figures.theory_page import computed_figures, simulated_figures
from rectified.theory import (
    limiting_variance,
    rectification,
    rho,
    truncated_variance,
    variance,
    variance_ema,
    variance_first_order,
    variance_slope,
)

BETA2, PATHS, STEPS, SEED = 0.98, 200, 40, 3
BETAS = (0.9, 0.99)


def axes(plot):
    return plot.drawing.figure().axes[0]


def first_order(r):
    return variance_first_order(r) if r > 4 else math.nan


def check(axes, label, function, rel=1e-12):
    """Each point of the line is the function of its x; there are many."""
    xs, ys = drawn.points(axes, label)
    assert len(xs) > 10
    assert ys == pytest.approx([function(x) for x in xs], rel=rel, abs=0, nan_ok=True)


def test_first_step():
    found = axes(computed_figures.first_step(computed.first_step()))
    check(found, "variance, values above b left out", truncated_variance)
    check(found, "√(2/π) b", lambda b: math.sqrt(2 / math.pi) * b)


def test_variance_of_rho():
    found = axes(computed_figures.variance_of_rho(computed.variance_of_rho()))
    check(found, "closed form", variance)
    check(found, "first order", first_order)
    check(found, "first order − closed form", lambda r: first_order(r) - variance(r))


def test_slope_of_rho():
    found = axes(computed_figures.slope_of_rho(computed.slope_of_rho()))
    check(found, "summed from terms of one sign", lambda r: -variance_slope(r))
    (xs, ys), _ = drawn.bars(found, "by digammas in float64, negative")
    small = [(x, y) for x, y in zip(xs, ys, strict=True) if x < 1e4]
    assert len(small) > 10
    assert [y for _, y in small] == pytest.approx([-variance_slope(x) for x, _ in small], rel=1e-5)
    assert [y for _, y in small] != [-variance_slope(x) for x, _ in small], "another sum, with another round-off"
    wrong, _ = drawn.points(found, "by digammas, not negative: wrong: hollow")
    assert wrong
    assert not set(wrong) & set(xs)


def test_weights():
    found = axes(computed_figures.weights(computed.weights(BETA2)))
    t = 50
    ema = [BETA2 ** (t - i) for i in range(1, t + 1)]
    check(found, "exponential average", lambda i: ema[int(i) - 1] / sum(ema), rel=1e-9)
    length = rho(t, BETA2)
    xs, ys = drawn.points(found, f"simple average of the last {length:,.1f}")
    assert ys == pytest.approx([min(1, max(0, length - (t - x))) / length for x in xs])
    (center,) = (line for line in found.get_lines() if len(set(line.get_xdata())) == 1)
    assert center.get_xdata()[0] == t - (length - 1) / 2


def test_rho_by_step():
    found = axes(computed_figures.rho_by_step(computed.rho_by_step(BETAS)))
    for beta2 in BETAS:
        check(found, f"β₂ = {beta2!r}", lambda t, beta2=beta2: rho(int(t), beta2))


@pytest.mark.parametrize("figure", ["fitted_law_error", "effective_samples"])
def test_the_fitted_law(figure):
    found = axes(getattr(computed_figures, figure)(computed.fitted_law(BETAS)))

    def percent(scaled, beta2):
        t = round(scaled / (1 - beta2))
        if figure == "fitted_law_error":
            return 100 * (variance(rho(t, beta2)) / variance_ema(t, beta2) - 1)
        weights = [beta2**i for i in range(t)]
        return 100 * (sum(weights) ** 2 / sum(w * w for w in weights) / rho(t, beta2) - 1)

    for beta2 in BETAS:
        xs, ys = drawn.points(found, f"β₂ = {beta2!r}")
        assert ys == pytest.approx([percent(x, beta2) for x in xs], abs=1e-6)
        assert max(ys) > 5


@pytest.mark.parametrize("beginning", [False, True])
def test_omegas(beginning):
    plot = computed_figures.omegas(computed.omegas(BETA2), beginning)
    found, seen = axes(plot), set()
    for label in plot.drawing.legend:
        for name in label.split("; "):
            warmup = computed.WARMUPS[name]
            xs, ys = drawn.points(found, label)
            expected = [warmup.omega(int(t), BETA2) for t in xs]
            assert drawn.same(ys, [omega or math.nan for omega in expected] if beginning else expected)
            assert not beginning or xs[-1] == 30
            seen.add(name)
    assert seen == set(computed.WARMUPS) - ({"hold, 2000 steps"} if beginning else set())


@pytest.fixture(scope="module")
def by_step():
    return simulated.by_step(BETA2, PATHS, STEPS, SEED, lambda: None)


def sure(table, *columns):
    """The rows with a finite error, as columns."""
    rows = [row for row in table.rows if math.isfinite(row[columns[-1]])]
    return [[row[column] for row in rows] for column in columns]


def check_bars(axes, label, table, column):
    (xs, ys), ends = drawn.bars(axes, label)
    steps, values, errors = sure(table, "t", column, f"{column}_error")
    assert xs == pytest.approx(steps, rel=0.05), "moved a little to the side"
    assert ys == pytest.approx(values, abs=0)
    for x, value, error in zip(xs, values, errors, strict=True):
        assert ends[x] == pytest.approx((value - 2 * error, value + 2 * error), abs=0)
    return len(xs)


def check_band(axes, label, table, column):
    xs, ys = drawn.points(axes, label)
    steps, values, errors = sure(table, "t", column, f"{column}_error")
    there = [i for i, y in enumerate(ys) if not math.isnan(y)]
    assert ([xs[i] for i in there], [ys[i] for i in there]) == (steps, values)
    found = drawn.band(axes, label)
    for t, value, error in zip(steps, values, errors, strict=True):
        assert found[t] == pytest.approx((value - 2 * error, value + 2 * error), abs=0)


def test_variance_by_step(by_step):
    found = axes(simulated_figures.variance_by_step(by_step))
    check(found, "the EMA's integral", lambda t: variance_ema(int(t), BETA2) if t > 2 else math.nan)
    check(found, "closed form", lambda t: variance(rho(int(t), BETA2)) if rho(int(t), BETA2) > 2 else math.nan)
    check(found, "first order", lambda t: first_order(rho(int(t), BETA2)))
    assert check_bars(found, "simulated, EMA", by_step, "simulated_ema") == 10
    assert check_bars(found, "simulated, SMA", by_step, "simulated_sma") > 5
    hollow = drawn.points(found, "simulated, EMA: hollow")
    assert hollow == ([1, 2, 3, 4], [row["simulated_ema"] for row in by_step.rows[:4]])


def test_rectified_by_step(by_step):
    found = axes(simulated_figures.rectified_by_step(by_step))
    limit = limiting_variance(BETA2, "ema")

    def over_limit(t, order):
        r = rectification(int(t), BETA2, order)
        return r * r * variance_ema(int(t), BETA2) / limit if r else math.nan

    for label, order in (("the EMA's integral", "ema"), ("closed form", "exact"), ("first order", "first-order")):
        check(found, f"rₜ from {label}", lambda t, order=order: over_limit(t, order))
    for container, order in zip(found.containers, ("ema", "exact", "first"), strict=True):
        rows = [row for row in by_step.rows if row["t"] > 4]
        assert drawn.same(container[0].get_ydata(), [row[f"simulated_rectified_{order}"] for row in rows])
        assert container[0].get_color() == simulated_figures.ORDERS[order][1].color
    (limit_line,) = (line for line in found.get_lines() if set(line.get_ydata()) == {1})
    assert [text.get_text() for text in found.texts] == ["C_var"]
    assert limit_line.get_ydata()[0] == 1


@pytest.mark.parametrize("rectified", [False, True])
def test_by_mean(rectified):
    table = simulated.by_mean(BETA2, PATHS, STEPS, SEED, lambda: None)
    found = axes(simulated_figures.by_mean(table, rectified))
    for mu in (0, 0.001, 0.01, 0.1, 1, 10):
        check_band(found, f"μ = {mu:g}", table.where(mu=mu), "simulated_rectified" if rectified else "simulated")


def test_first_steps():
    table = simulated.early(BETAS, PATHS, SEED, lambda: None)
    found = axes(simulated_figures.first_steps(table, 0.99))
    ema = {t: variance_ema(t, 0.99) for t in range(3, 20)}
    check(found, "the EMA's integral", lambda t: 1)
    check(found, "closed form", lambda t: variance(rho(int(t), 0.99)) / ema[t])
    check(found, "first order", lambda t: first_order(rho(int(t), 0.99)) / ema[t])
    (xs, ys), ends = drawn.bars(found, "simulated")
    rows = {row["t"]: row for row in table.where(beta2=0.99).rows}
    assert ys == pytest.approx([rows[t]["simulated"] / ema[t] for t in xs])
    assert ends[10][1] - ys[xs.index(10)] == pytest.approx(2 * rows[10]["simulated_error"] / ema[10])


@pytest.mark.parametrize("column", ["psi", "update"])
def test_by_law(column):
    table = simulated.by_law(BETA2, PATHS, STEPS, SEED, lambda: None)
    found = axes(simulated_figures.by_law(table, column))
    for law in simulated.LAWS:
        check_band(found, str(law), table.where(law=str(law)), column)
    if column == "update":
        check(found, "independent, if v̂ were 1", lambda t: 0.1 / 1.9 * (1 + 0.9**t) / (1 - 0.9**t))


def test_first_step_sampled():
    table = simulated.first_step(400, SEED)
    found = axes(simulated_figures.first_step_sampled(table))
    for run in (1, 2, 3, 4):
        here = table.where(run=run)
        assert drawn.points(found, f"run {run}") == (here["draws"], here["sample_variance"])


def test_by_variant():
    table = simulated_variants.over_last(simulated_variants.by_variant(PATHS, STEPS, SEED, computed.spaced(STEPS, 10)))
    found = axes(simulated_figures.by_variant(table))
    drawn_names = set()
    for method in simulated_variants.RATES:
        here = table.where(method=method).keep(lambda row: row["t"] > 4 and row["omega"] > 0)
        if method in drawn.names(found):
            check_band(found, method, here, "over_last")
            assert drawn.points(found, method)[1][-1] == pytest.approx(1)
            drawn_names.add(method)
    assert drawn_names == set(simulated_variants.RATES)
