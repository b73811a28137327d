"""The gradients' histograms: opacity is the share, the line is the median."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

import drawn
from rectified.figures.style import Style
from rectified.study.execution.gradients import EDGES, Histogram
from rectified.study.report.drawings.gradient_histograms import extent, histograms, median

BINS = len(EDGES) - 1


def histogram(step, **counts):
    """Counts by bin, such as b40=3."""
    found = [0] * BINS
    for name, count in counts.items():
        found[int(name[1:])] = count
    return Histogram(step, 0, tuple(found))


RUN = [histogram(1, b40=1, b44=3), histogram(2, b30=4), histogram(3, b30=1, b31=1, b50=2)]


@pytest.fixture(scope="module")
def axes():
    (axes,) = histograms(RUN, Style(1), "adam", extent([RUN]), "name").figure().axes
    return axes


def test_opacity_grows_with_the_share_in_the_right_bin_and_step(axes):
    (image,) = axes.images
    found = np.asarray(image.get_array())
    assert found.shape == (BINS, 3, 4)
    assert found[..., :3] == pytest.approx(np.broadcast_to(to_rgb(Style(1).color), (BINS, 3, 3)))
    shares = np.array([[count / 4 for count in h.counts] for h in RUN]).T
    assert found[..., 3] == pytest.approx(found[..., 3].max() * np.sqrt(shares))
    assert found[30, 1, 3] == found[..., 3].max() > 0.5
    assert image.origin == "lower"
    assert image.get_extent() == [0.5, 3.5, EDGES[0], EDGES[-1]]


def test_the_line_is_the_median(axes):
    steps, medians = drawn.points(axes, "median")
    assert steps == [1, 2, 3]
    assert medians == pytest.approx([EDGES[44] + 0.25 / 3, EDGES[30] + 0.125, EDGES[32]])
    assert medians == [median(h) for h in RUN]


def test_the_axes_hold_every_bin_with_something_in_it(axes):
    assert axes.get_ylim() == (EDGES[30], EDGES[51])
    assert axes.get_xlim() == (0.5, 3.5)
