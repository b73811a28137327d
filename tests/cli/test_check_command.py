"""`rectified check`: from a user's script to findings and an exit status."""

import json

import pytest

from rectified import cli

SCRIPT = """
import torch
from torch.optim.lr_scheduler import LinearLR

model = torch.nn.Linear(3, 3)

def optimizer():
    return torch.optim.AdamW(model.parameters(), lr=1e-3)

def too_long():
    made = optimizer()
    return made, LinearLR(made, 0.01, total_iters=2000), model

def whole():
    return {"optimizer": optimizer(), "steps": 100, "scheduler": lambda step: min(1, (step + 1) / 10)}

def nothing():
    return None

def two():
    return optimizer(), optimizer()

def misspelled():
    return {"optimizer": optimizer(), "step": 100}

def broken():
    raise RuntimeError("no data")

value = 3
"""


@pytest.fixture(autouse=True)
def script(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_script.py").write_text(SCRIPT)


def test_findings_and_status(capsys):
    assert cli.main(["check", "my_script.py:too_long", "--steps", "80"]) == 1
    said = capsys.readouterr().out
    assert said.startswith("error: the schedule's warmup is longer than the run of 80 steps")
    assert said.splitlines()[-1].startswith("checked 80 steps: 1 error")


def test_the_status_follows_fail_on(capsys):
    command = ["check", "my_script.py:optimizer", "--steps", "5000"]  # no warmup: a warning
    assert cli.main(command) == 0
    assert cli.main([*command, "--fail-on", "warning"]) == 1
    assert cli.main(["check", "my_script.py:too_long", "--steps", "80", "--fail-on", "never"]) == 0


def test_json(capsys):
    cli.main(["check", "my_script.py:too_long", "--steps", "80", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found[0]["rule"] == "warmup-outlives-run"
    assert found[0]["severity"] == "error"


def test_a_dict_says_everything(capsys):
    assert cli.main(["check", "my_script.py:whole"]) == 0
    assert "checked 100 steps" in capsys.readouterr().out
    assert cli.main(["check", "my_script.py:whole", "--steps", "5"]) == 1  # a flag overrides it


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["my_script.py:optimizer"], "the number of optimizer steps is unknown; pass --steps N"),
        (["my_script.py:optimizer", "--steps", "0"], "steps is 0; it must be a whole number, 1 or more"),
        (["my_script.py"], "names a file alone; write my_script.py:NAME"),
        (["my_script.py:absent", "--steps", "9"], "there is no absent in it; it has"),
        (["no_script.py:x", "--steps", "9"], "there is no file no_script.py"),
        (["my_script.py:value", "--steps", "9"], "is a int; it must be a function that returns an optimizer"),
        (["my_script.py:nothing", "--steps", "9"], "returned a NoneType; it must return an optimizer"),
        (["my_script.py:two", "--steps", "9"], "returned several of a kind"),
        (["my_script.py:misspelled", "--steps", "9"], "has 'step'; its keys may be optimizer, scheduler, steps"),
        (["my_script.py:broken", "--steps", "9"], "my_script.py, line 27: RuntimeError: no data"),
        (["no such thing", "--steps", "9"], "does not name a file"),
    ],
)
def test_wrong_calls_are_one_line(args, says, capsys):
    assert cli.main(["check", *args]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert says in said
