"""The shared style of pages and figures: one palette, one line style per method, and matplotlib settings."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from matplotlib.figure import Figure
from matplotlib.style import context

SHEETS = Path(__file__).parent  # the folder of page.css, which every page includes

# They differ in brightness, so that color-blind readers can distinguish them, and have a contrast of at least 3:1 on
# white paper. In dark mode page.css inverts the figures' brightness and keeps their hues: the contrast stays above 3:1.
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
    """The style of a method in figures; no two of the first twelve differ only by color.

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
        """The line's zorder: dashed lines lie over solid ones, so that both are visible."""
        return 3 + self._dash / 10

    @property
    def _dash(self) -> int:
        return (self.index + self.index // len(COLORS)) % len(_DASHES)


def styles(methods: Sequence[str]) -> dict[str, Style]:
    """A style for each method, by its position in the list."""
    return {method: Style(i) for i, method in enumerate(methods)}


_RC = {
    "svg.fonttype": "none",  # text stays text: smaller files, and an editor can change it
    "svg.hashsalt": "rectified",  # equal figures give equal bytes
    "pdf.fonttype": 42,  # TrueType: journals and conferences reject Type 3
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib; an SVG names it, with a fallback
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
    """A context with matplotlib's defaults, ignoring the user's matplotlibrc, plus our settings."""
    with context(["default", _RC]):
        yield


def canvas(width: float, height: float) -> Figure:
    """An empty figure with a size in page pixels (a pixel is drawn as a point, 1/72 inch)."""
    return Figure(figsize=(width / 72, height / 72))
