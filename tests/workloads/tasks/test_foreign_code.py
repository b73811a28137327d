"""A user's code may raise anything: one line says where, whatever it was, and the error itself is the cause."""

import sys
from pathlib import Path

import pytest
import torch

from rectified.study import InvalidOption, Study
from rectified.study.config.methods import parse, read_method
from rectified.workloads.tasks import Task, find_data, load_data, parse_task
from rectified.workloads.user_code import in_one_line

RAISES = {
    "raise SystemExit(3)": "SystemExit: 3",
    "import sys; sys.exit()": "SystemExit",
    "x = (": "SyntaxError: '(' was never closed",
    "1 / 0": "ZeroDivisionError: division by zero",
    "def deeper(): deeper()\ndeeper()": "RecursionError: maximum recursion depth exceeded",
    "raise MemoryError": "MemoryError",
    "class Mine(BaseException): pass\nraise Mine('first\\nsecond')": "Mine: first second",
    "class Mute(Exception):\n    def __str__(self): raise SystemExit(4)\nraise Mute": "Mute: its text cannot be shown",
    "raise ValueError('a' * 9999)": "ValueError: aaaa",
    "raise GeneratorExit": "GeneratorExit",
    "import warnings; warnings.simplefilter('error'); warnings.warn('beware')": "UserWarning: beware",
    "eval('1 +')": "SyntaxError: invalid syntax",
    "import nowhere_to_be_found": "No module named 'nowhere_to_be_found'",
    "raise ValueError('\\ud800')": "ValueError: \\ud800",
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("hostile", "hostile_attributes"):
        sys.modules.pop(name, None)


def refusal(call, longest=450):
    with pytest.raises(ValueError, match=r".") as refused:
        call()
    text = str(refused.value)
    assert "\n" not in text
    assert text.isprintable()
    assert len(text) <= longest
    return refused.value


ENTRIES = {
    "optimizer": lambda: parse("hostile.Mine"),
    "warmup": lambda: parse("adam+hostile.Mine(1)"),
    "control": lambda: parse("matched-lr(adam+hostile.Mine(1))"),
    "file": lambda: parse_task("hostile.py"),
    "module": lambda: parse_task("hostile:task"),
    "study's methods": lambda: Study("fashion-mnist-mini", "hostile.Mine"),
    "study's tasks": lambda: Study("hostile.py"),
}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("code", RAISES, ids=range(len(RAISES)))
def test_whatever_a_module_raises_is_one_line_with_its_file_and_line(code, entry):
    Path("hostile.py").write_text(code + "\n", encoding="utf-8")
    error = refusal(ENTRIES[entry])
    assert "hostile.py, line " in str(error)
    assert RAISES[code] in str(error)
    causes = []
    while (error := error.__cause__) is not None:
        causes.append(type(error).__name__)
    assert causes, "with the traceback of the user's code"
    assert "hostile" not in sys.modules


@pytest.mark.parametrize("entry", ENTRIES)
def test_ctrl_c_is_ctrl_c(entry):
    Path("hostile.py").write_text("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        ENTRIES[entry]()


ATTRIBUTES = """from rectified.warmup import Warmup
import torch

class Dies(torch.optim.SGD):
    def __init__(self, params, lr=0.1):
        raise SystemExit(5)

class Steps(torch.optim.SGD):
    def step(self, closure=None):
        raise SystemExit(6)

class Signed(torch.optim.SGD):
    __signature__ = 3

class Dies2:
    def __init__(self, steps):
        raise SystemExit(7)

class Omega:
    def __init__(self, steps):
        pass
    def omega(self, t, beta2):
        if t > 1500:
            raise SystemExit(8)
        return 0.5

class Same(Warmup):
    def __init__(self, steps):
        pass
    def __eq__(self, other):
        raise SystemExit(9)
    __hash__ = None
    def omega(self, t, beta2):
        return 0.5

class Shown:
    def __repr__(self):
        raise ZeroDivisionError

class Classless:
    @property
    def __class__(self):
        raise ZeroDivisionError

shown, classless = Shown(), Classless()

def __getattr__(name):
    raise SystemExit(10)
"""


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ("hostile_attributes.Dies", "hostile_attributes.py, line 6: SystemExit: 5"),
        ("hostile_attributes.Steps", "fails at its first step: hostile_attributes.py, line 10: SystemExit: 6"),
        ("hostile_attributes.Signed", "hostile_attributes.Signed"),
        ("adam+hostile_attributes.Dies2(1)", "does not make a warmup: hostile_attributes.py, line 17: SystemExit: 7"),
        ("matched-lr(adam+hostile_attributes.Omega(1))", "hostile_attributes.py, line 24: SystemExit: 8"),
        (
            "torch.optim.NAdam+hostile_attributes.Same(1),torch.optim.NAdam+hostile_attributes.Same(2)",
            "cannot be compared: hostile_attributes.py, line 31: SystemExit: 9",
        ),
        ("hostile_attributes.shown", "hostile_attributes.shown is a Shown, not a torch.optim.Optimizer"),
        ("hostile_attributes.classless", "ZeroDivisionError"),
        ("hostile_attributes.Missing", "hostile_attributes.py, line 48: SystemExit: 10"),
        ("adam+hostile_attributes.Missing(1)", "hostile_attributes.py, line 48: SystemExit: 10"),
    ],
)
def test_whatever_a_class_or_an_attribute_raises_while_a_study_is_planned_is_one_line(method, says):
    Path("hostile_attributes.py").write_text(ATTRIBUTES)
    error = refusal(lambda: Study("fashion-mnist-mini", method, epochs=40))
    assert isinstance(error, InvalidOption)
    assert error.name == "methods"
    assert says in str(error)


@pytest.mark.parametrize(
    "name", ["hostile.Mine", "adam+hostile.Mine(1)", "matched-lr(hostile.Mine)", "matched-lr(matched-lr(hostile.Mine))"]
)
def test_a_name_in_a_studys_folder_imports_nothing(name):
    Path("hostile.py").write_text("open('imported', 'w').close()\n")
    assert read_method(name) is None
    assert not Path("imported").exists()


TASK = """
import torch
from torch import nn
from rectified.workloads.tasks import Task

class Classless:
    @property
    def __class__(self):
        raise SystemExit(11)

classless = Classless()
task = Task(model=lambda: nn.Linear(2, 3), train=(torch.ones(20, 2), torch.zeros(20, dtype=torch.long)),
            valid=(torch.ones(20, 2), torch.zeros(20, dtype=torch.long)), batch_size=5)
"""


def test_an_object_beside_the_task_may_be_as_odd_as_it_likes():
    Path("hostile.py").write_text(TASK.replace("raise SystemExit(11)", "raise ZeroDivisionError"))
    assert parse_task("hostile.py").name == "hostile"


class OfAUser(Task):
    """A task whose methods raise; not of this package, so that its errors are a user's."""

    def find(self, folder, say, fetch=True):
        raise SystemExit(12)

    def load(self, folder):
        raise FileNotFoundError("train.bin")

    def steps_per_epoch(self, batch_size):
        return None if batch_size == 7 else 3


def of_a_user():
    data = (torch.ones(20, 2), torch.zeros(20, dtype=torch.long))
    return OfAUser("mine", model=lambda: torch.nn.Linear(2, 3), train=data, valid=data, batch_size=5)


def test_what_a_task_raises_in_this_process_is_one_line():
    task = of_a_user()
    assert "task 'mine' does not find its data: test_foreign_code.py, line " in str(
        refusal(lambda: find_data(task, None, print))
    )
    said = str(refusal(lambda: load_data(task, Path())))
    assert "test_foreign_code.py" in said
    assert "FileNotFoundError: train.bin" in said
    said = str(refusal(lambda: Study(task, "adam", batch_sizes=7)))
    assert said.startswith("batch_sizes is 7: steps_per_epoch returned None; it must return a whole number")


def test_a_task_that_raises_systemexit_when_it_is_tried_does_not_run():
    data = (torch.ones(20, 2), torch.zeros(20, dtype=torch.long))
    task = Task("mine", model=lambda: sys.exit(3), train=data, valid=data)
    assert "task mine does not run: test_foreign_code.py, line " in str(refusal(lambda: task.find(None, print)))


def test_one_line_is_of_a_bounded_length():
    assert len(in_one_line(RuntimeError("x" * 10**6))) < 300
