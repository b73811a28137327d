"""Chromium without a window, for the tests that open a page."""

import html
import json
import re
import shutil
import subprocess

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--enable-logging=stderr"),
]
EXCESS = "page.scrollWidth - page.clientWidth"  # by how much the content is wider than the window


def browse(page, folder, widths, measure=EXCESS, dark=False):
    """The page opened at each width: what the expression says of its `page`, and what the console said."""
    # srcdoc shares its origin with the frame's page, which can so measure the report without changing it.
    frames = "".join(f'<iframe width="{width}" height="900" srcdoc="{html.escape(page)}"></iframe>' for width in widths)
    script = f"""
        onload = () => {{
          const pages = [...document.querySelectorAll("iframe")].map(frame => frame.contentDocument.documentElement)
          const measure = page => {measure}
          document.body.innerHTML = "<pre>" + JSON.stringify(pages.map(measure)) + "</pre>"
        }}"""
    file = folder / "frames.html"
    file.write_text(f"<!doctype html><meta charset=utf-8><body>{frames}<script>{script}</script>", encoding="utf-8")
    scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
    command = [CHROMIUM, *QUIET, *scheme, f"--user-data-dir={folder / 'profile'}", "--dump-dom", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    measured = re.search(r"<pre>(.*?)</pre>", done.stdout)
    assert measured is not None, done.stderr
    said = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return json.loads(html.unescape(measured[1])), said
