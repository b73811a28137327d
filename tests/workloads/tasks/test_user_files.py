"""A user's file is found, loaded, identified by its content, refused in one line, and travels to other processes."""

import dataclasses
import io
import subprocess
import sys
from pathlib import Path

import cloudpickle
import pytest
import torch

from rectified.workloads.tasks import TASKS, Task, changed_since, load_task, parse_task

SOURCE = Path(__file__).parents[3] / "src"
TASK = """
import torch
from torch import nn
from rectified.workloads.tasks import Task

task = Task(model=lambda: nn.Linear(2, 3), train=(torch.ones(20, 2), torch.zeros(20, dtype=torch.long)),
            valid=(torch.ones(20, 2), torch.zeros(20, dtype=torch.long)), batch_size=5)
"""
TWO = TASK + "\nother = Task('other', model=task._model, train=torch.ones(9, 2), loss=len, valid=torch.ones(9, 2))\n"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def write(name, text):
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_with_one_task(here, monkeypatch):
    write("my_task.py", TASK)
    task = load_task("my_task.py")
    assert type(task) is Task
    assert (task.name, task.written_as, len(task.version)) == ("my_task", "my_task.py", 10)
    assert load_task(" my_task.py:task ") is load_task(str(here / "my_task.py")) is parse_task("my_task.py") is task
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.chdir("/")
    assert load_task("~/my_task.py") is task


def test_one_of_several_is_named():
    write("two.py", TWO)
    assert load_task("two.py:other").name == "other"
    with pytest.raises(ValueError, match=r"'two.py': the file has task, other; name one: two.py:task"):
        load_task("two.py")
    with pytest.raises(ValueError, match="there is no mine in it; its tasks: task, other"):
        load_task("two.py:mine")
    with pytest.raises(ValueError, match="torch is a module, not a Task; its tasks: task, other"):
        load_task("two.py:torch")


def test_one_task_under_two_names_is_one():
    write("twice.py", TASK + "\nbest = task\n")
    assert load_task("twice.py") is load_task("twice.py:best")


def test_a_module_in_a_package():
    write("lab/__init__.py", "")
    write("lab/sizes.py", "SIZE = 5\n")
    write("lab/tasks.py", "from .sizes import SIZE\n" + TASK.replace("batch_size=5", "batch_size=SIZE"))
    task = load_task("lab.tasks:task")
    assert (task.name, task.batch_size, task.written_as) == ("tasks", 5, "lab.tasks:task")
    write("lab/sizes.py", "SIZE = 10\n")
    changed = load_task("lab.tasks:task")
    assert changed.batch_size == 10
    assert changed.version != task.version


def test_the_version_is_of_the_file_and_of_what_it_imports_from_its_folder():
    write("helper_a.py", "import helper_b\nSIZE = helper_b.SIZE\n")
    write("helper_b.py", "SIZE = 5\n")
    write("unrelated.py", "x = 1\n")
    write("helped.py", "import helper_a\n" + TASK.replace("batch_size=5", "batch_size=helper_a.SIZE"))
    first = load_task("helped.py")
    write("unrelated.py", "x = 2\n")
    assert load_task("helped.py") is first
    write("helper_b.py", "SIZE = 10\n")
    second = load_task("helped.py")
    assert (first.batch_size, second.batch_size) == (5, 10)
    assert len({first.version, second.version}) == 2
    write("helper_b.py", "SIZE = 5\n")
    third = load_task("helped.py")
    assert third.version == first.version
    assert third == first != second


def test_a_changed_file_is_another_task_and_what_it_was_before_is_equal():
    write("my_task.py", TASK)
    first = load_task("my_task.py")
    write("my_task.py", TASK.replace("batch_size=5", "batch_size=4"))
    second = load_task("my_task.py")
    assert (first.batch_size, second.batch_size) == (5, 4)
    assert first.version != second.version
    write("my_task.py", TASK)
    assert load_task("my_task.py") == first


def test_the_version_does_not_depend_on_what_was_imported_before():
    """In a script that has imported the helper itself, it is the same as on the command line."""
    write("shared_helper.py", "SIZE = 5\n")
    write("helped.py", "import shared_helper\n" + TASK)
    load = "from rectified.workloads.tasks import load_task; print(load_task('helped.py').version)"
    versions = [fresh(f"sys.path.insert(0, '.'); {before}{load}") for before in ("", "import shared_helper; ")]
    assert versions[0] == versions[1] == load_task("helped.py").version
    write("shared_helper.py", "SIZE = 6\n")
    assert load_task("helped.py").version not in versions


def test_files_of_one_name_in_two_folders_keep_their_own_helpers(here):
    for folder, size in (("a", 5), ("b", 10)):
        write(f"{folder}/sizes.py", f"SIZE = {size}\n")
        write(f"{folder}/my_task.py", "from sizes import SIZE\n" + TASK.replace("batch_size=5", "batch_size=SIZE"))
    a, b = load_task("a/my_task.py"), load_task("b/my_task.py")
    assert (a.batch_size, b.batch_size) == (5, 10)
    assert load_task("a/my_task.py") is a
    assert load_task("b/my_task.py") is b


def test_a_file_may_be_called_as_a_module_is():
    write("random.py", TASK)
    assert load_task("random.py").name == "random"
    import random

    assert hasattr(random, "Random")


def fresh(code, cwd=None, stdin=None):
    """What another process prints, which finds nothing in this folder."""
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(SOURCE)!r}); {code}"]
    done = subprocess.run(command, input=stdin, capture_output=True, cwd=cwd, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


CARRIED = """
import torch
from torch import nn
import carried_net
from carried_net import SIZE
from rectified.workloads.tasks import Task

SEEN = []

class Net(carried_net.Base):
    def forward(self, x):
        SEEN.append(len(x))
        return super().forward(x)

class Examples(torch.utils.data.Dataset):
    def __len__(self):
        return 20
    def __getitem__(self, i):
        return carried_net.example(i), i % 3

def evaluate(model):
    return {"valid_loss": float(model(carried_net.example(0)[None]).sum())}

data = Task("data", model=lambda: Net(), train=Examples(), evaluate=evaluate, batch_size=SIZE)
columns = Task("columns", model=Net, train=(torch.ones(20000, 2), torch.zeros(20000).long()), evaluate=evaluate)
"""
CARRIED_NET = """
import torch
from torch import nn

SIZE = 5

class Base(nn.Linear):
    def __init__(self):
        super().__init__(2, 3)

def example(i):
    return torch.full((2,), float(i))
"""
STEP = """
import sys, torch, cloudpickle, io
task, saved = cloudpickle.loads(sys.stdin.buffer.read())
assert 'carried' not in sys.modules and 'carried_net' not in sys.modules
data = torch.load(io.BytesIO(saved), weights_only=False)
torch.manual_seed(0)
model = task.model(data)
batch = next(task.batches(data, 5, torch.Generator().manual_seed(0)))
loss = task.loss(model, batch)
loss.backward()
print(task.version, task.name, repr(loss.item()), task.evaluate(model.eval(), data)["valid_loss"] < 1e9)
"""


@pytest.mark.parametrize("name", [pytest.param("data", marks=pytest.mark.slow), "columns"])
def test_a_task_travels_to_a_process_that_cannot_import_it(name, tmp_path_factory):
    write("carried_net.py", CARRIED_NET)
    write("carried.py", CARRIED)
    task = load_task(f"carried.py:{name}")
    data = task.load(None)
    saved = io.BytesIO()
    torch.save(data, saved)
    pickled = cloudpickle.dumps(task)
    assert len(pickled) < 50_000, "tensors go with the data"
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    said = fresh(f"exec({STEP!r})", cwd=elsewhere, stdin=cloudpickle.dumps((task, saved.getvalue())))
    torch.manual_seed(0)
    model = task.model(data)
    loss = task.loss(model, next(task.batches(data, 5, torch.Generator().manual_seed(0))))
    assert said == f"{task.version} {name} {loss.item()!r} True"
    assert cloudpickle.loads(pickled) == task
    if name == "columns":
        with pytest.raises(RuntimeError, match="the tensors of train exist only in the process that made the task"):
            cloudpickle.loads(pickled).load(None)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = (\n", "task 'wrong.py' does not load: wrong.py, line 1: SyntaxError: '(' was never closed"),
        ("\nimport nothing_of_that_name\n", "wrong.py, line 2: ModuleNotFoundError: No module named 'nothing_of_that"),
        ("from torch import nothing\n", "wrong.py, line 1: ImportError: cannot import name 'nothing' from 'torch'"),
        ("import sys\nsys.exit('bye')\n", "wrong.py, line 2: SystemExit: bye"),
        ("def f():\n    return 1 / 0\n\nf()\n", "wrong.py, line 2: ZeroDivisionError: division by zero"),
        ("raise RuntimeError('several\\nlines')\n", "wrong.py, line 1: RuntimeError: several lines"),
        ("assert False\n", "wrong.py, line 1: AssertionError"),
        ("import broken_helper\n", "broken_helper.py, line 2: NameError: name 'nowhere' is not defined"),
        ("x = 1\n", "task 'wrong.py': the file has no Task; add task = Task(model=..., train=..., ...)"),
        (
            TASK.replace("batch_size=5", "batch_size=50"),
            "line 6: batch_size is 50, but train has only 20 examples; use",
        ),
        (
            TASK.replace("Task(", "Task('cifar10', "),
            "task 'wrong.py' has the name of a built-in task, 'cifar10'; give it a",
        ),
        (
            TASK + "\nb = Task(model=len, train=torch.ones(9), loss=len, valid=torch.ones(9))\n",
            "task and b are both named",
        ),
        ("\0", "SyntaxError: source code"),
    ],
)
def test_what_is_wrong_in_a_file_is_one_line(text, says):
    write("broken_helper.py", "# fine\nnowhere\n")
    write("wrong.py", text)
    for _ in range(2):
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            parse_task("wrong.py")
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)
    write("wrong.py", TASK)
    assert parse_task("wrong.py").name == "wrong", "mended, it loads"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nowhere.py", "task 'nowhere.py': there is no file nowhere.py in .*; rectified init nowhere.py writes one"),
        (
            "nowhere.module:NAME",
            "task 'nowhere.module:NAME' does not load: ModuleNotFoundError: No module named 'nowhere'",
        ),
        ("my_task.py(lr=1)", r"task 'my_task.py\(lr=1\)' has options in parentheses, which only built-in tasks take"),
        ("my_task.py:task(lr=1)", "has options in parentheses, which only built-in tasks take"),
        ("my_task", "unknown task 'my_task'; use one of fashion-mnist, .*, or your own file, such as my_task.py"),
        ("sys:path", "sys is not a module with a Python file"),
    ],
)
def test_what_names_no_task_is_refused(text, says):
    write("my_task.py", TASK)
    with pytest.raises(ValueError, match=says) as caught:
        parse_task(text)
    assert "\n" not in str(caught.value)


def test_a_file_that_hides_a_package_is_said_to():
    write("lightning.py", "import lightning.pytorch\n")
    loaded = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "lightning"}
    try:
        with pytest.raises(ValueError, match=r"lightning.py, line 1: .*; the file hides the package lightning: rename"):
            load_task("lightning.py")
    finally:
        sys.modules.update(loaded)


def test_ctrl_c_while_a_file_loads_is_a_ctrl_c():
    write("slow.py", "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load_task("slow.py")


def test_what_to_say_of_a_file_that_changed():
    write("my_task.py", TASK)
    task = load_task("my_task.py")
    assert changed_since(task, []) is changed_since(task, [task.version] * 3) is None
    assert changed_since(task, ["aa", "aa", task.version]) == (
        "my_task.py has changed since 2 of this study's runs of my_task: they count as another task's (version aa; "
        f"it is {task.version} now)"
    )
    assert "since 1 of this study's runs of my_task: it counts" in changed_since(task, ["aa"])
    built_in = TASKS["cifar10"]
    assert changed_since(built_in, [built_in.version]) is None
    assert dataclasses.replace(built_in, epochs=2).version == ""
