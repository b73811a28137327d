"""The page in a real browser, where there is one."""

import subprocess

import pytest

from browser import CHROMIUM, QUIET, browse

# Of every cell of the heat map the contrast of its text, as the browser mixed the colors.
CONTRAST = """{
  const view = page.ownerDocument.defaultView
  const channels = color => {
    const found = color.match(/[\\d.]+/g).slice(0, 3).map(Number)
    return color.startsWith("rgb") ? found.map(value => value / 255) : found
  }
  const luminance = color => {
    const [r, g, b] = channels(color).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const paper = view.getComputedStyle(page).backgroundColor
  return [...page.querySelectorAll(".means td span:not(.hidden)")].map(span => {
    const back = view.getComputedStyle(span.closest("td")).backgroundColor
    const pair = [view.getComputedStyle(span).color, back.startsWith("rgba") ? paper : back].map(luminance)
    return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05)
  })
}"""
# What the Tab key comes to, by name; and whether each table that scrolls is among them.
KEYBOARD = """{
  const stops = [...page.querySelectorAll("a[href], summary, [tabindex='0']")]
  const scrolls = [...page.querySelectorAll(".scroll")]
  const wide = [...page.querySelectorAll("*")].filter(
    e => e.scrollWidth > e.clientWidth + 1 && ["auto", "scroll"].includes(getComputedStyle(e).overflowX))
  stops[0].focus()
  return {
    first: stops[0].textContent,
    shown: stops[0].getBoundingClientRect().left >= 0,
    scrolls: scrolls.every(e => stops.includes(e)),
    wide: wide.every(e => stops.includes(e)),
    targets: stops.filter(e => e.matches("a[href^='#']")).every(e => page.querySelector(e.getAttribute("href"))),
  }
}"""

# Whether every picture is there, at its own ratio of width to height; and every legend's key.
PICTURES = """{
  const view = page.ownerDocument.defaultView
  const images = [...page.querySelectorAll("figure img")]
  const keys = [...page.querySelectorAll(".key")].map(e => view.getComputedStyle(e).backgroundImage)
  return {
    images: images.length,
    drawn: images.every(e => e.complete && e.naturalWidth > 0 && e.alt),
    keys: keys.length > 0 && keys.every(e => e.startsWith('url("data:image/svg+xml')),
    scaled: images.every(e => Math.abs(e.width / e.height - e.naturalWidth / e.naturalHeight) < 0.02),
    filters: [...new Set(images.map(e => view.getComputedStyle(e).filter))],
  }
}"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH")


def test_the_report_fits_and_the_console_stays_silent(some_of_each, tmp_path):
    excess, said = browse(some_of_each[1], tmp_path, (400, 1400))
    assert excess == [0, 0], "no horizontal scroll"
    assert said == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_heat_map_can_be_read(some_of_each, tmp_path, dark):
    ((*contrasts,),), said = browse(some_of_each[1], tmp_path, (1000,), CONTRAST, dark)
    assert len(contrasts) > 8
    assert min(contrasts) >= 4.5
    assert said == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_picture_is_drawn_at_its_own_ratio_and_in_dark_mode_inverted(some_of_each, tmp_path, dark):
    found, said = browse(some_of_each[1], tmp_path, (400, 1400), PICTURES, dark)
    assert said == []
    for each in found:
        assert each["images"] >= 6
        assert each["drawn"]
        assert each["keys"]
        assert each["scaled"]
        assert each["filters"] == (["invert(0.92) hue-rotate(180deg)"] if dark else ["none"])


def test_the_keyboard_reaches_everything(some_of_each, tmp_path):
    (found,), _ = browse(some_of_each[1], tmp_path, (400,), KEYBOARD)
    assert found == {"first": "Skip to the verdict", "shown": True, "scrolls": True, "wide": True, "targets": True}


def test_it_prints(some_of_each, tmp_path):
    page, paper = tmp_path / "report.html", tmp_path / "report.pdf"
    page.write_text(some_of_each[1], encoding="utf-8")
    command = [CHROMIUM, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", f"--print-to-pdf={paper}", page.as_uri()]
    subprocess.run(command, capture_output=True, timeout=90, check=True)
    assert 2 <= paper.read_bytes().count(b"/Type /Page\n") <= 12


def test_the_browser_would_tell(tmp_path):
    page = "<!doctype html><p style='width: 600px'>wide</p><script>console.error('trouble')</script>"
    excess, said = browse(page, tmp_path, (400,))
    assert excess[0] >= 200
    assert any("trouble" in line for line in said)
