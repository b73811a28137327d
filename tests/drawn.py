"""Reads numbers back from a matplotlib figure: what a person would see, not what was meant to be drawn."""

import math


def points(axes, label):
    """x and y of the one line or row of points with this label."""
    (found,) = (line for line in axes.get_lines() if line.get_label() == label)
    return [*map(float, found.get_xdata())], [*map(float, found.get_ydata())]


def names(axes):
    """The labels of all lines."""
    return [line.get_label() for line in axes.get_lines()]


def band(axes, label):
    """The lower and the upper edge of the one band with this label, by x."""
    (found,) = (c for c in axes.collections if c.get_label() == label)
    ys = {}
    for path in found.get_paths():
        for x, y in path.vertices:
            ys.setdefault(float(x), []).append(float(y))
    return {x: (min(values), max(values)) for x, values in ys.items()}


def bars(axes, label):
    """The points of the one set of error bars with this label, and the ends of each bar, by x."""
    (found,) = (c for c in axes.containers if c.get_label() == label)
    line, _, (segments,) = found
    ends = {float(low[0]): (float(low[1]), float(high[1])) for low, high in segments.get_segments()}
    return ([*map(float, line.get_xdata())], [*map(float, line.get_ydata())]), ends


def texts(axes):
    """Every text on the axes by its place."""
    places = (text.xy if hasattr(text, "xy") else text.get_position() for text in axes.texts)
    return {(round(x, 9), round(y, 9)): text.get_text() for (x, y), text in zip(places, axes.texts, strict=True)}


def same(found, expected):
    """Whether two rows of numbers are equal, NaN at the same places."""
    return len(found) == len(expected) and all(
        (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-12)
        for a, b in zip(found, expected, strict=True)
    )
