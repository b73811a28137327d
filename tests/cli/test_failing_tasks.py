"""Commands whose study's code is a user's: one line, the traceback where it is asked for, and failed runs."""

import json
import sys
from pathlib import Path

import pytest

from rectified.cli import main

TASK = """
import sys
import torch
from torch import nn
from rectified.workloads.tasks import Task

class Mine(BaseException):
    pass

def loss(model, batch):
    loss.calls += 1
    if loss.calls > 2:
        {loss}
    return nn.functional.cross_entropy(model(batch[0]), batch[1])
loss.calls = 0

def evaluate(model):
    {evaluate}
    return {{"accuracy": 50.0}}

data = torch.ones(20, 2), torch.zeros(20, dtype=torch.long)
task = Task(model=lambda: nn.Linear(2, 3), train=data, loss=loss, evaluate=evaluate, metric="accuracy",
            margin=1.0, larger_is_better=True, batch_size=5, methods="adam", lrs=[0.1], seeds=[0], epochs=1)
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("hostile", None)


def task(loss="pass", evaluate="pass"):
    Path("hostile.py").write_text(TASK.format(loss=loss, evaluate=evaluate))


@pytest.mark.parametrize("plan", [[], ["--plan"]])
@pytest.mark.parametrize("code", ["raise SystemExit(3)", "x = (", "1 / 0"])
@pytest.mark.parametrize("call", [["hostile.py"], ["fashion-mnist-mini", "--methods", "hostile.Mine"]])
def test_a_module_that_raises_is_one_line_and_nothing_is_written(code, call, plan, capsys):
    Path("hostile.py").write_text(code + "\n")
    assert main(["study", *call, "--out", "out", *plan]) == 2
    said = capsys.readouterr().err
    assert said.startswith("rectified: ")
    assert said.count("\n") == 1
    assert "hostile.py, line 1: " in said
    assert not Path("out").exists()


def test_the_traceback_is_there_where_it_is_asked_for(capsys, monkeypatch):
    Path("hostile.py").write_text("def fails():\n    1 / 0\nfails()\n")
    monkeypatch.setenv("RECTIFIED_TRACEBACK", "1")
    assert main(["study", "hostile.py", "--out", "out"]) == 2
    said = capsys.readouterr().err
    assert 'hostile.py", line 2, in fails' in said
    assert said.splitlines()[-1].startswith("rectified: TASK is hostile.py: ")


@pytest.mark.parametrize("evaluate", ["sys.exit(3)", "raise Mine('odd')"])
def test_a_plan_says_in_one_line_what_its_few_steps_raised(evaluate, capsys):
    task(evaluate=evaluate)
    assert main(["study", "hostile.py", "--plan", "--workers", "1"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "does not run: " in said
    assert "line 18" in said


@pytest.mark.parametrize(
    ("raises", "reason"),
    [
        ({"loss": "sys.exit(3)"}, "SystemExit: 3"),
        ({"loss": "raise Mine('odd')"}, "Mine: odd"),
        ({"evaluate": "sys.exit('no')"}, "SystemExit: no"),
        ({"evaluate": "raise RuntimeError('\\ud800')"}, "RuntimeError: \\ud800"),
    ],
)
def test_a_run_whose_task_raises_is_failed_with_that_and_the_study_ends(raises, reason, no_figures, capsys):
    task(**raises)
    assert main(["study", "hostile.py", "--out", "out", "--workers", "1"]) == 1
    (done,) = Path("out/runs").glob("*/done.json")
    done = json.loads(done.read_text())
    assert (done["status"], done["cause"], done["attempts"]) == ("failed", "run", 1)
    assert done["error"].splitlines()[-1].endswith(reason)
    assert ", line 1" in done["error"], "with the lines of the user's file"
    assert reason in capsys.readouterr().out
    assert Path("out/report.html").exists()
