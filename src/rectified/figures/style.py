"""One look for every page and figure: a palette, a style a line, and matplotlib's SVG made part of a page."""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.style import context

SHEETS = Path(__file__).parent  # where page.css is, which every page includes

# Light and dark. Apart also in brightness, so that they stay apart for colour-blind eyes; at least 3:1 on the page.
COLOURS = (
    ("#1f4fb8", "#7c92ff"),
    ("#d9730d", "#ee7f33"),
    ("#12a085", "#5fe3c0"),
    ("#a0308c", "#c972b2"),
    ("#7a6a00", "#f3e36b"),
    ("#3f97e3", "#c2e2ff"),
    ("#7d2a1a", "#d06a5e"),
    ("#44505c", "#9aa7b3"),
)
INK, MUTED, RULE, SHADE, PAPER = "#1c2024", "#5b636c", "#d9dde2", "#f3f5f7", "#fdfdfc"
SURFACES = {
    "ink": (INK, "#e8eaed"),
    "muted": (MUTED, "#a3abb4"),
    "rule": (RULE, "#343a41"),
    "shade": (SHADE, "#1e2328"),
    "paper": (PAPER, "#14171a"),
}
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", "*", ">", "p", "h")
Dash = Literal["solid"] | tuple[float, tuple[float, ...]]
_DASHES: tuple[Dash, ...] = (
    "solid",
    (0, (6, 2)),
    (0, (1.5, 1.5)),
    (0, (7, 2, 1.5, 2)),
)
_VARIABLES = {light: f"var(--{name})" for name, (light, _) in SURFACES.items()}
_VARIABLES |= {light: f"var(--m{i})" for i, (light, _) in enumerate(COLOURS)}


@dataclass(frozen=True)
class Style:
    """How a method is drawn; no two of the first twelve differ by colour alone."""

    index: int

    @property
    def colour(self) -> str:
        return COLOURS[self.index % len(COLOURS)][0]

    @property
    def marker(self) -> str:
        return _MARKERS[self.index % len(_MARKERS)]

    @property
    def dash(self) -> Dash:
        return _DASHES[self._dash]

    @property
    def level(self) -> float:
        """The order in which lines are drawn: a dashed one over a solid one shows both."""
        return 3 + self._dash / 10

    @property
    def _dash(self) -> int:
        return (self.index + self.index // len(COLOURS)) % len(_DASHES)


def styles(methods: Sequence[str]) -> dict[str, Style]:
    return {method: Style(i) for i, method in enumerate(methods)}


def css_variables(dark: bool) -> Markup:
    """The palette as CSS declarations."""
    named = {**SURFACES, **{f"m{i}": pair for i, pair in enumerate(COLOURS)}}
    return Markup(" ".join(f"--{name}: {pair[dark]};" for name, pair in named.items()))


_RC = {
    "svg.fonttype": "none",  # text stays text: it takes the page's font, and adapts
    "svg.hashsalt": "rectified",
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
    "path.simplify": False,
}


@contextmanager
def look() -> Iterator[None]:
    """matplotlib's own defaults, whatever the user's matplotlibrc says, with ours on top."""
    with context(["default", _RC]):
        yield


def canvas(width: int, height: int) -> Figure:
    """An empty figure, its size in pixels."""
    return Figure(figsize=(width / 72, height / 72))


def svg(figure: Figure, name: str, label: str) -> Markup:
    """The figure as an inline element; within :func:`look`.

    Args:
        name: of no other figure on the page: it keeps their ids apart.
        label: what a screen reader says.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    box = re.search(r'viewBox="([^"]*)"', text)
    assert box is not None
    body = text[text.index(">") + 1 : text.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>", "", body, flags=re.DOTALL)
    used = set(re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', body))

    def adapt(tag: re.Match[str]) -> str:
        text = re.sub(r"\s+", " ", tag[0])
        text = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", text)
        text = text.replace('xlink:href="#', f'href="#{name}-').replace("xlink:href=", "href=")
        text = text.replace("url(#", f"url(#{name}-")
        text = re.sub(r"#[0-9a-f]{6}\b", lambda m: _VARIABLES.get(m[0], m[0]), text)
        text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
        text = re.sub(r' transform="rotate\(-0 [^"]*"', "", text)
        text = re.sub(r' d="([^"C]*)"', lambda m: f' d="{_short(m[1], 1).replace("L ", "").strip()}"', text)
        return _short(text, 2).replace(": ", ":").replace("; ", ";")

    # Tags alone: what stands between them is text, and a tick label is not a colour or a length.
    body = re.sub(r"<[^>]*>", adapt, body)
    body = re.sub(r">\s+<", "><", body.strip())
    return Markup('<svg role="img" aria-label="{}" viewBox="{}">{}</svg>').format(label, box[1], Markup(body))


def saved(figure: Figure, name: str) -> dict[str, bytes]:
    """The figure as files that stand alone on white paper, SVG and PDF, by name; within :func:`look`."""
    found = {}
    with rc_context({"pdf.fonttype": 42}):  # TrueType: what journals and conferences take
        for kind, metadata in (("svg", {"Date": None}), ("pdf", {"CreationDate": None})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, facecolor="white", metadata=metadata)
            found[f"{name}.{kind}"] = buffer.getvalue()
    return found


def standing(content: str, width: float, height: float) -> str:
    """An SVG file of inline figures and other elements: on a dark screen it turns dark, too."""
    css = (
        f"svg{{{css_variables(dark=False)} font:13px system-ui,sans-serif}}"
        f"@media(prefers-color-scheme:dark){{svg{{{css_variables(dark=True)}}}}}"
    )
    size = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{css}</style>{content}</svg>\n'


def _short(text: str, digits: int) -> str:
    """With no number of more decimals: a tenth of a pixel is enough for a line."""
    return re.sub(rf"-?\d+\.\d{{{digits + 1},}}", lambda m: f"{float(m[0]):.{digits}f}".rstrip("0").rstrip("."), text)
