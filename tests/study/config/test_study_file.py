"""A study from a file, from the command line to its folder: the same as by flags, and refused by the line."""

import csv
import json
import shlex

import pytest

from rectified import cli
from rectified.study import InvalidOption, Study

GOOD = """\
# Which of two, at which batch size?
tasks = ["fashion-mnist-mini"]
methods = ["adam", "radam(beta2=0.99)"]
lrs = [0.01]
seeds = [0]
epochs = 1
batch-sizes = [500, 1000]
baseline = "adam"
workers = 1
"""


# The same study in three ways.
FILE = """\
tasks = ["fashion-mnist-mini"]
methods = ["adam+linear-10%", "radam"]
lrs = [0.01, 1e-7]
seeds = [0, 1]
epochs = 2
batch-sizes = [50]
baseline = "radam(beta2=0.9)"
[vary]
beta2 = [0.9, 0.99]
"""
KEYWORDS = {
    "tasks": ["fashion-mnist-mini"],
    "methods": ["adam+linear-10%", "radam"],
    "lrs": [0.01, 1e-7],
    "seeds": range(2),
    "epochs": 2,
    "batch_sizes": [50],
    "vary": {"beta2": [0.9, 0.99]},
    "baseline": "radam(beta2=0.9)",
}
FLAGS = ["study", "fashion-mnist-mini", "--methods", "adam+linear-10%,radam", "--lrs", "0.01,1e-07", "--seeds", "0,1"]
FLAGS += ["--batch-sizes", "50", "--epochs", "2", "--vary", "beta2=0.9,0.99", "--baseline", "radam(beta2=0.9)"]


@pytest.fixture
def built(monkeypatch):
    """The studies that the command line would run."""
    found = []
    monkeypatch.setattr("rectified.cli.study_command.run_study", lambda study, *rest: found.append(study) or 0)
    return found


@pytest.fixture
def written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text):
        (tmp_path / "which.toml").write_text(text)
        return "which.toml"

    return write


@pytest.mark.usefixtures("no_figures")
def test_a_file_is_a_study_and_flags_go_before_it(written, tmp_path, capsys):
    assert cli.main(["study", written(GOOD)]) == 0
    out = tmp_path / "runs" / "which"
    rows = list(csv.DictReader((out / "results.csv").read_text().splitlines()))
    assert [(row["method"], row["batch_size"]) for row in rows] == [
        ("adam", "500"),
        ("radam(beta2=0.99)", "500"),
        ("adam", "1000"),
        ("radam(beta2=0.99)", "1000"),
    ]
    said = capsys.readouterr().out
    assert "[1/4] adam lr 0.01 seed 0, fashion-mnist-mini, 1 epoch, batch size 500: done" in said
    report = (out / "report.html").read_text()
    for size in ("500", "1,000"):
        assert f"Fashion-MNIST, 6,000 images, 1 epoch, batch size {size}" in report

    # What is recorded repeats the study without the file.
    (command,) = json.loads((out / "study.json").read_text())["commands"]
    axes = "--methods 'adam,radam(beta2=0.99)' --lrs 0.01 --seeds 0 --batch-sizes 500,1000 --epochs 1"
    assert f"fashion-mnist-mini {axes}" in command
    assert "--baseline adam" in command
    (tmp_path / "which.toml").unlink()
    assert cli.main(shlex.split(command)[1:]) == 0
    assert "4 of 4 runs are already finished" in capsys.readouterr().out

    assert cli.main(["study", written(GOOD), "--batch-sizes", "1000", "--seeds", "0", "--out", "runs/which"]) == 0
    said = capsys.readouterr().out
    assert "2 of 2 runs are already finished" in said
    assert "also holds 2 runs of earlier calls, which its report and verdict include" in " ".join(said.split())


@pytest.mark.slow
def test_the_status_of_several_settings(written, capsys):
    cli.main(["study", written(GOOD)])
    capsys.readouterr()
    assert cli.main(["status", "runs/which"]) == 0
    said = capsys.readouterr().out
    assert "batch size 500" in said
    assert "batch size 1,000" in said
    assert "4 runs: 4 done" in said


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("lrs = [0.01]", "lr = [0.01]"), "which.toml, line 4: unknown name 'lr'; the names are tasks, methods, lrs,"),
        (("lrs = [0.01]", "lrs = []"), "which.toml, line 4: lrs is empty: give at least one"),
        (
            ("lrs = [0.01]", "lrs = [0.01, -0.1]"),
            "which.toml, line 4: lrs is -0.1: a learning rate must be a positive number",
        ),
        (("lrs = [0.01]", "lrs = [0.01"), "which.toml: "),
        (("seeds = [0]", "seeds = [0, 0]"), "which.toml, line 5: seeds is 0: it appears twice"),
        (("seeds = [0]", "seeds = []"), "which.toml, line 5: seeds is empty"),
        (("epochs = 1", "epochs = 0"), "which.toml, line 6: epochs is 0"),
        (("epochs = 1", "epochs = 1.5"), "which.toml, line 6: epochs is 1.5; it must be a whole number"),
        (('"adam", "r', '"adam", "adam", "r'), "which.toml, line 3: methods is adam: it appears twice"),
        (
            ('"adam", "r', '"adam", "adam(eps=1e-8)", "r'),
            "line 3: methods is adam, adam(eps=1e-8): they are the same",
        ),
        (('"adam", "r', '"adm", "r'), "which.toml, line 3: methods is adm: unknown method 'adm': did you mean adam"),
        (
            ("mini", "maxi"),
            "which.toml, line 2: tasks is fashion-mnist-maxi: unknown task",
        ),
        (('tasks = ["fashion-mnist-mini"]', ""), "which.toml: no tasks; add a line such as tasks ="),
        (("500", "7000"), "which.toml, line 7: batch-sizes is 7000: fashion-mnist-mini has training data for 6,000"),
        (("500", "0"), "which.toml, line 7: batch-sizes is 0: it must be at least 1"),
        (('baseline = "adam"', 'baseline = "sgd"'), "which.toml, line 8: baseline is sgd: the methods are adam,"),
        (("workers = 1", "workers = 0"), "which.toml, line 9: workers is 0"),
        (("workers = 1", "run-minutes = -1"), "which.toml, line 9: run-minutes is -1.0: it must be a positive number"),
        (("workers = 1", "plan = true"), "which.toml, line 9: unknown name 'plan'"),
        (("workers = 1", "[vary]\nbeta2 = [2]"), "which.toml, line 9: vary is adam(beta2=2): method 'adam(beta2=2)'"),
    ],
)
def test_a_bad_file_is_refused_by_its_line_before_anything_runs(change, says, written, tmp_path, capsys):
    assert GOOD.replace(*change) != GOOD
    assert cli.main(["study", written(GOOD.replace(*change))]) == 2
    assert says in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["which.toml"]


def test_a_flag_that_is_wrong_is_named_as_a_flag(written, capsys):
    assert cli.main(["study", written(GOOD), "--lrs", "-1"]) == 2
    assert "rectified: --lrs is -1.0: a learning rate must be a positive number" in capsys.readouterr().err


def test_a_file_that_is_not_there(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["study", "none.toml"]) == 2
    assert "none.toml: No such file" in capsys.readouterr().err


def test_flags_and_the_file_and_python_make_the_same_study(written, built):
    study = Study(**KEYWORDS)
    assert cli.main(["study", written(FILE)]) == 0
    assert cli.main(FLAGS) == 0
    assert built == [study, study]
    assert shlex.split(study.command) == ["rectified", *FLAGS]
    assert cli.main(["study", "which.toml", "--seeds", "5", "--vary", "beta2=0.9", "eps=1e-8,1e-4"]) == 2, "no baseline"
    assert cli.main(["study", "which.toml", "--seeds", "5", "--baseline", "radam(beta2=0.99)"]) == 0
    assert built[-1] == Study(**{**KEYWORDS, "seeds": [5], "baseline": "radam(beta2=0.99)"})


def test_a_file_with_a_windows_editors_marks_is_the_same_study(written, built, tmp_path):
    written("")
    (tmp_path / "which.toml").write_bytes(b"\xef\xbb\xbf" + FILE.replace("\n", "\r\n").encode())
    assert cli.main(["study", "which.toml"]) == 0
    assert built == [Study(**KEYWORDS)]


def test_what_is_wrong_is_the_same_in_each_way(written, built, capsys):
    assert cli.main(["study", written(FILE.replace("[50]", "[0]"))]) == 2
    assert cli.main([*FLAGS, "--batch-sizes", "0"]) == 2
    with pytest.raises(InvalidOption) as refused:
        Study(**{**KEYWORDS, "batch_sizes": [0]})
    why = "is 0: it must be at least 1"
    says = f"rectified: which.toml, line 6: batch-sizes {why}\nrectified: --batch-sizes {why}\n"
    assert capsys.readouterr().err == says
    assert str(refused.value) == f"batch_sizes {why}"
    assert not built


@pytest.mark.usefixtures("no_figures")
def test_the_baseline_is_in_the_study_of_the_folder(written, tmp_path, capsys):
    assert cli.main(["study", written(GOOD.replace('"adam"\nw', '"radam(beta2=0.99)"\nw'))]) == 0
    stored = json.loads((tmp_path / "runs/which/study.json").read_text())
    assert stored["study"]["baseline"] == "radam(beta2=0.99)"
    assert Study(**stored["study"]) == Study(
        "fashion-mnist-mini",
        ["adam", "radam(beta2=0.99)"],
        0.01,
        0,
        epochs=1,
        batch_sizes=[500, 1000],
        baseline="radam(beta2=0.99)",
    )
    capsys.readouterr()
    assert cli.main(["export", "runs/which"]) == 0
    assert "method − radam(beta2=0.99), paired by seed" in capsys.readouterr().out
    assert "Differences from radam(beta2=0.99)" in (tmp_path / "runs/which/report.html").read_text()
