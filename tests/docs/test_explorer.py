"""The explorer in a browser: its numbers are Python's, its sliders move what is drawn, and it fits a phone."""

import html
import json
import math
import re
import subprocess

import pytest

import rectified.warmup as warmups
from browser import CHROMIUM, QUIET
from pages import DOCS
from rectified import theory
from rectified.theory.rectification_term import VARIANCES
from rectified.warmup import effective_period
from rectified.warmup.plain import KINDS

STATIC = DOCS / "site" / "static"
BETAS = (0.8, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9999)
STEPS = (1, 2, 3, 4, 5, 6, 10, 50, 100, 299, 300, 301, 1000, 5000, 100_000)
LENGTH = 500
# Infinities as text, which JSON has not.
NUMBERS = f"""{json.dumps(BETAS)}.map(beta2 => {{
  const steps = {json.dumps(STEPS)}
  const by = Warmups.variances(beta2)
  return {{
    variances: Object.fromEntries(Object.entries(by).map(([k, v]) => [k, [...steps.map(v.at), v.limit].map(String)])),
    warmups: Object.fromEntries(Warmups.all(beta2, {LENGTH}).map(w =>
      [w.name, {{omega: steps.map(w.omega), period: w.period, mean: Warmups.mean(w.omega, 1000)}}])),
  }}
}})"""
# What the page shows at first, and after each of its sliders and one box has moved; at the frame's width.
SHOWN = """(() => {
  const window_ = frame.contentWindow, page = frame.contentDocument
  const set = (id, value) => {
    const input = page.getElementById(id)
    input.value = value
    input.dispatchEvent(new window_.Event("input"))
  }
  const read = () => ({
    rows: Object.fromEntries([...page.querySelectorAll("tbody tr")].map(row => [
      row.querySelector("code").textContent, [...row.querySelectorAll("td")].map(cell => Number(cell.dataset.value)),
    ])),
    charts: Object.fromEntries([...page.querySelectorAll("svg[role=img]")].map(svg => [svg.id.slice(9), {
      curves: Object.fromEntries([...svg.querySelectorAll(".curve")].map(path =>
        [path.dataset.name, path.getAttribute("d").slice(1).split("L").map(pair => pair.split(" ").map(Number))])),
      lines: [...svg.querySelectorAll(".grid")].map(line =>
        ["x1", "x2", "y1", "y2"].map(name => Number(line.getAttribute(name)))),
      ticks: [...svg.querySelectorAll("text")].slice(0, -1).map(text => Number(text.textContent.replaceAll(",", ""))),
      says: svg.getAttribute("aria-label"),
    }])),
    outputs: [...page.querySelectorAll("output")].map(output => output.textContent),
    note: page.querySelector(".note").textContent,
    excess: page.documentElement.scrollWidth - page.documentElement.clientWidth,
    width: page.getElementById("explorer-omega").clientWidth,
  })
  const first = read()
  for (const [id, value] of [["beta2", 4], ["steps", 4], ["lr", 8], ["length", 5]]) set(`explorer-${id}`, value)
  page.getElementById("explorer-show-7").click()
  const controls = [...page.querySelectorAll("input")].map(input => ({
    label: [...input.labels].map(label => label.textContent).join(), text: input.getAttribute("aria-valuetext"),
    focusable: input.tabIndex >= 0,
  }))
  return {first, moved: read(), controls}
})()"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH")


def browse(folder, expression, width=1000):
    """What the expression says of `frame`, which holds the explorer without the site's frame around it; the console."""
    page = f"""<!doctype html><meta charset=utf-8><meta name=viewport content="width=device-width">
        <style>{(STATIC / "site.css").read_text()}</style><body style="margin: 0"><div id=explorer class=explorer></div>
        <script>{(STATIC / "warmups.js").read_text()}</script><script>{(STATIC / "explorer.js").read_text()}</script>"""
    script = f"""onload = () => {{
        const frame = document.querySelector("iframe")
        document.body.innerHTML = "<pre>" + JSON.stringify({expression}) + "</pre>"
      }}"""
    warmup_script = f"<script>{(STATIC / 'warmups.js').read_text()}</script>"
    file = folder / "explorer.html"
    frame = f'<iframe width="{width}" height="900" srcdoc="{html.escape(page)}"></iframe>'
    file.write_text(
        f"<!doctype html><meta charset=utf-8><body>{warmup_script}{frame}<script>{script}</script>", "utf-8"
    )
    command = [CHROMIUM, *QUIET, f"--user-data-dir={folder / 'profile'}", "--dump-dom", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    measured = re.search(r"<pre>(.*?)</pre>", done.stdout, re.DOTALL)
    assert measured is not None, done.stderr
    return json.loads(html.unescape(measured[1])), [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


def made(name):
    """The warmup that a name of the explorer writes."""
    return eval(name, vars(warmups))


def variance(kind, t, beta2):
    if kind == "ema":
        return theory.variance_ema(t, beta2)
    length = theory.rho(t, beta2)
    if kind == "exact":
        return theory.variance(length)
    return theory.variance_first_order(length) if length > 4 else math.inf


def drawn(chart, scale):
    """The points of each curve of a chart as its axes have them, each axis on that scale."""
    flat = [y1 == y2 for _, _, y1, y2 in chart["lines"]]
    ys, xs = (
        [tick for tick, is_flat in zip(chart["ticks"], flat, strict=True) if is_flat is way] for way in (True, False)
    )
    y_lines = [line[2] for line, is_flat in zip(chart["lines"], flat, strict=True) if is_flat]
    x_lines = [line[0] for line, is_flat in zip(chart["lines"], flat, strict=True) if not is_flat]

    def read(place, lines, ticks):
        low, high = scale(ticks[0]), scale(ticks[-1])
        return low + (place - lines[0]) / (lines[-1] - lines[0]) * (high - low)

    return {
        name: [(read(x, x_lines, xs), read(y, y_lines, ys)) for x, y in points]
        for name, points in chart["curves"].items()
    }


def test_it_has_every_warmup_and_its_numbers_are_pythons(tmp_path):
    found, said = browse(tmp_path, NUMBERS)
    assert said == []
    there = [made(name) for name in found[0]["warmups"]]
    assert {type(warmup) for warmup in there} == {kind for kind in KINDS if not kind.observes}
    assert {warmup.variance for warmup in there if isinstance(warmup, warmups.Rectified)} == set(VARIANCES)
    for beta2, here in zip(BETAS, found, strict=True):
        for kind, values in here["variances"].items():
            *at, limit = (float(value.replace("Infinity", "inf")) for value in values)
            assert at == pytest.approx([variance(kind, t, beta2) for t in STEPS], rel=1e-11)
            assert limit == pytest.approx(theory.limiting_variance(beta2, kind), rel=1e-11)
        for name, values in here["warmups"].items():
            warmup = made(name)
            assert values["omega"] == pytest.approx([warmup.omega(t, beta2) for t in STEPS], rel=1e-11, abs=1e-300)
            assert values["period"] == pytest.approx(effective_period(warmup, beta2), rel=1e-10)
            mean = math.fsum(warmup.omega(t, beta2) for t in range(1, 1001)) / 1000
            assert values["mean"] == pytest.approx(mean, rel=1e-10)


@pytest.mark.parametrize("width", [400, 1200])
def test_the_sliders_have_labels_and_move_what_is_drawn(tmp_path, width):
    found, said = browse(tmp_path, SHOWN, width)
    assert said == []
    for shown, (beta2, steps, lr, length) in (
        (found["first"], (0.999, 2000, 1e-3, 500)),
        (found["moved"], (0.95, 200, 0.1, 50)),
    ):
        assert [float(text.replace(",", "")) for text in shown["outputs"]] == [beta2, steps, lr, length]
        assert f"beta2 = {beta2:g}" in shown["note"]
        assert {f"Linear({length})", f"SecondMomentOnly({length})", "Rectified()"} <= shown["rows"].keys()
        for name, numbers in shown["rows"].items():
            warmup = made(name)
            mean = math.fsum(warmup.omega(t, beta2) for t in range(1, steps + 1)) / steps
            expected = [effective_period(warmup, beta2), warmup.omega(steps, beta2), mean, lr * mean]
            assert numbers == pytest.approx(expected, rel=1e-9)
        assert shown["excess"] == 0, "no horizontal scroll"
        assert 0.9 * width <= shown["width"] <= width
        for name, curve in drawn(shown["charts"]["omega"], float).items():
            for t, value in curve:
                assert value / lr == pytest.approx(made(name).omega(round(t), beta2), abs=2e-3), (name, t)
        psi = drawn(shown["charts"]["psi"], math.log)
        assert psi.keys() == {"exact", "first-order", "ema", "limit"}
        for name, curve in psi.items():
            for log_t, value in curve:
                limit = theory.limiting_variance(beta2, "ema")
                expected = limit if name == "limit" else variance(name, round(math.exp(log_t)), beta2)
                assert value == pytest.approx(math.log(expected), abs=0.02), (name, log_t)
    assert "SecondMomentOnly(500)" not in found["first"]["charts"]["omega"]["curves"]
    assert "SecondMomentOnly(50)" in found["moved"]["charts"]["omega"]["curves"], "its box was clicked"
    controls = found["controls"]
    assert len(controls) == 4 + 8
    assert all(each["label"].strip() and each["focusable"] for each in controls)
    assert [each["text"] for each in controls[:4]] == ["0.95", "200", "0.1", "50"]
