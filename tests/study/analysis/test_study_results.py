"""The one reduction of a study's records: what every reader of it is given, and that they all say the same."""

import csv
import io
import sys
from dataclasses import replace

import pytest

from made_by_hand import results_of, tasks_of
from rectified.study import InvalidOption, StudyResults
from rectified.study.config.runs import RunKey
from rectified.study.storage.records import Record

ACCURACY, PERPLEXITY = "fashion-mnist-mini", "language-model"


def record(method="adam", lr=0.01, seed=0, value=80.0, status="done", task=ACCURACY, epochs=2):
    key = RunKey(task, method, lr, seed, epochs, 100)
    measured = {"test_accuracy": value, "test_loss": 0.5}
    if task == PERPLEXITY:
        measured = {"valid_ppl": 100.0, "valid_loss": value}
    rows = [{"epoch": epochs, "step": 120, "train_loss": 0.25, **measured}] if status == "done" else []
    return Record(key, status, rows, 120)


def runs_of(method, lr, values, task=ACCURACY):
    """A run for each seed; in place of a value a status may stand."""
    return [
        record(method, lr, seed, *((0.0, value) if isinstance(value, str) else (value, "done")), task)
        for seed, value in enumerate(values)
    ]


TWO = [*runs_of("adam", 0.01, (80.0, 81.0, 82.0)), *runs_of("radam", 0.01, (85.0, 86.5, 87.0))]


@pytest.mark.parametrize(
    ("task", "values", "best"),
    [
        (ACCURACY, {("a", 1): (80,), ("a", 2): (82,)}, {"a": 2}),
        (PERPLEXITY, {("a", 1): (4.1,), ("a", 2): (4.2,)}, {"a": 1}),
        (ACCURACY, {("a", 1): (80,), ("b", 1): (82,), ("b", 2): (83,)}, {"b": 2}),
        (ACCURACY, {("a", 1): (80, 80), ("a", 2): (99, "diverged")}, {"a": 1}),
        (ACCURACY, {("a", 1): (80, 80), ("a", 2): (99, "missing")}, {"a": 2}),
        (ACCURACY, {("a", 1): ("diverged", "diverged"), ("a", 2): ("missing", "missing")}, {}),
        (ACCURACY, {("a", 1): (80, 70, 80, 70), ("a", 2): (70, 80, 70, 80)}, {"a": 1}),
        (ACCURACY, {("a", 1): (80, 70, 80, 70), ("a", 2): (81, 80, 81, 80)}, {"a": 2}),
    ],
    ids=[
        "higher",
        "lower",
        "one lr is no choice",
        "one that diverged counts",
        "one seed has both",
        "nothing",
        "equally good",
        "by all seeds",
    ],
)
def test_the_best_lr_of_each_method(task, values, best):
    records = [each for (method, lr), found in values.items() for each in runs_of(method, float(lr), found, task)]
    (setting,) = results_of(records).settings
    assert setting.best_lrs == best


@pytest.mark.parametrize(
    ("cause", "counts_as", "says"),
    [
        ("run", (10.0, 10.0, 10.0), "2 runs failed in their own code: radam 2 of 3 at lr 0.01."),
        ("machine", (10.0,), "2 of 6 runs have no result yet (2 failed)"),
        ("", (10.0,), "2 of 6 runs have no result yet (2 failed)"),
    ],
    ids=["its own code", "the machine", "nobody knows"],
)
def test_a_run_that_failed_counts_only_if_its_own_code_did(cause, counts_as, says):
    radam = [replace(each, cause=cause) for each in runs_of("radam", 0.01, ("failed", "failed", "diverged"))]
    (setting,) = results_of([*TWO[:3], *radam]).settings
    assert setting.group("radam", 0.01).values == counts_as
    assert setting.group("radam", 0.01).interval is None
    assert says in " ".join(setting.verdict.runs)


def test_another_baseline_than_the_first_one_is_said_to_be_exploratory():
    said = "The study began with adam as its baseline. Comparisons with radam as the baseline are exploratory"
    assert said in results_of(TWO, "radam").verdict
    assert "exploratory" not in results_of(TWO, "adam").verdict
    assert "exploratory" not in results_of(TWO).verdict
    again = StudyResults.of(TWO, tasks_of(each.run for each in TWO), "radam", first_baseline="radam")
    assert "exploratory" not in again.verdict


def test_what_a_setting_knows():
    records = [*TWO, *runs_of("sgd", 0.1, ("failed", "missing", "diverged"))]
    (setting,) = results_of(records).settings
    assert setting.methods == ("adam", "radam", "sgd")
    assert (setting.lrs, setting.seeds) == ((0.01, 0.1), (0, 1, 2))
    assert setting.counts == {"done": 6, "failed": 1, "missing": 1, "diverged": 1}
    assert setting.baseline == "adam"
    assert setting.group("radam", 0.01).mean == pytest.approx(86.1666667)
    assert setting.group("sgd", 0.1).gaps == ["1 diverged", "1 failed", "1 missing"]
    assert setting.group("sgd", 0.01) is None
    assert setting.setting.title == "Fashion-MNIST, 6,000 images, 2 epochs, batch size 100"
    assert setting.setting.steps == 120


def test_the_verdict_is_a_paragraph_for_each_setting():
    assert results_of(TWO).verdict.startswith("At its best learning rate, radam has the highest mean test accuracy: 86")
    several = results_of([*TWO, record("adam", epochs=9)]).verdict.splitlines()
    assert [line.partition(": ")[0] for line in several] == [
        "Fashion-MNIST, 6,000 images, 2 epochs, batch size 100",
        "Fashion-MNIST, 6,000 images, 9 epochs, batch size 100",
    ]


def test_the_baseline_is_the_first_method_or_the_one_that_is_named():
    assert results_of(TWO).settings[0].comparison.baseline == "adam"
    assert results_of(TWO, "radam").settings[0].comparison.baseline == "radam"
    other = [*TWO, record("radam", epochs=9), record("sgd", epochs=9)]
    assert [s.baseline for s in results_of(other, "adam").settings] == ["adam", "radam"], "where it did not run"
    with pytest.raises(InvalidOption, match="baseline is sgd: the study's methods are adam, radam"):
        results_of(TWO, "sgd")


def test_the_table_is_markdown_with_means_and_differences():
    table = results_of(TWO).table()
    assert "| method | lr 0.01 | at its best lr |" in table
    assert "| radam | 86.17 ± 2.59 | 86.17 (lr 0.01) |" in table
    assert "| vs adam | lr 0.01 | each at its best lr |" in table
    assert str(results_of(TWO)) == f"{results_of(TWO).verdict}\n\n{table}"


def test_runs_are_the_rows_of_the_csv():
    results = results_of([*TWO, record("sgd", 0.1, 0, status="diverged")])
    assert results.runs[0] == {
        **{"task": ACCURACY, "method": "adam", "lr": 0.01, "seed": 0, "epochs": 2, "batch_size": 100},
        **{"status": "done", "epochs_done": 1, "train_loss": 0.25, "test_accuracy": 80.0, "test_loss": 0.5},
    }
    assert results.runs[-1]["status"] == "diverged"
    assert "test_accuracy" not in results.runs[-1]
    rows = list(csv.DictReader(io.StringIO(results.csv())))
    assert len(rows) == len(results.runs) == 7
    for row, run in zip(rows, results.runs, strict=True):
        assert {name: value for name, value in row.items() if value} == {name: str(run[name]) for name in run}


def test_a_dataframe_where_pandas_is_installed():
    pandas = pytest.importorskip("pandas")
    frame = results_of(TWO).to_dataframe()
    assert isinstance(frame, pandas.DataFrame)
    assert frame.to_dict("records") == results_of(TWO).runs


def test_a_dataframe_without_pandas_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="to_dataframe needs pandas: pip install pandas;"):
        results_of(TWO).to_dataframe()


def test_a_notebook_is_shown_the_verdict_and_the_means_escaped():
    evil = "<script>alert('x')</script>"
    html = results_of([*TWO, record(evil, value=12.0), record("sgd", status="failed")])._repr_html_()
    assert "<script" not in html
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;" in html
    assert "At its best learning rate, radam has the highest mean test accuracy" in html
    assert "<tr><th>radam</th><td>86.17</td></tr>" in html
    assert "<tr><th>sgd</th><td>1 failed</td></tr>" in html
    assert html.count("<tr") == html.count("</tr>") == 5


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({}, "the run ended, but test_accuracy was not measured after the last epoch"),
        ({"test_accuracy": float("nan")}, "the run ended, but test_accuracy is nan after the last epoch"),
        ({"test_accuracy": float("inf")}, "the run ended, but test_accuracy is inf after the last epoch"),
        ({"test_accuracy": None}, "the run ended, but test_accuracy is None after the last epoch"),
        ({"test_accuracy": "90"}, "the run ended, but test_accuracy is '90' after the last epoch"),
    ],
)
def test_a_run_that_ended_without_its_metric_has_failed(row, says):
    bad = replace(record("sgd"), rows=[{"epoch": 2, "step": 120, "train_loss": 0.25, **row}])
    (setting,) = results_of([*TWO, bad]).settings
    assert setting.counts == {"done": 6, "failed": 1}
    assert setting.records[-1].reason == says
    assert setting.groups[-1].values == (), "nobody knows how it trained"
    assert "1 of 7 runs has no result yet (1 failed), so all of this may change." in setting.verdict.runs


def test_a_run_without_what_methods_are_compared_by_has_failed_too():
    bad = record(task=PERPLEXITY)
    del bad.rows[-1]["valid_loss"]
    assert results_of([bad]).records[0].reason == "the run ended, but valid_loss was not measured after the last epoch"
    assert results_of([replace(bad, rows=[])]).records[0].status == "failed"


def test_a_reduction_leaves_the_records_of_runs_that_are_no_result_alone():
    records = [record(status=status, seed=seed) for seed, status in enumerate(("diverged", "failed", "missing"))]
    results = StudyResults.of(records, tasks_of(each.run for each in records))
    assert results.records == records
    assert results.by_key == {each.run: each for each in records}
