"""The page in a real browser, where there is one."""

import html
import re
import shutil
import subprocess

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--enable-logging=stderr"),
]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH")


def browse(page, folder, widths):
    """The page opened at each width: by how much its content is wider than the window, and what the console said."""
    # srcdoc shares its origin with the frame's page, which can so measure the report without changing it.
    frames = "".join(f'<iframe width="{width}" height="900" srcdoc="{html.escape(page)}"></iframe>' for width in widths)
    script = """
        onload = () => {
          const pages = [...document.querySelectorAll("iframe")].map(frame => frame.contentDocument.documentElement)
          const found = pages.map(page => page.scrollWidth - page.clientWidth)
          document.body.innerHTML = "measured " + found.join(",") + "."
        }"""
    file = folder / "frames.html"
    file.write_text(f"<!doctype html><meta charset=utf-8><body>{frames}<script>{script}</script>", encoding="utf-8")
    command = [CHROMIUM, *QUIET, f"--user-data-dir={folder / 'profile'}", "--dump-dom", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    measured = re.search(r"measured ([\d,]+)\.", done.stdout)
    assert measured is not None, done.stderr
    said = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return [int(pixels) for pixels in measured[1].split(",")], said


def test_the_report_fits_and_the_console_stays_silent(some_of_each, tmp_path):
    excess, said = browse(some_of_each[1], tmp_path, (400, 1400))
    assert excess == [0, 0], "no horizontal scroll"
    assert said == []


def test_the_browser_would_tell(tmp_path):
    page = "<!doctype html><p style='width: 600px'>wide</p><script>console.error('trouble')</script>"
    excess, said = browse(page, tmp_path, (400,))
    assert excess[0] >= 200
    assert any("trouble" in line for line in said)
