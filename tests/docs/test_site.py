"""The site as `make site` builds it: no warning, no dead link, nothing from another host, nothing too wide."""

import html
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest

from browser import CHROMIUM, QUIET
from pages import DOCS

ROOT = DOCS.parent
pytestmark = pytest.mark.slow


class Page(HTMLParser):
    """What a page links to, what it loads, and the names in it."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loads, self.names, self.math = [], [], set(), 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.names |= {found[key] for key in ("id", "name") if found.get(key)}
        self.math += tag == "math"
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        if tag in ("script", "img", "iframe") and found.get("src"):
            self.loads.append(found["src"])
        if tag == "link" and found.get("rel") in ("stylesheet", "icon", "preload"):
            self.loads.append(found["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    (line,) = re.findall(r"-m (sphinx .*)", (ROOT / "Makefile").read_text())
    assert " -W " in line, "a warning is an error"
    words = line.replace("build/doctrees", str(out / "doctrees")).replace("build/site", str(out / "site")).split()
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out / "site"


@pytest.fixture(scope="module")
def built(site):
    """Every page of ours by its path; the studies' reports have their own tests."""
    paths = [path for path in site.rglob("*.html") if "studies" not in path.parts and "_static" not in path.parts]
    return {path: Page(path) for path in paths}


def test_every_page_of_docs_is_there(site, built):
    assert (site / ".nojekyll").exists()
    for page in [*DOCS.glob("*.md"), *DOCS.glob("reference/*.md")]:
        assert (site / page.relative_to(ROOT)).with_suffix(".html") in built
    assert "docs/index.html" in (site / "index.html").read_text()
    formulas = re.findall(r"(\$\$?)[^$]+\1", (DOCS / "mathematics.md").read_text(encoding="utf-8"))
    assert built[site / "docs/mathematics.html"].math == len(formulas) > 20


def test_each_link_leads_somewhere(site, built):
    inside = 0
    for path, page in built.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert there.is_file(), f"{path.relative_to(site)} links to {link}"
            if parts.fragment and there in built:
                assert unquote(parts.fragment) in built[there].names | {""}, f"{path.relative_to(site)} links to {link}"
                inside += 1
    assert inside > 200


def test_nothing_is_loaded_from_another_host(site, built):
    for path, page in built.items():
        for load in page.loads:
            parts = urlsplit(load)
            assert not parts.netloc, f"{path.relative_to(site)} loads {load}"
            assert parts.scheme == "data" or (path.parent / unquote(parts.path)).is_file(), f"{path.name} loads {load}"
    for sheet in [*site.rglob("*.css"), *(DOCS / "site" / "static").glob("*.js")]:
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"(url\(|@import|fetch\(|import\()\s*[\"']?https?:", text), sheet.name


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH")
@pytest.mark.parametrize("width", [400, 1200])
@pytest.mark.parametrize("scheme", [0, 1], ids=["dark", "light"])
def test_no_page_is_wider_than_its_window_and_none_complains(site, built, tmp_path, width, scheme):
    paths = sorted(
        path for path in built if path.name not in ("index.html", "search.html") or path.parent.name == "docs"
    )
    frames = "".join(f'<iframe width="{width}" height="800" src="{path.as_uri()}"></iframe>' for path in paths)
    script = """onload = () => {
        const wide = [...document.querySelectorAll("iframe")].map(frame => {
          const page = frame.contentDocument.documentElement
          return page.scrollWidth - page.clientWidth
        })
        document.body.innerHTML = "<pre>" + JSON.stringify(wide) + "</pre>"
      }"""
    file = tmp_path / "frames.html"
    file.write_text(f"<!doctype html><meta charset=utf-8><body>{frames}<script>{script}</script>", encoding="utf-8")
    flags = ["--allow-file-access-from-files", f"--blink-settings=preferredColorScheme={scheme}"]
    command = [CHROMIUM, *QUIET, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    wide = json.loads(html.unescape(re.search(r"<pre>(.*?)</pre>", done.stdout, re.DOTALL)[1]))
    assert len(wide) == len(paths)
    assert [(path.name, by) for path, by in zip(paths, wide, strict=True) if by > 0] == []
    assert [line for line in done.stderr.splitlines() if ":CONSOLE" in line] == []
