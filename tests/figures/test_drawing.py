"""A drawing on a page and in files, its legend, and a plot's lines, bands and error bars read back."""

import base64
import io
import math
import re
from html.parser import HTMLParser

import pytest
from matplotlib.figure import Figure

import drawn
from rectified.figures.drawing import Drawing, Key, key_css, saved
from rectified.figures.plot import Line, Mark, Plot
from rectified.figures.style import PAPER, Style, canvas
from rectified.figures.table import Table


def simple():
    figure = canvas(200, 100)
    figure.add_axes((0.2, 0.2, 0.7, 0.7)).plot([1, 2, 3], [4, 5, 6])
    return figure


DRAWING = Drawing("name", 'adam & "radam" <1>', simple, {"adam": Key(Style(0)), "radam": Key(Style(1))})


class Images(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        assert tag == "img"
        self.found.append(dict(attrs))


def test_on_a_page_it_is_an_image_with_its_label_and_the_figure_in_it():
    (image,) = Images(str(DRAWING)).found
    assert image["alt"] == 'adam & "radam" <1>'
    assert (image["width"], image["height"]) == ("200", "100")
    kind, _, data = image["src"].partition(",")
    assert kind == "data:image/svg+xml;base64"
    assert base64.b64decode(data).split() == saved(DRAWING.figure(), "svg").split()
    assert b"adam" not in base64.b64decode(data), "the page has the legend"


def test_in_files_it_has_a_legend_a_title_and_no_date():
    files = DRAWING.files()
    assert set(files) == {"name.svg", "name.pdf"}
    assert files == DRAWING.files()
    svg = files["name.svg"].decode()
    assert '<title>adam &amp; "radam" &lt;1&gt;</title>' in svg
    assert {"adam", "radam", "1"} <= set(re.findall(r"<text[^>]*>([^<]*)</text>", svg))
    assert "dc:date" not in svg
    assert files["name.pdf"].startswith(b"%PDF")


def test_the_legend_leaves_the_axes_their_size():
    bare, full = DRAWING.figure(), DRAWING.figure(legend=True)

    def inches(figure):
        place = figure.axes[0].get_position()
        width, height = figure.get_size_inches()
        return [
            width * place.x0,
            width * place.width,
            height * place.height,
            height * (1 - place.y1),
        ]

    assert inches(full) == pytest.approx(inches(bare))
    assert full.get_size_inches()[1] > bare.get_size_inches()[1]
    (legend,) = full.legends
    handles = legend.legend_handles
    assert [(h.get_color(), h.get_marker()) for h in handles] == [(Style(i).color, Style(i).marker) for i in (0, 1)]


def test_the_users_own_matplotlib_settings_change_nothing():
    import matplotlib as mpl

    before = DRAWING.files()
    with mpl.rc_context({"lines.linewidth": 9, "svg.fonttype": "path", "font.size": 30}):
        assert DRAWING.files() == before


def test_each_key_is_in_the_css_once():
    keys = [Key(Style(0)), Key(Style(0)), Key(Style(0), hollow=True), Key(Style(3), line=False)]
    css = str(key_css(keys))
    assert re.findall(r"^\.(\S+) \{", css, re.MULTILINE) == ["key-0-110", "key-0-111", "key-3-010"]
    pictures = [base64.b64decode(data).decode() for data in re.findall(r"base64,([^\"]+)", css)]
    assert Style(0).color in pictures[0]
    assert PAPER in pictures[1]
    assert len(set(pictures)) == 3


def plot(*lines, **options):
    return Plot("name", "title", "x", lines, Table.of([{"x": 1}]), "alt", **options).drawing.figure().axes[0]


def test_a_line_and_its_band_are_the_numbers_given():
    axes = plot(Line("a", Style(0), [1, 2, 3, 4], [5, 6, 7, 9], error=[math.inf, 0.5, 0.25, 1]))
    assert drawn.points(axes, "a") == ([2, 3, 4], [6, 7, 9])
    assert drawn.band(axes, "a") == {2: (5, 7), 3: (6.5, 7.5), 4: (7, 11)}, "two standard errors to either side"
    assert drawn.points(axes, "a: hollow") == ([1], [5])


def test_points_and_their_bars_are_the_numbers_given():
    axes = plot(Line("a", Style(0), [1, 2, 3], [5, 6, 7], error=[0.5, 0.25, math.inf], points=True))
    assert drawn.bars(axes, "a") == (([1, 2], [5, 6]), {1: (4, 6), 2: (5.5, 6.5)})
    assert drawn.points(axes, "a: hollow") == ([3], [7])


def test_what_is_infinite_is_left_out():
    _, ys = drawn.points(plot(Line("a", Style(0), [1, 2, 3], [5, math.inf, math.nan])), "a")
    assert drawn.same(ys, [5, math.nan, math.nan])


def test_marks_and_limits():
    axes = plot(Line("a", Style(0), [1, 9], [1, 9]), marks=[Mark("here", x=4), Mark("there", y=2)], ylim=(0.5, 10))
    assert [text.get_text() for text in axes.texts] == ["here", "there"]
    crosses = [line for line in axes.get_lines() if line.get_label() not in ("a", "a: hollow")]
    assert set(crosses[0].get_xdata()) == {4}
    assert set(crosses[1].get_ydata()) == {2}
    assert axes.get_ylim() == (0.5, 10)
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_a_figure_is_saved_as_it_is():
    figure = Figure(figsize=(1, 1))
    assert saved(figure, "svg") == saved(figure, "svg")
    assert io.BytesIO(saved(figure, "pdf", "white", "title")).read(4) == b"%PDF"
