"""What is said of the measurements: pure, on numbers made up for it."""

import json

import pytest

from rectified.bench.entries import BASE
from rectified.bench.ratios import Measured, Outcome, Results
from rectified.bench.tables import markdown, sheets

FUSED, NARROW, SLOW = "torch AdamW fused", "rectified RAdam (bf16)", "torchao AdamW8bit"
HOLDING = "rectified Adam-2k (holding)"


def by_round(*values):
    return dict(enumerate(values))


def outcome(model="cnn", parameters=1_000):
    """Four rounds: the base takes 1, 2, 1, 1 ms, torch's fused op twice as long in each, but for one; SLOW in one."""
    return Outcome(
        model,
        parameters,
        10,
        50,
        {
            BASE.name: Measured(by_round(1e-3, 2e-3, 1e-3, 1e-3), by_round(*[[1e-3]] * 4), 8_000, 0),
            FUSED: Measured(by_round(2e-3, 4e-3, 2e-3, 9e-3), by_round(*[[3e-3]] * 4), 8_000, 4_000),
            NARROW: Measured(by_round(1e-3, 2e-3, 1e-3, 1e-3), by_round([], [], [], []), 8_000, 8_000),
            SLOW: Measured({1: 40e-3}, {1: [40e-3]}, 2_000, 0),
            HOLDING: Measured(by_round(1e-3, 2e-3, 1e-3, 1e-3), by_round([], [], [], []), 8_000, 0),
        },
        [56e6, 56e6, 28e6, 56e6],
        {"torch RAdam": "RuntimeError: out of memory"},
    )


def results(*outcomes):
    return Results("rectified bench", "a machine", "cpu", {"torch": "2"}, {"timm RAdamLegacy": "not here"}, [*outcomes])


def test_a_ratio_is_the_median_of_paired_ratios():
    ratio = outcome().ratio(FUSED)
    assert (ratio.median, ratio.low, ratio.high) == (2, 2, pytest.approx(3.75))
    assert outcome().ratio("torch RAdam") is None
    assert outcome().cold_ratio(FUSED).median == pytest.approx(3)
    assert outcome().cold_ratio(NARROW) is None
    assert outcome().ratio(SLOW).median == 20, "its round's base took 2 ms"


def test_the_fraction_of_the_bandwidth_counts_what_a_step_must_move():
    # 12 bytes of parameter and gradient, 16 of the state: 28,000 bytes in 1 ms are 28 MB/s
    assert outcome().fraction(BASE.name).median == pytest.approx(0.5)
    # 16-bit parameters and gradients: 6 and 16
    assert outcome().fraction(NARROW).median == pytest.approx(0.5 * 22 / 28)
    assert outcome().fraction(HOLDING) is None, "it leaves most bytes alone"


def test_bytes_are_per_parameter():
    assert outcome().bytes_each(FUSED) == (8, 4)
    assert outcome().bytes_each("torch RAdam") is None


def test_results_survive_json():
    there = results(outcome())
    assert Results.of(json.loads(json.dumps(there.plain()))) == there


def test_the_tables_name_everyone_once_and_say_what_is_missing():
    found = {
        sheet.title: sheet for sheet in sheets(results(outcome(), outcome("gpt2", 10**8)), quartiles=True).values()
    }
    peers = found["Step time / ours"]
    assert [row[0] for row in peers.rows] == [BASE.name, FUSED, SLOW]
    assert peers.rows[0][1:3] == ["1 (1 ms)", "1 (1 ms)"]
    assert peers.rows[1][1] == "2.00 (2.00 to 3.75)"
    text = markdown(results(outcome()))
    assert "timm RAdamLegacy (not here)" in text
    assert "torch RAdam on cnn (RuntimeError: out of memory)" in text
    assert "Nothing here was measured on a GPU." in text
