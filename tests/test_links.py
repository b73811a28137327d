"""Every page's links lead somewhere, and the front door's code prints what it says."""

import re
import unicodedata

import pytest

import pages

ROOT = pages.DOCS.parent
FOLDERS = ("*.md", "examples/*.md", ".github/**/*.md", "docs/*.md", "docs/reference/*.md")
PAGES = sorted(page for folder in FOLDERS for page in ROOT.glob(folder))
LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(path):
    """Of its headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    found = set()
    for heading in re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE):
        kept = (c for c in heading.lower() if c in " -_" or unicodedata.category(c)[0] in "LN")
        found.add("".join(kept).replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.exists(), f"{page.name} links to {target}"
        if anchor and there.suffix == ".md":
            assert anchor in anchors(there), f"{page.name} links to {target}"


def test_the_code_of_choosing_a_warmup_prints_what_the_page_shows():
    assert "warmup" in pages.run("choosing-a-warmup.md", {})


@pytest.mark.parametrize("page", [p for p in PAGES if p.name != "CHANGELOG.md"], ids=lambda path: path.name)
def test_no_line_of_prose_is_longer_than_120_characters(page):
    """Code, tables, pictures, formulas, what `make docs` writes and the changelog may be wider."""
    text = re.sub(r"```.*?\n```", blank, page.read_text(encoding="utf-8"), flags=re.DOTALL)
    text = re.sub(r"<!-- (.*?): made by make docs -->.*?<!-- end of \1 -->", blank, text, flags=re.DOTALL)
    prose = [
        (number, line)
        for number, line in enumerate(text.splitlines(), 1)
        if not line.startswith(("|", "    ", "![")) and "$" not in line
    ]
    assert not [(number, line) for number, line in prose if len(line) > 120]


def blank(found):
    """As many lines, all empty."""
    return "\n" * found[0].count("\n")
