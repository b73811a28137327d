"""The command line: wrong calls say what is wrong, name the way out, and start nothing."""

import csv

import pytest

from rectified import cli

MINI = ["study", "fashion-mnist-mini", "--methods", "sgd", "--lrs", "0.1", "--seeds", "0", "--epochs", "1"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["study", "imagenet-9"], "unknown task 'imagenet-9'; there are fashion-mnist, "),
        ([*MINI, "--methods", "adamm"], "unknown method 'adamm'; there are adam, "),
        ([*MINI, "--methods", ""], "--methods is empty"),
        ([*MINI, "--lrs", "0.1;0.2"], "--lrs is '0.1;0.2'; write numbers with commas"),
        ([*MINI, "--lrs", "-0.1"], "--lrs holds -0.1"),
        ([*MINI, "--lrs", ""], "--lrs is empty"),
        ([*MINI, "--seeds", "1.5"], "--seeds is '1.5'"),
        ([*MINI, "--seeds", "1,1"], "--seeds holds 1 twice"),
        ([*MINI, "--epochs", "0"], "--epochs is 0"),
        ([*MINI, "--workers", "0"], "--workers is 0"),
        ([*MINI, "--baseline", "adam"], "--baseline is 'adam'; --methods holds sgd"),
        (["export", "nowhere"], "holds no study"),
        ([*MINI, "--data", "somewhere"], "comes with the package"),
        (["report", "nowhere"], "holds no study"),
    ],
)
def test_a_wrong_call_says_so_and_starts_nothing(args, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(args) == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_that_holds_something_else_is_refused_and_untouched(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("years of work")
    assert cli.main([*MINI, "--out", str(tmp_path)]) == 2
    assert "holds something that is not a study" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_study_runs_grows_and_reports(tmp_path, capsys):
    out = str(tmp_path / "out")
    assert cli.main([*MINI, "--out", out]) == 0
    said = capsys.readouterr().out
    assert "[1/1] sgd lr 0.1 seed 0: done" in said
    assert "report:" in said

    assert cli.main([*MINI, "--methods", "sgd,adam+linear-5000", "--lrs", "0.1,1e9", "--out", out]) == 0
    said = capsys.readouterr().out
    assert "1 of 4 runs are there already" in said
    assert "the warmup of adam+linear-5000 is longer than the run: it ends at omega 0.01" in said
    assert "diverged" in said

    rows = list(csv.DictReader((tmp_path / "out" / "results.csv").read_text().splitlines()))
    assert [(row["method"], float(row["lr"])) for row in rows] == [
        ("sgd", 0.1),
        ("sgd", 1e9),
        ("adam+linear-5000", 0.1),
        ("adam+linear-5000", 1e9),
    ]
    assert [row["status"] for row in rows[:2]] == ["done", "diverged"]

    page = tmp_path / "out" / "report.html"
    page.unlink()
    assert cli.main(["report", out]) == 0
    assert page.exists()


def test_help_needs_no_task(capsys):
    with pytest.raises(SystemExit) as exit:
        cli.main(["study", "--help"])
    assert exit.value.code == 0
    said = capsys.readouterr().out
    assert "TASK" in said
    assert "adam+untuned-linear" in said
