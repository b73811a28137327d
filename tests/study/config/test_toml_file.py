"""A study's file: its names are the flags', and errors name the line."""

from pathlib import Path

import pytest

from rectified.study.config.errors import InvalidOption
from rectified.study.config.toml_file import read

KINDS = {"tasks": list, "methods": list, "lrs": list, "epochs": int, "minutes": float, "out": Path, "vary": dict}

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
    assert found.values == {
        "tasks": ["fashion-mnist", "fashion-mnist-mini(loss_scale=10)"],
        "methods": "adam",
        "lrs": [0.003, 0.01, 1],
        "epochs": 8,
        "minutes": 3.0,
        "out": Path("runs/mine"),
        "vary": {"beta2": [0.9, 0.999], "name": ["'x'"]},
    }
    assert found.lines == {"tasks": 2, "methods": 3, "lrs": 4, "epochs": 8, "minutes": 9, "out": 10, "vary": 11}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('tasks = "a"\nlr = 1\n', "line 2: unknown name 'lr'; the names are tasks, methods, lrs"),
        ("tasks = [\n", "at end of document"),
        ('tasks = "a"\ntasks = "b"\n', "Cannot overwrite a value (at line 2"),
        ("\nepochs = 1.5", "line 2: epochs is 1.5; it must be a whole number"),
        ("epochs = true", "line 1: epochs is True; it must be a whole number"),
        ('minutes = "3"', "line 1: minutes is '3'; it must be a number"),
        ("lrs = [true]", "line 1: lrs is [True]; it must be strings or numbers"),
        ("lrs = [[1]]", "line 1: lrs is [[1]]; it must be strings or numbers"),
        ("out = 3", "line 1: out is 3; it must be a string"),
        ("vary = 3", "line 1: vary is 3; it must be a table of lists"),
        ("vary.beta2 = 0.9", "line 1: vary is {'beta2': 0.9}; it must be a table of lists"),
        ("vary.beta2 = [[1]]", "line 1: vary is {'beta2': [[1]]}; it must be strings or numbers"),
        (r'out = "C:\data\new"', "write paths in 'single quotes'"),
    ],
)
def test_what_is_wrong_is_named_by_its_line(tmp_path, text, says):
    with pytest.raises(ValueError, match=r"study\.toml") as error:
        read(written(tmp_path, text), KINDS)
    assert says in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"none\.toml: No such file"):
        read(tmp_path / "none.toml", KINDS)


@pytest.mark.parametrize(
    ("content", "values"),
    [
        (b"\xef\xbb\xbfepochs = 3\r\nminutes = 2\r\n", {"epochs": 3, "minutes": 2.0}),
        ("methods = 'größe'".encode(), {"methods": "größe"}),
        (rb"out = 'C:\data\new'", {"out": Path(r"C:\data\new")}),
        (rb'out = "C:\\data\\new"', {"out": Path(r"C:\data\new")}),
        (b'out = "C:/data/new"', {"out": Path("C:/data/new")}),
        (b"batch-sizes = 3\n'tasks' = 'a'", {"batch_sizes": 3, "tasks": "a"}),
    ],
    ids=["BOM and CRLF", "UTF-8", "single quotes", "escaped", "slashes", "hyphens and quoted names"],
)
def test_files_of_all_systems_are_read(tmp_path, content, values):
    path = tmp_path / "study.toml"
    path.write_bytes(content)
    assert read(path, KINDS | {"batch_sizes": list}).values == values


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("epochs = 3".encode("utf-16"), r"study\.toml: the file is UTF-16, but TOML must be UTF-8; save it as UTF-8"),
        (
            "epochs = 3".encode("utf-16-le"),
            r"study\.toml: the file is UTF-16, but TOML must be UTF-8; save it as UTF-8",
        ),
        (b"epochs = 3\n# gr\xf6\xdfe", r"study\.toml, line 2: not UTF-8; save the file as UTF-8"),
    ],
    ids=["UTF-16", "UTF-16 without a BOM", "Latin-1"],
)
def test_another_encoding_is_named(tmp_path, content, says):
    path = tmp_path / "study.toml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=says) as error:
        read(path, KINDS)
    assert "\n" not in str(error.value)


def test_a_refused_option_has_its_line_or_its_flag(tmp_path):
    found = read(written(tmp_path, "\nepochs = 3\n"), KINDS)
    assert found.text(InvalidOption("epochs", 3, "too many")) == f"{found.path}, line 2: epochs is 3: too many"
    assert found.text(InvalidOption("batch_sizes", 3, "too many")) == "--batch-sizes is 3: too many"


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path}: Is a directory"):
        read(tmp_path, KINDS)
