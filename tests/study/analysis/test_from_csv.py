"""Results that were made elsewhere get the statistics and the page of a study."""

import csv

import pytest

from rectified.cli import main
from rectified.study import InvalidOption, StudyResults
from rectified.study.analysis.from_csv import CsvColumns, read_csv

HEAD = "method,lr,seed,val_loss\n"
# radam is better by 0.5 for every seed, give or take a little.
CLEAR = HEAD + "".join(
    f"{method},{lr},{seed},{1 + worse * 0.5 + seed * 0.1 + (seed % 2) * worse * 0.01 + (lr == 0.1)}\n"
    for method, worse in (("adam", 1), ("radam", 0))
    for lr in (0.01, 0.1)
    for seed in range(6)
)


@pytest.fixture
def file(tmp_path):
    def write(text, name="results.csv"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


def test_the_better_method_is_named_with_its_lr(file):
    results = read_csv(file(CLEAR), CsvColumns("val_loss"))
    assert "radam has the lowest mean val loss: 1.25 at lr 0.01" in results.verdict
    assert "It is better than adam" in results.verdict


def test_a_larger_metric_may_be_the_better_one(file):
    text = CLEAR.replace("val_loss", "val_accuracy")
    assert "adam has the highest mean val accuracy" in read_csv(file(text), CsvColumns("val_accuracy")).verdict
    assert "radam has the lowest" in read_csv(file(text), CsvColumns("val_accuracy"), larger_is_better=False).verdict


def test_a_metric_whose_name_does_not_say_which_way_is_better_is_asked_for(file):
    path = file(CLEAR.replace("val_loss", "quality"))
    with pytest.raises(
        InvalidOption,
        match="its name does not say which way is better; add --larger-is-better or --no-larger-is-better",
    ):
        read_csv(path, CsvColumns("quality"))


def test_columns_may_have_other_names(file):
    text = CLEAR.replace("method,lr,seed", "optimizer,learning_rate,trial")
    results = read_csv(file(text), CsvColumns("val_loss", method="optimizer", lr="learning_rate", seed="trial"))
    assert results.settings[0].methods == ("adam", "radam")
    assert results.settings[0].seeds == tuple(range(6))


@pytest.mark.parametrize(
    ("value", "status", "becomes"),
    [
        ("nan", "", "diverged"),
        ("inf", "", "diverged"),
        ("-inf", "", "diverged"),
        ("", "", "missing"),
        ("1.5", "", "done"),
        ("1.5", "finished", "done"),
        ("1.5", "crashed", "failed"),
        ("1.5", "diverged", "diverged"),
        ("", "running", "missing"),
        ("", "finished", "missing"),
    ],
)
def test_what_becomes_of_a_run(file, value, status, becomes):
    path = file(f"method,lr,seed,val_loss,status\nadam,0.1,0,{value},{status}\n")
    assert read_csv(path, CsvColumns("val_loss")).records[0].status == becomes


LOST = HEAD.replace("seed,", "seed,status,") + "".join(
    f"{method},0.1,{seed},{status},{value}\n"
    for method, runs in (
        ("adam", [("finished", 1.0), ("finished", 1.2), ("finished", 1.1)]),
        ("radam", [("finished", 0.9), ("crashed", ""), ("", "nan")]),
    )
    for seed, (status, value) in enumerate(runs)
)


@pytest.mark.parametrize(
    ("chance", "values", "as_what"),
    [(None, (0.9, 1.2, 1.2), "the worst result here"), (2.3, (0.9, 2.3, 2.3), "chance, 2.30")],
)
def test_a_run_that_crashed_or_diverged_counts_against_its_method(file, chance, values, as_what):
    (setting,) = read_csv(file(LOST), CsvColumns("val_loss"), chance=chance).settings
    assert setting.group("radam", 0.1).values == values
    said = " ".join(setting.verdict.runs)
    assert "1 run diverged: radam 1 of 3 at lr 0.1." in said
    assert "1 run failed in its own code: radam 1 of 3 at lr 0.1." in said
    assert f"Each of these counts as {as_what}." in said


def test_the_same_lead_for_each_of_a_few_seeds_is_no_finding(file):
    rows = [
        f"{method},0.1,{seed},{1 + 0.1 * seed - lead}\n" for method, lead in (("a", 0), ("b", 0.1)) for seed in range(5)
    ]
    verdict = read_csv(file(HEAD + "".join(rows)), CsvColumns("val_loss")).verdict
    assert "It cannot be separated from a with these seeds." in verdict


def test_runs_of_several_tasks_are_not_compared_with_one_another(file):
    rows = [
        f"{task},adam,0.1,{seed},{base + seed / 10}\n" for task, base in (("small", 1), ("large", 9)) for seed in (0, 1)
    ]
    results = read_csv(file("task,method,lr,seed,val_loss\n" + "".join(rows)), CsvColumns("val_loss"))
    assert [s.setting.title for s in results.settings] == ["small", "large"]


def test_our_own_results_csv_is_read_too(file, tmp_path):
    """The same runs give the same verdict, whatever way they came."""
    first = read_csv(file(CLEAR), CsvColumns("val_loss"))
    again = read_csv(file(first.csv(), "again.csv"), CsvColumns("val_loss"))
    assert again.verdict == first.verdict
    assert isinstance(again, StudyResults)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows below the header"),
        (HEAD, "no rows below the header"),
        (
            "method,lr,seed,loss\nadam,0.1,0,1\n",
            "metric is val_loss: .* has no such column; it has method, lr, seed, loss",
        ),
        ("lr,seed,val_loss\n0.1,0,1\n", "method is method: .* has no such column"),
        ("method,lr,val_loss\nadam,0.1,1\n", "runs are paired by their seed"),
        (HEAD + "adam,fast,0,1\n", "line 2: lr is 'fast'; it must be a number"),
        (HEAD + "adam,0.1,0,1\nadam,-1,0,1\n", "line 3: lr is -1; a learning rate must be a positive number"),
        (HEAD + "adam,0.1,0.5,1\n", "line 2: seed is 0.5; it must be a whole number"),
        (HEAD + "adam,0.1,0,1\nadam,0.1,0,2\n", "adam lr 0.1 seed 0 appears twice"),
        (HEAD + "adam,0.1,0,low\n", "line 2: val_loss is 'low'; it must be a number"),
    ],
)
def test_what_is_wrong_is_one_line(file, text, message):
    with pytest.raises(ValueError, match=message) as refused:
        read_csv(file(text), CsvColumns("val_loss"))
    assert "\n" not in str(refused.value)


def test_the_command_prints_the_verdict_and_writes_the_page(file, tmp_path, capsys):
    path = file(CLEAR)
    out = tmp_path / "page"
    assert main(["verdict", str(path), "--metric", "val_loss", "--out", str(out), "--baseline", "radam"]) == 0
    said = capsys.readouterr().out
    assert "radam has the lowest mean val loss" in said
    assert "| radam | 1.25" in said
    page = (out / "report.html").read_text()
    assert "radam has the lowest mean val loss" in page
    assert "Differences from radam" in page


def test_a_baseline_that_is_not_there_is_refused(file, capsys):
    assert main(["verdict", str(file(CLEAR)), "--metric", "val_loss", "--baseline", "sgd"]) == 2
    assert capsys.readouterr().err == "rectified: --baseline is sgd: the study's methods are adam, radam\n"


def test_every_row_counts_once(file):
    """Read back from what is reduced: no row is lost, and none is counted twice."""
    results = read_csv(file(CLEAR), CsvColumns("val_loss"))
    rows = list(csv.DictReader(CLEAR.splitlines()))
    assert len(results.runs) == len(rows) == sum(results.settings[0].counts.values())
    assert [run["val_loss"] for run in results.runs] == [float(row["val_loss"]) for row in rows]


def test_no_control_characters_reach_the_terminal(tmp_path, capsys):
    """A CSV may be a stranger's."""
    path = tmp_path / "results.csv"
    rows = [f"{method},0.1,{seed},{0.5 + seed / 10}" for method in ("\x1b]0;owned\x07", "sgd") for seed in (0, 1, 2)]
    path.write_text("\n".join(["method,lr,seed,val_loss", *rows]))
    assert main(["verdict", str(path), "--metric", "val_loss"]) == 0
    said = "".join(capsys.readouterr())
    assert "owned" in said
    assert not {"\x1b", "\x07"} & set(said)
