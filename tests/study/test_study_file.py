"""A study from a file, from the command line to its folder: the same as by flags, and refused by the line."""

import csv
import json

import pytest

from rectified import cli

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


@pytest.fixture
def written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text):
        (tmp_path / "which.toml").write_text(text)
        return "which.toml"

    return write


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
    assert "fashion-mnist-mini --methods 'adam,radam(beta2=0.99)' --lrs 0.01 --seeds 0 --epochs 1" in command
    (tmp_path / "which.toml").unlink()
    assert cli.main([*command.split()[1:4], "adam,radam(beta2=0.99)", *command.split()[5:]]) == 0
    assert "4 of 4 runs are there already" in capsys.readouterr().out

    assert cli.main(["study", written(GOOD), "--batch-sizes", "1000", "--seeds", "0", "--out", "runs/which"]) == 0
    assert "2 of 2 runs are there already" in capsys.readouterr().out


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
        (("lrs = [0.01]", "lr = [0.01]"), "which.toml, line 4: unknown name 'lr'; there are tasks, methods, lrs,"),
        (("lrs = [0.01]", "lrs = []"), "which.toml, line 4: lrs is empty"),
        (("lrs = [0.01]", "lrs = [0.01, -0.1]"), "which.toml, line 4: lrs holds -0.1; a learning rate is a positive"),
        (("lrs = [0.01]", "lrs = [0.01"), "which.toml: "),
        (("seeds = [0]", "seeds = [0, 0]"), "which.toml, line 5: seeds holds 0 twice"),
        (("seeds = [0]", "seeds = []"), "which.toml, line 5: seeds is empty"),
        (("epochs = 1", "epochs = 0"), "which.toml, line 6: epochs is 0"),
        (("epochs = 1", "epochs = 1.5"), "which.toml, line 6: epochs is 1.5; it must be a whole number"),
        (('"adam", "r', '"adam", "adam", "r'), "which.toml, line 3: methods holds adam twice"),
        (('"adam", "r', '"adam", "adam(eps=1e-8)", "r'), "line 3: methods holds adam and adam(eps=1e-8), the same at"),
        (('"adam", "r', '"adm", "r'), "which.toml, line 3: methods is refused: unknown method 'adm'; there are adam"),
        (("mini", "maxi"), "which.toml, line 2: tasks is refused: unknown task 'fashion-mnist-maxi'; there are"),
        (('tasks = ["fashion-mnist-mini"]', ""), "which.toml: it names no tasks; write such as tasks ="),
        (("500", "0"), "which.toml, line 7: batch-sizes holds 0"),
        (('baseline = "adam"', 'baseline = "sgd"'), "which.toml, line 8: baseline is 'sgd'; the methods are adam,"),
        (("workers = 1", "workers = 0"), "which.toml, line 9: workers is 0"),
        (("workers = 1", "cell-minutes = -1"), "which.toml, line 9: cell-minutes is -1"),
        (("workers = 1", "plan = true"), "which.toml, line 9: unknown name 'plan'"),
        (("workers = 1", "[vary]\nbeta2 = [2]"), "which.toml, line 9: vary is refused: method 'adam(beta2=2)'"),
    ],
)
def test_a_bad_file_is_refused_by_its_line_before_anything_runs(change, says, written, tmp_path, capsys):
    assert GOOD.replace(*change) != GOOD
    assert cli.main(["study", written(GOOD.replace(*change))]) == 2
    assert says in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["which.toml"]


def test_a_flag_that_is_wrong_is_told_as_a_flag(written, capsys):
    assert cli.main(["study", written(GOOD), "--lrs", "-1"]) == 2
    assert "rectified: --lrs holds -1.0" in capsys.readouterr().err


def test_a_file_that_is_not_there(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["study", "none.toml"]) == 2
    assert "none.toml: No such file" in capsys.readouterr().err
