"""What the site needs of Sphinx that Sphinx does not have: MathML, reports that open, and links to folders."""

import html
import re
import shutil
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

_LOG = logging.getLogger(__name__)
_TAG = re.compile(r"\\tag\{([^{}]*)\}")
# docutils sets an index after an accent below the letter; after an empty group it stands where it belongs.
_ACCENT = re.compile(r"(\\(?:hat|bar|tilde)\s*(?:\{[^{}]*\}|\\?[A-Za-z]+?))(?=[_^])")
_ARXIV = re.compile(r"\barXiv:(\d{4}\.\d{4,5})")
_BIG = re.compile(r"\\([bB]ig)([()\[\]|])")


def mathml(tex: str, block: bool) -> str:
    """TeX as MathML, which browsers draw by themselves: no script, and nothing from the network.

    Raises:
        MathError: docutils knows no such command.
    """
    found: dict[str, int] = {}

    def sided(match: re.Match[str]) -> str:
        size, sign = match.groups()
        found[sign] = found.get(sign, 0) + 1
        left = sign in "([" or (sign == "|" and found[sign] % 2)
        return f"\\{size}{'l' if left else 'r'}{sign}"

    tag = _TAG.search(tex)
    tex = _BIG.sub(sided, _TAG.sub("", tex)).replace(r"\dots", r"\ldots").strip()
    tex = _ACCENT.sub(r"\1{}", tex)
    if block and ("&" in tex or r"\\" in tex) and r"\begin" not in tex:
        tex = rf"\begin{{aligned}}{tex}\end{{aligned}}"
    made = tex2mathml(tex, as_block=block)
    return made + (f'<span class="eqno">({tag[1]})</span>' if tag else "")


def visit_math(self: Any, node: nodes.math) -> None:
    self.body.append(_made(node, node.astext(), block=False))
    raise nodes.SkipNode


def visit_math_block(self: Any, node: nodes.math_block) -> None:
    for tex in re.split(r"\n\s*\n", node.astext()):
        if tex.strip():  # a wide equation scrolls by itself, and the keyboard reaches it
            self.body.append('<div class="math" role="group" aria-label="equation" tabindex="0">')
            self.body.append(_made(node, tex, block=True) + "</div>\n")
    raise nodes.SkipNode


def _made(node: nodes.Node, tex: str, block: bool) -> str:
    try:
        return mathml(tex, block)
    except MathError as error:
        _LOG.warning("%s in %r", error, tex, location=node)
        return f"<code>{html.escape(tex)}</code>"


class Links(SphinxTransform):
    """A link to a study's report opens it, and one to a folder is its text: a site has no listings."""

    default_priority = 5

    def apply(self, **kwargs: Any) -> None:
        here = Path(self.env.doc2path(self.env.docname)).parent
        for node in [
            *self.document.findall(addnodes.download_reference),
            *self.document.findall(addnodes.pending_xref),
        ]:
            target = str(node["reftarget"])
            if isinstance(node, addnodes.download_reference) and target.endswith(".html"):
                node.replace_self(nodes.reference("", "", *node.children, refuri=target, internal=False))
            elif node.get("reftype") == "myst" and (here / target).is_dir():
                node.replace_self(node.children)


class Papers(SphinxTransform):
    """arXiv:1908.03265 in a docstring is a link."""

    default_priority = 800

    def apply(self, **kwargs: Any) -> None:
        for text in list(self.document.findall(nodes.Text)):
            parts = _ARXIV.split(text.astext())
            if len(parts) == 1 or isinstance(text.parent, nodes.reference | nodes.literal | nodes.literal_block):
                continue
            new: list[nodes.Node] = []
            for i, part in enumerate(parts):
                link = nodes.reference("", f"arXiv:{part}", refuri=f"https://arxiv.org/abs/{part}", internal=False)
                new.append(link if i % 2 else nodes.Text(part))
            text.parent.replace(text, new)


def copy_reports(app: Sphinx, error: Exception | None) -> None:
    """The committed studies' reports, where the pages' links look for them."""
    if error is not None or app.builder.format != "html":
        return
    root = Path(app.srcdir)
    for report in root.glob("docs/studies/*/report.html"):
        place = Path(app.outdir) / report.relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(report, place)


def keep_sentence(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """An attribute's docstring is a sentence: napoleon takes what stands before a colon in it for a type."""
    if what in ("attribute", "property", "data") and lines and ": " in lines[0]:
        lines[0:1] = lines[0].replace(": ", ":\n", 1).split("\n")


def add_title(app: Sphinx, page: str, source: list[str]) -> None:
    """A benchmark's table has no title of its own: its file's name in words."""
    if page.startswith("benchmarks/") and not source[0].startswith("# "):
        name = page.rpartition("/")[2].replace("_", " ")
        source[0] = f"# {name.capitalize()}\n\n{source[0]}"


def add_explorer(app: Sphinx, page: str, *_: Any) -> None:
    """Its scripts, on its page alone."""
    if page == "docs/explorer":
        app.add_js_file("warmups.js", loading_method="defer")
        app.add_js_file("explorer.js", loading_method="defer")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    app.add_transform(Links)
    app.add_transform(Papers)
    app.connect("autodoc-process-docstring", keep_sentence, priority=400)  # before napoleon
    app.connect("source-read", add_title)
    app.connect("html-page-context", add_explorer)
    app.connect("build-finished", copy_reports)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
