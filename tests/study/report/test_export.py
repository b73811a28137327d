"""What is exported: every run as CSV, the tables of the report as Markdown and LaTeX, at any time."""

import csv
import json
import math
import re

import pytest

from made_by_hand import add, results_of
from rectified import cli
from rectified.study.config.errors import InvalidOption
from rectified.study.config.runs import RunKey
from rectified.study.report.export import escape, export
from rectified.study.storage.records import Record
from rectified.study.storage.store import Store

TASK = "fashion-mnist-mini"
VALUES = {
    ("adam", 0.01): (80.0, 81.0, 82.0),
    ("adam", 0.1): (70.0, 72.0, "diverged"),
    ("radam(beta2=0.9)", 0.01): (85.0, 86.5, 87.0),
    ("radam(beta2=0.9)", 0.1): (90.0, "missing", "failed"),
    ("sgd(lr=0.5)", 0.5): (60.0, 61.0, 60.5),
}


def record(method, lr, seed, value, epochs=2):
    run = RunKey(TASK, method, lr, seed, epochs, 100)
    if isinstance(value, str):
        return Record(run, value)
    return Record(run, "done", [{"epoch": 2, "step": 120, "train_loss": 0.5, "test_accuracy": value}])


RECORDS = [record(*key, seed, value) for key, found in VALUES.items() for seed, value in enumerate(found)]


def test_csv_has_a_row_a_run_and_every_digit():
    records = [*RECORDS, record("adam", 0.01, 0, 0.1 + 0.2, epochs=5)]
    rows = list(csv.DictReader(export(results_of(records), "csv").splitlines()))
    assert len(rows) == len(records)
    assert rows[0] == {
        **{"task": TASK, "epochs": "2", "batch_size": "100", "method": "adam", "lr": "0.01", "seed": "0"},
        **{"status": "done", "epochs_done": "1", "train_loss": "0.5", "test_accuracy": "80.0"},
    }
    assert [row["status"] for row in rows[3:6]] == ["done", "done", "diverged"]
    assert rows[5]["test_accuracy"] == ""
    assert float(rows[-1]["test_accuracy"]) == 0.1 + 0.2


def test_markdown():
    means, differences = export(results_of(RECORDS), "markdown").split("\n\n", 1)[1].split("\n\n", 1)
    assert means.splitlines()[0] == "| method | lr 0.01 | lr 0.1 | lr 0.5 | at its best lr |"
    assert "| adam | 81.00 ± 2.48 | 50.67, 1 diverged of 3 |  | 81.00 (lr 0.01, the lowest) |" in means
    assert "| radam(beta2=0.9) | 86.17 ± 2.59 | 90.00 (1 seed), 1 failed, 1 missing of 3 |  |" in means
    assert "| sgd(lr=0.5) |  |  | 60.50 ± 1.24 | 60.50 (lr 0.5) |" in means
    assert "| vs adam | lr 0.01 | lr 0.1 | each at its best lr |" in differences
    assert r"| radam(beta2=0.9) | +5.17\* (+4.45 to +5.88) |" in differences


def test_the_captions_say_what_the_numbers_are():
    text = export(results_of(RECORDS), "markdown")
    assert (
        f"{TASK}, 2 epochs, batch size 100: final test accuracy, %, mean over seeds ± half its 95 % t interval" in text
    )
    assert "and so optimistic" in text
    assert "2 of 15 runs have no result yet." in text
    assert "method − adam, paired by seed" in text
    assert "method − sgd(lr=0.5), paired by seed" in export(results_of(RECORDS, "sgd(lr=0.5)"), "markdown")


def test_latex_is_balanced_and_escaped():
    text = export(results_of(RECORDS), "latex")
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 2
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert text.count(rule) == 2
    assert text.count("{") == text.count("}")
    assert r"81.00 $\pm$ 2.48 & 50.67, 1 diverged of 3 &  & 81.00 (lr 0.01, the lowest) \\" in text
    widths = [line.count("&") for line in text.splitlines() if line.endswith(r"\\")]
    assert widths == [4] * 4 + [3] * 3
    assert text.isascii(), "which any engine reads"
    assert not re.search(r"(?<!\\)[%_#&](?!( |$))", re.sub(r"  % needs.*", "", text))


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("a_b", r"a\_b"),
        ("50 %", r"50 \%"),
        ("{x}^2~\\", r"\{x\}\textasciicircum{}2\textasciitilde{}\textbackslash{}"),
        ("−1 ± 2 – <3> & #$", r"$-$1 $\pm$ 2 -- $<$3$>$ \& \#\$"),
    ],
)
def test_names_are_escaped(text, latex):
    assert escape(text) == latex


@pytest.mark.parametrize("kind", ["csv", "markdown", "latex"])
def test_a_study_that_has_only_begun(kind):
    text = export(results_of([record("adam", 0.1, 0, "missing"), record("sgd", 0.1, 0, "missing")]), kind)
    assert "missing" in text
    assert str(math.nan) not in text


def test_settings_stand_apart():
    records = [record("adam", 0.1, 0, 80.0), record("adam", 0.1, 0, 90.0, epochs=9)]
    text = export(results_of(records), "markdown")
    assert "2 epochs" in text
    assert "9 epochs" in text
    assert text.count("| method |") == 2


@pytest.mark.parametrize(
    ("kind", "baseline", "says"),
    [
        ("xml", None, "format is xml: it must be csv, markdown or latex"),
        ("csv", "b", "baseline is b: the study's methods are adam, "),
    ],
)
def test_what_cannot_be_exported_is_refused(kind, baseline, says):
    with pytest.raises(InvalidOption, match=says):
        export(results_of(RECORDS, baseline), kind)


def test_the_command_line(tmp_path, capsys):
    store = Store(tmp_path / "study")
    with store.locked():  # as while it runs
        add(store, [found.run for found in RECORDS], baseline="sgd(lr=0.5)")
        folder = store.folder(RECORDS[0].run)
        folder.mkdir(parents=True)
        (folder / "rows.jsonl").write_text(json.dumps(RECORDS[0].rows[0]) + "\n")
        (folder / "done.json").write_text(json.dumps({"status": "done", "step": 1, "seconds": 1.0, "attempts": 1}))
        assert cli.main(["export", str(store.out), "--format", "csv"]) == 0
        assert capsys.readouterr().out.count("\n") == len(RECORDS) + 1
        assert cli.main(["export", str(store.out)]) == 0
        assert "method − sgd(lr=0.5)," in capsys.readouterr().out
        file = tmp_path / "table.tex"
        assert cli.main(["export", str(store.out), "--format", "latex", "--out", str(file), "--baseline", "adam"]) == 0
        assert "vs adam" in file.read_text()
        assert capsys.readouterr().out == ""
    assert cli.main(["export", str(tmp_path / "nowhere")]) == 2
    assert "is not a study" in capsys.readouterr().err
