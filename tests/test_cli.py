"""The command line: wrong calls say what is wrong, name the way out, and start nothing."""

import csv
import itertools

import pytest
import torch

from rectified import cli

MINI = ["study", "fashion-mnist-mini", "--methods", "sgd", "--lrs", "0.1", "--seeds", "0", "--epochs", "1"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["study", "imagenet-9"], "TASK is imagenet-9: unknown task 'imagenet-9'; use one of fashion-mnist, "),
        ([*MINI, "--methods", "adamm"], "--methods is adamm: unknown method 'adamm': did you mean adam"),
        ([*MINI, "--methods", ""], "--methods is empty"),
        ([*MINI, "--lrs", "0.1;0.2"], "--lrs is 0.1;0.2: it must be numbers separated by commas"),
        ([*MINI, "--lrs", "-0.1"], "--lrs is -0.1: a learning rate must be a positive number"),
        ([*MINI, "--lrs", ""], "--lrs is empty"),
        ([*MINI, "--seeds", "1.5"], "--seeds is 1.5: it must be whole numbers separated by commas"),
        ([*MINI, "--seeds", "1,1"], "--seeds is 1: it appears twice"),
        ([*MINI, "--epochs", "0"], "--epochs is 0"),
        ([*MINI, "--workers", "0"], "--workers is 0"),
        ([*MINI, "--baseline", "adam"], "--baseline is adam: the methods are sgd"),
        ([*MINI, "--batch-sizes", "0"], "--batch-sizes is 0: it must be at least 1"),
        ([*MINI, "--batch-sizes", "1e3"], "--batch-sizes is 1e3: it must be whole numbers"),
        ([*MINI, "--vary", "beta2"], "--vary is beta2: it must be an option with its values, such as beta2=0.9,0.999"),
        ([*MINI, "--vary", "eps=1", "eps=2"], "--vary is eps=2: eps appears twice"),
        ([*MINI, "--vary", "speed=2"], "--vary is sgd(speed=2): method 'sgd(speed=2)'"),
        ([*MINI, "--methods", "sgd,sgd(lr=0.1)"], "--methods is sgd, sgd(lr=0.1): they are the same at lr 0.1; give"),
        ([*MINI, "--device", "tpu"], "--device is tpu: it must be cpu or cuda"),
        ([*MINI, "--executor", "slurm"], "--executor is slurm: it must be local or ray"),
        ([*MINI, "--address", "auto"], "--address is auto: it needs --executor ray"),
        ([*MINI, "--executor", "ray", "--ranks", "2"], "--ranks is 2: several ranks need --executor local"),
        ([*MINI, "--ranks", "0"], "--ranks is 0: it must be a whole number, at least 1"),
        (["export", "nowhere"], "is not a study"),
        ([*MINI, "--data", "."], "comes with the package"),
        ([*MINI, "--data", "somewhere"], "somewhere: no such folder"),
        (["report", "nowhere"], "is not a study"),
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


@pytest.mark.usefixtures("no_figures")
def test_a_study_runs_grows_and_reports(tmp_path, capsys):
    out = str(tmp_path / "out")
    assert cli.main([*MINI, "--out", out]) == 0
    said = capsys.readouterr().out
    assert "[1/1] sgd lr 0.1 seed 0: done" in said
    assert "report:" in said

    assert cli.main([*MINI, "--methods", "sgd,adam+linear-5000", "--lrs", "0.1,1e9", "--out", out]) == 0
    said = capsys.readouterr().out
    assert "1 of 4 runs are already finished" in said
    assert "the warmup of adam+linear-5000 is longer than the run: it ends at omega 0.01" in said
    assert "also holds" not in said, "the earlier run is one of these"
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


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main([*MINI, "--device", "cuda"]) == 2
    assert "--device is cuda: torch finds no GPU here" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_a_run_says_on_which(tmp_path):
    out = tmp_path / "out"
    assert cli.main([*MINI, "--device", "cuda", "--out", str(out)]) == 0
    (row,) = csv.DictReader((out / "timings.csv").read_text().splitlines())
    assert row["device"] == torch.cuda.get_device_name()


def test_help_needs_no_task(capsys):
    with pytest.raises(SystemExit) as exit:
        cli.main(["study", "--help"])
    assert exit.value.code == 0
    said = capsys.readouterr().out
    assert "TASK" in said
    assert "adam+untuned-linear" in said


@pytest.mark.parametrize("command", ["study", "init", "paper", "verdict", "bench", "theory"])
def test_help_breaks_its_lines_at_the_edge_only(command, monkeypatch, capsys):
    """No line of a flag's text ends where the next word would still have fitted."""
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    lines = [line[2:-2] for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    for line, after in itertools.pairwise(lines):
        indented = after.startswith(" " * 12) and line.strip() and " " * 2 not in after.strip()
        if indented and not line.lstrip().startswith(("-", "TASK")):
            assert len(line.rstrip()) + 1 + len(after.split()[0]) > len(line), (line, after)
