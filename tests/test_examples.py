"""Every example runs and shows what it promises. Those of the trainers: trainers/test_trainer_examples.py."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import torch

import examples
import rectified
from rectified import cli
from rectified.study import Study

FILES = sorted(path for path in examples.FOLDER.iterdir() if path.suffix in (".py", ".toml", ".ipynb"))


def numbers(pattern, text):
    return [tuple(map(float, found)) for found in re.findall(pattern, text)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_an_example_is_short_and_in_the_table_and_is_run_by_a_test(path):
    assert f"]({path.name})" in (examples.FOLDER / "README.md").read_text(encoding="utf-8")
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        assert len(text.splitlines()) <= 70
    folder = examples.ROOT / "tests"
    tests = [folder / "test_examples.py", folder / "trainers" / "test_trainer_examples.py"]
    assert any(f'"{path.name}"' in test.read_text(encoding="utf-8") for test in tests)


def test_the_minimal_loop_learns_and_its_warmup_ends(monkeypatch, capsys):
    names = examples.run("minimal.py", monkeypatch)
    assert names["accuracy"] > 0.95
    assert rectified.explain(names["optimizer"])[0].phase == "full"
    assert "the warmup ends in 29 steps" in capsys.readouterr().out


def test_before_and_after_have_the_same_learning_rates(monkeypatch, capsys):
    names = examples.run("adamw_and_lambdalr.py", monkeypatch)
    assert names["after"] == pytest.approx(names["before"], rel=1e-12, abs=1e-18)
    assert len(names["before"]) > names["WARMUP"], "the warmup ends"
    assert names["loss_after"] == pytest.approx(names["loss_before"], rel=1e-3)
    assert "largest difference" in capsys.readouterr().out


def test_others_optimizers_are_warmed_up_or_refused_with_the_reason(monkeypatch, capsys):
    examples.run("wrap_any_optimizer.py", monkeypatch)
    out = capsys.readouterr().out
    lines = numbers(r"step +(\d+)  loss ([\d.]+)  next omega ([\d.]+)", out)
    assert [omega for _, _, omega in lines] == 2 * [0.04, 0.52, 1.0, 1.0]
    for first, *_, last in (lines[:4], lines[4:]):
        assert last[1] < first[1] / 2
    assert "refused: SGD cannot be rectified" in out


def test_jax_learns_and_resumes_from_its_checkpoint(monkeypatch, capsys):
    pytest.importorskip("optax", reason="pip install 'rectified[jax]'")
    names = examples.run("jax_training.py", monkeypatch)
    assert names["accuracy"] > 0.95
    out = capsys.readouterr().out
    lines = numbers(r"step +(\d+)  loss ([\d.]+)  omega ([\d.]+)", out)
    assert [omega for _, _, omega in lines] == [0.03, 0.33, 1, 1, 1]
    assert lines[-1][1] < lines[0][1] / 3
    assert "the same weights" in out


def test_keras_learns_and_a_loaded_model_continues(monkeypatch, capsys):
    pytest.importorskip("keras", reason="pip install 'rectified[keras]'")
    examples.run("keras_training.py", monkeypatch)
    out = capsys.readouterr().out
    lines = numbers(r"epoch +(\d+)  loss ([\d.]+)  accuracy ([\d.]+)", out)
    assert [epoch for epoch, *_ in lines] == [*range(1, 11), *range(6, 11)]
    assert lines[9][2] > 95
    assert "loaded Linear(steps=32) after 160 steps" in out
    assert "the same losses" in out


def test_a_run_of_torch_ends_in_jax_where_torch_does(monkeypatch, capsys):
    pytest.importorskip("optax", reason="pip install 'rectified[jax]'")
    names = examples.run("continue_in_jax.py", monkeypatch)
    assert names["difference"] < 1e-5
    (_, here), (_, there) = numbers(r"(\d+)\D*loss ([\d.]+)", capsys.readouterr().out)
    assert here == there < 0.3
    assert int(names["opt_state"][0].count) == names["STEPS"]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(torch.cpu.Stream, "record_event"), reason="FSDP2 of this torch does not run on a CPU")
def test_two_processes_train_one_sharded_model():
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(examples.FOLDER / "fsdp2.py")],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    lines = numbers(r"step +(\d+)  loss ([\d.]+)  next omega ([\d.]+)", done.stdout)
    assert [omega for _, _, omega in lines] == [0.1, 0.55, 1.0, 1.0]
    assert lines[-1][1] < lines[0][1] / 10
    for rank in (0, 1):
        assert f"rank {rank}: (32, 16) of the (64, 16) second moments" in done.stdout


def test_the_file_and_python_are_the_same_study(monkeypatch, capsys):
    monkeypatch.chdir(examples.FOLDER)
    assert cli.main(["study", "study.toml", "--plan"]) == 0
    assert "36 runs" in capsys.readouterr().out
    monkeypatch.setattr(Study, "run", lambda *args, **options: SimpleNamespace(verdict="", table=str))
    ours = examples.run("study_in_python.py", monkeypatch)["study"]
    values = tomllib.loads(Path("study.toml").read_text(encoding="utf-8"))
    assert values.pop("workers") == 2
    file = Study(**values)
    assert file.tasks[0].name == ours.tasks[0].name, "my_task.py"
    assert {**file.as_dict(), "tasks": None} == {**ours.as_dict(), "tasks": None, "baseline": "adam"}


@pytest.mark.slow
@pytest.mark.usefixtures("no_figures")
def test_the_study_in_python_ends_in_a_verdict(monkeypatch, tmp_path, capsys):
    names = examples.run("study_in_python.py", monkeypatch, tmp_path / "out")
    assert {run["status"] for run in names["results"].runs} == {"done"}
    assert "At its best learning rate" in capsys.readouterr().out


def test_the_notebook_is_one_and_is_committed_without_outputs():
    notebook = nbformat.read(examples.FOLDER / "study.ipynb", as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None


@pytest.mark.slow
@pytest.mark.usefixtures("no_figures")
def test_the_notebook_runs_to_its_verdict(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    names, shown = {"__name__": "__main__"}, []
    for cell in nbformat.read(examples.FOLDER / "study.ipynb", as_version=4).cells:
        if cell.cell_type == "code":
            *before, last = ast.parse(cell.source).body
            is_shown = isinstance(last, ast.Expr)
            exec(compile(ast.Module(before + [last] * (not is_shown), []), "study.ipynb", "exec"), names)
            if is_shown:
                shown.append(eval(compile(ast.Expression(last.value), "study.ipynb", "eval"), names))
    (results,) = [value for value in shown if value is not None]
    assert "<table>" in results._repr_html_()
    assert {run["status"] for run in results.runs} == {"done"}
    assert "best learning rate" in capsys.readouterr().out
