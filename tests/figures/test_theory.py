"""`rectified theory`: its numbers are the theory's, its files whole, its page sufficient to itself."""

import csv
import io
import math
import re
from itertools import pairwise

import pytest
from rich.console import Console

from html_pages import Page
from rectified import cli
from rectified.figures import Settings, write_theory
from rectified.figures.plot import Plot
from rectified.figures.theory_numbers import simulated
from rectified.figures.theory_numbers.computed import WARMUPS, momentum_variance, spaced, update_bound
from rectified.figures.theory_page import build_page, simulated_figures
from rectified.figures.theory_page.reader_tables import digits, measured
from rectified.figures.theory_page.stages import Stages
from rectified.theory import (
    limiting_variance,
    rectification,
    rho,
    truncated_variance,
    variance,
    variance_ema,
    variance_first_order,
    variance_slope,
)
from rectified.theory.simulation import Gradients, simulate
from rectified.warmup import effective_period

BETA2, PATHS, STEPS, SEED = 0.98, 200, 40, 3
BETAS = (0.9, 0.95, BETA2, 0.99, 0.999)
FIGURES = [
    *("first_step", "first_step_sampled", "variance_of_rho", "slope_of_rho", "weights", "rho_by_step"),
    *("variance_by_step", "rectified_by_step", "variance_by_mean", "rectified_by_mean"),
    *(f"first_steps_beta2_{beta2!r}" for beta2 in BETAS),
    *("fitted_law_error", "effective_samples", "omega_by_step", "omega_first_steps", "psi_by_law", "update_by_law"),
    "rectified_by_variant",
]
TABLES = ["periods.csv", "periods.md", "variance_table.csv", "variance_table.md"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder that `rectified theory` has written: few paths, few steps."""
    out = tmp_path_factory.mktemp("theory") / "new" / "folder"
    options = ["--beta2", str(BETA2), "--paths", str(PATHS), "--steps", str(STEPS), "--seed", str(SEED)]
    assert cli.main(["theory", "--out", str(out), *options]) == 0
    return out


def rows(made, name):
    """Rows of numbers; nothing reads as NaN."""

    def read(text):
        try:
            return float(text or "nan")
        except ValueError:
            return text

    with (made / f"{name}.csv").open(encoding="utf-8") as file:
        return [{key: read(text) for key, text in row.items()} for row in csv.DictReader(file)]


def first_order(length):
    return variance_first_order(length) if length > 4 else math.nan


def test_the_folder_holds_every_figure_thrice_and_nothing_else(made):
    expected = {f"{name}.{kind}" for name in FIGURES for kind in ("svg", "pdf", "csv")}
    assert {path.name for path in made.iterdir()} == expected | {*TABLES, "theory.html"}
    for name in FIGURES:
        assert (made / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        picture = (made / f"{name}.svg").read_text(encoding="utf-8")
        assert "<text" in picture, "labels are text"
        assert "<title>" in picture, "a screen reader finds its name"
        assert len(rows(made, name)) > 10


def test_the_numbers_of_the_computed_figures_are_the_theorys(made):
    for row in rows(made, "first_step"):
        assert row["truncated_variance"] == truncated_variance(row["bound"])
        assert row["ratio"] == row["truncated_variance"] / row["rate"]
    for row in rows(made, "variance_of_rho"):
        assert row["variance"] == variance(row["rho"])
        assert row["variance_first_order"] == pytest.approx(first_order(row["rho"]), nan_ok=True)
    slopes = rows(made, "slope_of_rho")
    assert all(row["slope"] == variance_slope(row["rho"]) < 0 for row in slopes)
    assert all(row["slope_by_digammas"] == pytest.approx(row["slope"], rel=1e-5) for row in slopes if row["rho"] < 1e4)
    assert any(row["slope_by_digammas"] >= 0 for row in slopes)
    found = rows(made, "rho_by_step")
    assert {row["beta2"] for row in found} == set(BETAS)
    assert all(row["rho_t"] == rho(row["t"], row["beta2"]) for row in found)


def test_the_two_averages_have_equal_centers_of_mass(made):
    found = rows(made, "weights")
    for name in ("ema", "sma"):
        assert sum(row[name] for row in found) == pytest.approx(1)
    centers = [sum(row["step"] * row[name] for row in found) for name in ("ema", "sma")]
    # A simple average with a part of a gradient is off by up to an eighth of a step over its length.
    assert centers[0] == pytest.approx(centers[1], abs=0.01)


def test_what_is_drawn_by_step_is_the_theorys(made):
    limit = limiting_variance(BETA2, "ema")
    by_step, rectified = rows(made, "variance_by_step"), rows(made, "rectified_by_step")
    assert [row["t"] for row in by_step] == spaced(STEPS, 10)
    for row, other in zip(by_step, rectified, strict=True):
        t = row["t"]
        assert row["ema"] == variance_ema(t, BETA2)
        assert row["exact"] == variance(rho(t, BETA2))
        assert row["first"] == pytest.approx(first_order(rho(t, BETA2)), nan_ok=True)
        assert math.isinf(row["simulated_ema_error"]) == (t <= 4)
        for order in ("first", "exact", "ema"):
            r = rectification(t, BETA2, "first-order" if order == "first" else order)
            assert other[f"r_{order}"] == r
            if r:
                assert other[f"rectified_{order}"] == pytest.approx(r * r * row["ema"] / limit)
                assert other[f"simulated_rectified_{order}"] == pytest.approx(r * r * row["simulated_ema"] / limit)
            else:
                assert math.isnan(other[f"simulated_rectified_{order}"])


def test_what_is_simulated_is_the_simulations(made):
    found = simulate([Gradients()], BETA2, paths=PATHS, steps=STEPS, seed=SEED, sma=True)
    for row in rows(made, "variance_by_step"):
        column = int(row["t"]) - 1
        assert row["simulated_ema"] == float(found.psi.variance[0, column])
        assert row["simulated_ema_error"] == float(found.psi.error[0, column])
        assert row["simulated_sma"] == float(found.sma.variance[0, column])
    plain = [row["simulated"] for row in rows(made, "variance_by_mean") if row["mu"] == 0]
    assert plain == [row["simulated_ema"] for row in rows(made, "variance_by_step")], (
        "the same numbers serve every mean"
    )
    updates = [row for row in rows(made, "update_by_law") if row["t"] == 1]
    assert len(updates) == 5
    assert all(row["update"] == pytest.approx(1, abs=0.05) for row in updates)


def test_the_fitted_law_is_off_as_the_sum_of_squared_weights_says(made):
    found = rows(made, "fitted_law_error")
    for row in found:
        t, beta2 = int(row["t"]), row["beta2"]
        assert row["relative_error"] == variance(rho(t, beta2)) / variance_ema(t, beta2) - 1
    for row in found:
        if row["t"] < 200:
            t, beta2 = int(row["t"]), row["beta2"]
            weights = [beta2**i for i in range(t)]
            samples = sum(weights) ** 2 / sum(w * w for w in weights)
            assert row["effective_samples"] == pytest.approx(samples)
    worst = max((row for row in found if row["beta2"] == 0.999), key=lambda row: row["relative_error"])
    assert worst["relative_error"] == pytest.approx(0.117, abs=0.001)
    assert 1 < worst["scaled_t"] < 2
    assert worst["relative_difference"] == pytest.approx(worst["relative_error"], abs=0.002)


def test_the_tables_hold_the_briefed_numbers(made):
    found = {(row["t"], row["beta2"]): row for row in rows(made, "variance_table")}
    assert set(found) == {(t, beta2) for t in (3, 5, 6, 10, 20, 50, 100) for beta2 in BETAS}
    row = found[6, 0.999]
    assert [round(row["ema"], 4), round(row["closed_form"], 4), round(row["first_order"], 3)] == [0.1746, 0.175, 0.376]
    assert math.isinf(found[3, 0.9]["standard_error"])
    assert math.isnan(found[3, 0.9]["first_order"])
    for row in found.values():
        if row["t"] > 6:
            assert abs(row["simulated"] - row["ema"]) < 5 * row["standard_error"]
    text = (made / "variance_table.md").read_text(encoding="utf-8")
    assert re.search(r"\| 0\.999 \| 6 \| 5\.99 \| 0\.1746 \| 0\.1750 \| 0\.3763 \| 0\.1\d+ ± 0\.00\d+ \|\n", text)
    assert re.search(r"\| 0\.9 \| 3 \| 2\.86 \| 1\.095 \| 1\.335 \| – \| [\d.]+ \(no finite error\) \|\n", text)
    for row in rows(made, "periods"):
        assert row["beta2_0.99"] == effective_period(WARMUPS[row["warmup"]], 0.99)
    for row in rows(made, "omega_by_step"):
        assert all(row[name] == warmup.omega(int(row["t"]), BETA2) for name, warmup in WARMUPS.items())


def test_the_page_holds_every_figure_and_fetches_nothing(made):
    text = (made / "theory.html").read_text(encoding="utf-8")
    page = Page(text, unread=("style", "title"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert set(FIGURES) <= set(ids)
    figures = [attributes for tag, attributes in page.elements if tag == "figure"]
    assert [attributes["id"] for attributes in figures] == FIGURES
    assert text.count("<figcaption>") == len(FIGURES)
    images = [attributes for tag, attributes in page.elements if tag == "img"]
    assert len(images) == len(FIGURES)
    assert all(attributes["alt"] and attributes["src"].startswith("data:image/svg+xml") for attributes in images)
    assert "http:" not in text
    assert "https:" not in text
    assert "default-src 'none'" in text
    assert not {"script", "iframe", "object"} & {tag for tag, _ in page.elements}
    assert set(re.findall(r"url\((.{6})", text)) <= {'"data:'}
    for _, attributes in page.elements:
        href = attributes.get("href", "#")
        assert href.startswith("data:,") or href[1:] in ["", *ids] or (made / href).exists()
    for name in re.findall(r'class="key (.*?)"', text):
        assert f".{name} {{ background-image" in text
    for wrong in (r"\bnan\b", r"\bNone\b", r"[a-z0-9)]\.[A-Z]"):
        assert not re.search(wrong, page.text)
    assert "rectified theory --out" in " ".join(page.text.split())
    assert "16,000 paths, seed 3" in " ".join(page.text.split())


def test_an_equal_seed_gives_equal_numbers_and_bytes_and_another_one_others():
    def found(seed):
        table = simulated.by_step(0.99, 100, 20, seed, lambda: None)
        return simulated_figures.variance_by_step(table).files(), str(
            simulated_figures.rectified_by_step(table).drawing
        )

    assert found(0) == found(0)
    assert found(0)[0]["variance_by_step.csv"] != found(1)[0]["variance_by_step.csv"]


def test_what_else_is_in_the_folder_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(build_page, "build_page", lambda *_: {"theory.html": "new", "a.pdf": b"%PDF"})
    (tmp_path / "thesis.tex").write_text("years of work")
    (tmp_path / "theory.html").write_text("old")
    assert write_theory(tmp_path, Settings(), "", Console()) == tmp_path / "theory.html"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "thesis.tex": "years of work",
        "theory.html": "new",
        "a.pdf": "%PDF",
    }


def test_interrupted_it_leaves_nothing_half_done(tmp_path, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Plot, "files", interrupt)
    (tmp_path / "theory.html").write_text("old")
    assert cli.main(["theory", "--out", str(tmp_path), "--paths", "100", "--steps", "20"]) == 130
    assert [path.name for path in tmp_path.iterdir()] == ["theory.html"]
    assert (tmp_path / "theory.html").read_text() == "old"
    assert "simulating the table" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--beta2", "0.6"], "--beta2 is 0.6; it must lie above 0.6"),
        (["--beta2", "1"], "--beta2 is 1.0; it must lie above 0.6"),
        (["--beta2", "nan"], "--beta2 is nan"),
        (["--paths", "99"], "--paths is 99; it must lie from 100 to 100,000"),
        (["--steps", "0"], "--steps is 0; it must lie from 20 to 1,000,000"),
        (["--seed", "-1"], "--seed is -1; it must lie from 0 to 4,294,967,295"),
    ],
)
def test_a_wrong_option_is_said_and_starts_nothing(options, says, tmp_path, capsys):
    assert cli.main(["theory", "--out", str(tmp_path / "out"), *options]) == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_file_is_no_folder(tmp_path, capsys):
    path = tmp_path / "file"
    path.write_text("mine")
    assert cli.main(["theory", "--out", str(path)]) == 2
    assert "is a file; --out names a folder" in capsys.readouterr().err
    assert cli.main(["theory", "--out", str(path / "below")]) == 2
    assert "cannot be made" in capsys.readouterr().err
    assert path.read_text() == "mine"


def test_in_a_terminal_there_is_a_bar():
    file = io.StringIO()
    with Stages(Console(file=file, force_terminal=True, width=100)) as stages, stages.stage("counting", 4) as advance:
        for _ in range(4):
            advance()
    assert "counting" in file.getvalue()
    assert "100%" in file.getvalue()


def test_the_bound_holds_and_is_reached():
    """By gradients proportional to a_i/w_i, Cauchy and Schwarz's case of equality."""
    beta1, beta2, t = 0.9, 0.95, 12
    a = [(1 - beta1) * beta1 ** (t - i) / (1 - beta1**t) for i in range(1, t + 1)]
    w = [(1 - beta2) * beta2 ** (t - i) / (1 - beta2**t) for i in range(1, t + 1)]
    g = [x / y for x, y in zip(a, w, strict=True)]
    update = sum(x * y for x, y in zip(a, g, strict=True)) / math.sqrt(
        sum(y * x * x for x, y in zip(g, w, strict=True))
    )
    assert update == pytest.approx(update_bound(t, beta1, beta2))
    assert momentum_variance(t, beta1) == pytest.approx(sum(x * x for x in a))
    assert update_bound(3, 0.5, 0.25) == pytest.approx(update_bound(3, 0.5, 0.25 + 1e-12))


def test_steps_are_whole_and_spread():
    steps = spaced(6000)
    assert steps[0] == 1
    assert steps[-1] == 6000
    assert steps[:8] == [1, 2, 3, 4, 5, 6, 7, 9]
    assert all(a < b < 1.5 * a + 1 for a, b in pairwise(steps))


def test_numbers_for_a_reader():
    assert digits(1033.34, 4) == "1,033"
    assert digits(-0.5, 1) == "−0.5"
    assert measured(0.25, 0.0) == "0.250 ± 0.000"
