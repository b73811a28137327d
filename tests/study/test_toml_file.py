"""A study's file: its names are the flags', and what is wrong with it is told by the line."""

from pathlib import Path

import pytest

from rectified.study.config.toml_file import read

KINDS = {"tasks": str, "methods": str, "lrs": str, "epochs": int, "minutes": float, "out": Path, "vary": dict}

GOOD = """\
# which warmup?
tasks = ["fashion-mnist", "fashion-mnist-mini(loss_scale=10)"]
methods = "adam"
lrs = [
    0.003,
    1e-2, 1,
]
epochs = 8
minutes = 3
out = "runs/mine"
[vary]
beta2 = [0.9, 0.999]
name = ["'x'"]
"""


def written(tmp_path, text):
    path = tmp_path / "study.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_says_what_the_flags_would(tmp_path):
    found = read(written(tmp_path, GOOD), KINDS)
    assert found.flags == {
        "tasks": "fashion-mnist,fashion-mnist-mini(loss_scale=10)",
        "methods": "adam",
        "lrs": "0.003,0.01,1",
        "epochs": 8,
        "minutes": 3.0,
        "out": Path("runs/mine"),
        "vary": ("beta2=0.9,0.999", "name='x'"),
    }
    assert found.lines == {"tasks": 2, "methods": 3, "lrs": 4, "epochs": 8, "minutes": 9, "out": 10, "vary": 11}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('tasks = "a"\nlr = 1\n', "line 2: unknown name 'lr'; there are tasks, methods, lrs"),
        ("tasks = [\n", "at end of document"),
        ('tasks = "a"\ntasks = "b"\n', "Cannot overwrite a value (at line 2"),
        ("\nepochs = 1.5", "line 2: epochs is 1.5; it must be a whole number"),
        ("epochs = true", "line 1: epochs is True; it must be a whole number"),
        ('minutes = "3"', "line 1: minutes is '3'; it must be a number"),
        ("lrs = [true]", "line 1: lrs is [True]; it must be texts or numbers"),
        ("lrs = [[1]]", "line 1: lrs is [[1]]; it must be texts or numbers"),
        ("out = 3", "line 1: out is 3; it must be a text"),
        ("vary = 3", "line 1: vary is 3; it must be a table of lists"),
        ("vary.beta2 = 0.9", "line 1: vary is {'beta2': 0.9}; it must be a table of lists"),
    ],
)
def test_what_is_wrong_is_told_by_its_line(tmp_path, text, says):
    with pytest.raises(ValueError, match=r"study\.toml") as error:
        read(written(tmp_path, text), KINDS)
    assert says in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"none\.toml: No such file"):
        read(tmp_path / "none.toml", KINDS)
