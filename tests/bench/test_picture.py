"""The benchmark's picture: each point is a median ratio, each line goes from quartile to quartile."""

from dataclasses import replace

import pytest
from test_results import FUSED, by_round, outcome, results

import drawn
from rectified.bench.entries import BASE
from rectified.bench.picture import draw_ratios, picture


def test_medians_and_quartiles_are_the_results():
    spread = by_round(1.5e-3, 4e-3, 3e-3, 9e-3)
    found = [outcome(), outcome("gpt", 2_000_000)]
    found[0].entries[FUSED] = replace(found[0].entries[FUSED], warm=spread)
    panels = draw_ratios(results(*found)).axes
    assert [axes.get_title("left").split("\n")[0] for axes in panels] == ["cnn", "gpt"]
    names = [tick.get_text() for tick in panels[0].get_yticklabels()]
    for axes, each in zip(panels, found, strict=True):
        for row, name in enumerate(names):
            ratio = each.ratio(name)
            assert drawn.points(axes, name) == ([ratio.median], [row])
            assert drawn.points(axes, f"{name}: quartiles") == ([ratio.low, ratio.high], [row, row])
    ratio = found[0].ratio(FUSED)
    assert (ratio.low, ratio.median, ratio.high) == pytest.approx((1.875, 2.5, 4.5)), "three numbers to tell apart"
    assert names[0] == BASE.name
    assert FUSED in names


def test_it_is_an_svg_file_that_says_what_it_shows():
    text = picture(results(outcome()))
    assert text.startswith("<?xml")
    assert "<title>Step time divided by our RAdam's" in text
    assert FUSED in text
