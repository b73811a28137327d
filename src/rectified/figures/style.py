"""The look of every page and figure: one palette, one line style per method, matplotlib's settings."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from matplotlib.figure import Figure
from matplotlib.style import context

SHEETS = Path(__file__).parent  # the folder of page.css, which every page includes

# They differ in brightness, so that color-blind eyes tell them apart, and have a contrast of at least 3:1 on white
# paper. In dark mode page.css inverts the figures' brightness and keeps their hues: the contrast stays above 3:1.
COLORS = ("#1f4fb8", "#d9730d", "#12a085", "#a0308c", "#7a6a00", "#3f97e3", "#7d2a1a", "#44505c")
INK, MUTED, RULE, SHADE, PAPER = "#1c2024", "#5b636c", "#d9dde2", "#f3f5f7", "#fdfdfc"
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", "*", ">", "p", "h")
Dash = Literal["solid"] | tuple[float, tuple[float, ...]]
_DASHES: tuple[Dash, ...] = (
    "solid",
    (0, (6, 2)),
    (0, (1.5, 1.5)),
    (0, (7, 2, 1.5, 2)),
)


@dataclass(frozen=True)
class Style:
    """How a method is drawn; no two of the first twelve differ by color alone.

    >>> Style(0).marker, Style(8).marker, Style(0).color == Style(8).color
    ('o', '*', True)
    """

    index: int

    @property
    def color(self) -> str:
        return COLORS[self.index % len(COLORS)]

    @property
    def marker(self) -> str:
        return _MARKERS[self.index % len(_MARKERS)]

    @property
    def dash(self) -> Dash:
        return _DASHES[self._dash]

    @property
    def level(self) -> float:
        """The line's zorder: dashed lines lie over solid ones, so that both show."""
        return 3 + self._dash / 10

    @property
    def _dash(self) -> int:
        return (self.index + self.index // len(COLORS)) % len(_DASHES)


def styles(methods: Sequence[str]) -> dict[str, Style]:
    """A style for each method, by its place in the list."""
    return {method: Style(i) for i, method in enumerate(methods)}


_RC = {
    "svg.fonttype": "none",  # text stays text: smaller files, and an editor can change it
    "svg.hashsalt": "rectified",  # equal figures give equal bytes
    "pdf.fonttype": 42,  # TrueType: journals and conferences refuse Type 3
    "font.sans-serif": ["DejaVu Sans"],  # matplotlib brings it; an SVG names it, and takes another where it is missing
    "font.size": 11,
    "figure.facecolor": "none",
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.grid": True,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titlecolor": INK,
    "axes.titlepad": 9,
    "axes.labelsize": 11,
    "axes.unicode_minus": True,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.5,
}


@contextmanager
def look() -> Iterator[None]:
    """matplotlib's own defaults, whatever the user's matplotlibrc says, with ours on top."""
    with context(["default", _RC]):
        yield


def canvas(width: float, height: float) -> Figure:
    """An empty figure, its size in pixels of a page (a pixel is drawn as a point, 1/72 inch)."""
    return Figure(figsize=(width / 72, height / 72))
