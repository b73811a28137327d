"""The page: whatever the study holds, one well-formed text that fetches nothing and hides nothing."""

import itertools
import json
import re
from dataclasses import replace

import pytest

from html_pages import Page
from made_by_hand import add
from rectified.figures.style import COLORS, SHEETS, Style
from rectified.study.analysis.results import StudyResults
from rectified.study.config.errors import InvalidOption
from rectified.study.report import write_figures, write_report
from rectified.study.storage.store import Store

METHODS = [
    *("adam", "radam", "adam+untuned-linear", "sgd", "radam-exact", "radam-hold"),
    *("adam+second-moment-only-2000", "adam-eps", "adamw", "radam-paper", "adam+linear-9", "adam+second-moment-only-9"),
]


def words(text):
    return " ".join(Page(text).text.split())


def test_whatever_there_is_the_page_is_well_formed_and_names_every_figure(odd):
    check(odd)


def check(page):
    parsed = Page(page)
    for attributes in parsed.all("img"):
        assert attributes["alt"]
        assert attributes["src"].startswith("data:image/svg+xml;base64,")
    for attributes in parsed.all("span"):
        if attributes.get("class", "").startswith("key "):
            assert attributes["aria-hidden"] == "true"
            assert f".{attributes['class'][4:]} {{ background-image" in page
    for attributes in parsed.all("th"):
        assert attributes.get("scope") in ("row", "col")
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in parsed.elements:
        assert attributes.get("href", "#")[0] != "#" or attributes.get("href", "#" + ids[0])[1:] in ids
    headings = [int(tag[1]) for tag, _ in parsed.elements if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(headings)), "no level is left out"
    assert len(parsed.all("figcaption")) == len(parsed.all("figure"))
    assert len(parsed.all("main")) == len(parsed.all("h1")) == 1
    for attributes in parsed.all("section"):
        assert attributes["aria-labelledby"] in ids
    regions = [attributes for attributes in parsed.all("div") if attributes.get("class") == "scroll"]
    scrolled = [attributes for attributes in parsed.all("figure") if attributes.get("class") == "rows-of-text"]
    assert len(regions) == len(parsed.all("table")) + len(scrolled)
    for attributes in regions:
        assert attributes["tabindex"] == "0"
        assert attributes.get("aria-label") or attributes["aria-labelledby"] in ids
    assert "nan" not in parsed.text
    assert "None" not in parsed.text
    # Every sentence begins after a space: the template's blocks must not swallow it.
    assert not re.search(r"[a-z)]\.[A-Z]", parsed.text)


def test_the_page_fetches_nothing(odd):
    assert "http:" not in odd
    assert "https:" not in odd
    assert "@import" not in odd
    parsed = Page(odd)
    assert not parsed.all("script")
    for _, attributes in parsed.elements:
        for key in ("src", "href", "xlink:href", "action", "data"):
            assert attributes.get(key, "#").startswith(("#", "data:"))
    assert set(re.findall(r"url\((.{6})", odd)) <= {'"data:'}
    assert "default-src 'none'" in odd


def test_equal_input_gives_equal_bytes(some_of_each, report):
    records, text = some_of_each
    assert report(records) == text


def test_what_comes_from_outside_is_escaped(make, report):
    evil = "<script>alert('x')</script>"
    records = [make(evil), make("sgd", status="failed", error=f"{evil} & more")]
    text = report(records, command=f"rectified study --out '{evil}'")
    assert "<script" not in text
    assert evil in Page(text).text
    assert any(evil in attributes["alt"] for attributes in Page(text).all("img"))


def test_the_verdict_comes_first_and_claims_no_more_than_the_data(make, report):
    records = [
        *(make("adam", 0.01, seed, accuracy=80 + seed) for seed in (0, 1, 2)),
        *(make("radam", 0.01, seed, accuracy=81 + 2 * seed) for seed in (0, 1, 2)),
        *(make("sgd", 0.01, seed, accuracy=30 + seed * 1.1) for seed in (0, 1, 2)),
    ]
    text = words(report(records))
    verdict = text.index("At its best learning rate, radam has the highest mean test accuracy")
    others = [
        "A run is 3 epochs",
        "Each run minus the run of adam",
        "Small markers are",
        "seconds are its time",
        "run with",
    ]
    assert [verdict, *map(text.index, others)] == sorted([verdict, *map(text.index, others)])
    assert "It is better than sgd and cannot be separated from adam with these seeds." in text
    assert "sgd (lr 0.01) vs adam (lr 0.01): −4" in text
    assert "inconclusive with 3 seeds: about" in text
    assert "3 comparisons" not in text
    assert "5 comparisons were made, in 3 groups, by t tests" in text
    assert "in a group is at most 5 %, and over all of them at most 15 %." in text


def test_one_seed_claims_nothing(make, report):
    text = words(report([make("adam", accuracy=80), make("radam", accuracy=70)]))
    assert "One seed cannot separate a difference between methods from chance." in text
    assert "better than" not in text
    assert "adam: 80" not in text


def test_another_baseline(make, report):
    records = [make(method, seed=seed, accuracy=80 + seed) for method in ("adam", "radam") for seed in (0, 1)]
    assert "Differences from radam" in words(report(records, baseline="radam"))
    with pytest.raises(InvalidOption, match="baseline is sgd: the study's methods are adam, radam"):
        report(records, baseline="sgd")


def test_a_mean_is_shaded_and_marked_only_where_it_leaves_nothing_out(make, report):
    records = [
        *(make("adam", 0.01, seed, accuracy=80) for seed in (0, 1)),
        *(make("adam", 0.1, seed, "diverged" if seed else "done", accuracy=99) for seed in (0, 1)),
    ]
    cells = [attributes.get("class") for attributes in Page(report(records)).all("td")]
    assert cells[:2] == ["shade-4 best", "shade-0"]
    assert "1 diverged of 2" in words(report(records))


def several(make):
    """Runs of two lengths, and one method in one of them alone."""
    long = [
        make(method, lr, seed, epochs=6, accuracy=70 + seed + 100 * lr, loss=0.4)
        for method in ("adam", "radam")
        for lr in (0.01, 0.1)
        for seed in (0, 1, 2)
    ]
    short = [make(method, 0.01, seed, accuracy=60 + seed) for method in ("radam", "sgd") for seed in (0, 1)]
    return long + short


def test_each_setting_has_a_section_of_its_own(make, report):
    page = report(several(make), baseline="adam")
    check(page)
    text = words(page)
    assert "3 methods, 2 settings" in text
    for title in ("Fashion-MNIST, 6,000 images, 6 epochs, batch size 100", "6,000 images, 3 epochs, batch size 100"):
        assert text.count(title) >= 4, "contents, verdict, section, runs"
    assert "A run is 6 epochs of 60 steps" in text
    assert "A run is 3 epochs of 60 steps" in text
    assert "Differences from adam" in text
    assert "Differences from radam" in text, "where the baseline did not run, the first method is one"
    assert len(page) < 400_000


def test_an_unfinished_warmup_is_said_with_its_numbers(make, report):
    text = words(report([make("adam"), make("adam+linear-500"), make("adam+second-moment-only-2000")]))
    assert "some warmups outlast the runs" in text
    assert "adam+linear-500: omega is 0.36 at the last step" in text
    assert "It would reach 0.9 at step 450." in text
    assert "adam+second-moment-only-2000: omega is still 0 at the last step" in text
    assert "outlast" not in words(report([make("adam"), make("adam+linear-100")]))


def test_nothing_that_went_wrong_is_left_out(some_of_each):
    text = words(some_of_each[1])
    assert "✕ diverged in epoch 2" in text
    assert "Diverged: sgd, seed 0, in epoch 2." in text
    assert "RuntimeError: out of luck" in text
    assert "Not drawn: 1 failed and 1 missing." in text
    assert "2 runs of 12 have no result" in text
    assert "Outside the panel, train loss: sgd (to 1.4e6)." in text
    assert "rectified study fashion-mnist-mini" in text


def test_a_mixture_of_versions_is_said(make, report):
    old, new = make(seed=0), make(seed=1)
    new = replace(new, versions={**new.versions, "torch": "2.14.0"})
    assert "more than one version of torch: 2.13.0+cpu and 2.14.0" in words(report([old, new]))


def test_a_large_study_stays_small(make, report):
    records = [make(method, lr, seed, epochs=40) for method in METHODS for lr in (0.01, 0.1) for seed in range(3)]
    assert len(report(records)) < 1_000_000


def test_many_methods_are_shared_out_over_pictures_that_each_have_the_baseline(make, report):
    records = [make(method, lr, seed) for method in METHODS for lr in (0.01, 0.1) for seed in range(2)]
    text = report(records, baseline="sgd")
    drawn = [attributes["alt"] for attributes in Page(text).all("img")]
    for beginning, told in (("Final test accuracy", " {}: "), ("train loss", " {} from ")):
        mine = [label for label in drawn if label.startswith(beginning)]
        lrs = 2 if beginning == "train loss" else 1
        assert len(mine) == 2 * lrs
        for method in METHODS:
            assert sum(told.format(method) in label for label in mine) == lrs * (2 if method == "sgd" else 1)
    assert "split across 2 pictures, with sgd in each" in words(text)
    assert "pictures, with" not in words(report([each for each in records if each.run.method in METHODS[:8]]))


def test_no_two_methods_differ_by_color_alone():
    looks = [(Style(i).marker, Style(i).dash) for i in range(12)]
    assert len({marker for marker, _ in looks}) == 12
    for i, j in itertools.combinations(range(12), 2):
        if Style(i).color == Style(j).color:
            assert Style(i).dash != Style(j).dash


def luminance(color):
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in color]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def rgb(color):
    return [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]


def filtered(color, share):
    """As a browser does with invert(share) hue-rotate(180deg), by the matrix of the CSS standard."""
    inverted = [c * (1 - share) + (1 - c) * share for c in color]
    turned = ((-0.574, 1.43, 0.144), (0.426, 0.43, 0.144), (0.426, 1.43, -0.856))
    return [min(1, max(0, sum(a * b for a, b in zip(row, inverted, strict=True)))) for row in turned]


def test_lines_stand_out_from_the_page_in_light_and_dark_mode():
    css = (SHEETS / "page.css").read_text(encoding="utf-8")
    light, dark = map(rgb, re.findall(r"--paper: (#\w{6})", css))
    (share,) = re.findall(r"filter: invert\(([\d.]+)\) hue-rotate\(180deg\)", css)
    for color in COLORS:
        for seen, page in ((rgb(color), light), (filtered(rgb(color), float(share)), dark)):
            low, high = sorted((luminance(seen), luminance(page)))
            assert (high + 0.05) / (low + 0.05) >= 3


def test_write_report_over_a_folder(tmp_path, make):
    store = Store(tmp_path / "study")
    record = make()
    with store.locked():
        add(store, [record.run, make("radam").run])
        folder = store.folder(record.run)
        folder.mkdir(parents=True)
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in record.rows))
        (folder / "done.json").write_text(json.dumps({"status": "done", "step": 180, "seconds": 1.0, "attempts": 1}))
    results = StudyResults.read(store)
    path = write_report(results, store.out)
    assert path == store.out / "report.html"
    before = path.read_bytes()
    assert write_report(results, store.out).read_bytes() == before
    figures = write_figures(results, store.out)
    names = {file.name for file in figures.iterdir()}
    assert names >= {"metric-by-lr.svg", "metric-by-lr.pdf", "heat-map.svg", "omega.pdf", "curve-0.01-train_loss.svg"}
    assert {name[-4:] for name in names - {".written"}} == {".svg", ".pdf"}
    assert (figures / "omega.pdf").read_bytes().startswith(b"%PDF")
    assert b"adam" in (figures / "omega.svg").read_bytes(), "it has a legend"
    drawn = {file.name: file.read_bytes() for file in figures.iterdir()}
    earlier, mine, outside = figures / "lr-study-heat-map.svg", figures / "mine.svg", store.out / "other.svg"
    for file in (earlier, mine, outside):
        file.touch()
    with (figures / ".written").open("a") as manifest:
        manifest.write("lr-study-heat-map.svg\n../other.svg\n")
    write_figures(results, store.out)
    assert not earlier.exists(), "it was an earlier report's"
    mine.unlink()
    outside.unlink()
    assert {file.name: file.read_bytes() for file in figures.iterdir()} == drawn
    text = words(path.read_text())
    assert "1 run of 2 has no result" in text
    assert [entry.name for entry in store.out.iterdir() if entry.name.startswith(".report")] == []


@pytest.mark.parametrize(
    ("by_seed", "marked"),
    [
        ({0.01: (80, 70, 80, 70), 0.05: (70, 80, 70, 80)}, {0.01}),
        ({0.01: (80, 70, 80, 70), 0.05: (81, 80, 81, 80)}, {0.05}),
        ({0.01: (80, 70), 0.05: (99, None)}, {0.01}),
    ],
    ids=["equally good", "one is better", "a run that diverged counts as chance"],
)
def test_the_page_marks_the_lr_that_the_verdict_names(make, report, by_seed, marked):
    records = [
        make("adam", lr, seed, "done" if value else "diverged", accuracy=value or 0)
        for lr, values in by_seed.items()
        for seed, value in enumerate(values)
    ]
    page = report(records)
    cells = [attributes.get("class") for attributes in Page(page).all("td")][:2]
    assert {lr for lr, cell in zip(by_seed, cells, strict=True) if cell.endswith(" best")} == marked
    named = re.search(r" % at lr ([\d.]+) \(", words(page))
    assert {float(named[1])} == marked


@pytest.mark.parametrize("value", [None, float("nan")], ids=["missing", "NaN"])
def test_a_run_that_ended_without_its_metric_has_failed_on_the_page(make, report, value):
    records = [make("adam"), make("radam")]
    del records[1].rows[-1]["test_accuracy"]
    if value is not None:
        records[1].rows[-1]["test_accuracy"] = value
    page = report(records)
    check(page.replace("test_accuracy is nan", "a reason"))
    text = words(page)
    assert "! failed" in text
    assert "1 of 2 runs has no result yet (1 failed)" in text
    assert "the run ended, but" in text
    assert "Not drawn: 1 failed." in text
