"""What a contributor still has to add: each warmup, method, optimizer and task is in help, docs, rosters and changelog.

A failure is a list to work through: each line names a file and what goes into it.
"""

import contextlib
import importlib
import io
import pkgutil
import re
from functools import lru_cache
from pathlib import Path

import pytest
import torch

import rectified
from rectified import cli, optim, warmup
from rectified.study.config import methods
from rectified.study.config.method import PartOfRun
from rectified.warmup import Constant, Warmup
from rectified.warmup.plain import KINDS
from rectified.workloads import tasks
from rectified.workloads.tasks import TASKS, BaseTask

ROOT = Path(__file__).parents[1]


@lru_cache
def text(path):
    return (ROOT / path).read_text(encoding="utf-8")


@lru_cache
def help_of_study():
    """What `rectified study --help` prints, as one line."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit):
        cli.main(["study", "--help"])
    return " ".join(printed.getvalue().replace("│", " ").split())


def has(name, content):
    """Whether the name stands there as a whole: linear is not in untuned-linear, nor is Adam in GIAdam."""
    return re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", content) is not None


def in_file(path, name):
    return has(name, text(path))


def lacking(places):
    return [what for what, there in places.items() if not there]


def finished(what, places):
    if left := lacking(places):
        pytest.fail(
            f"{what} is not finished. Still to add:\n" + "\n".join(f"  - {each}" for each in left), pytrace=False
        )


def public(base, *folders):
    """The classes of a kind that the modules define, by their names without an underscore."""
    modules = [importlib.import_module(name) for folder in folders for name in _modules(folder)]
    return {
        name: kind
        for module in modules
        for name, kind in vars(module).items()
        if isinstance(kind, type) and issubclass(kind, base) and kind.__module__ == module.__name__
        if not name.startswith("_")
    }


def _modules(package):
    found = getattr(importlib.import_module(package), "__path__", None)
    return [package, *(f"{package}.{each.name}" for each in pkgutil.iter_modules(found or []) if each.name[0] != "_")]


# What optimizers share: no method of their own.
BASES = {"BaseOptimizer", "Variant"}
OPTIMIZERS = {
    name: kind
    for name, kind in public(
        torch.optim.Optimizer, "rectified.optim", "rectified.optim.variants", "rectified.optim.contrib"
    ).items()
    if name not in BASES
}
WARMUPS = {name: kind for name, kind in public(Warmup, "rectified.warmup").items() if kind is not Warmup}
METHODS = [name for name in methods.known() if "+" not in name]


@lru_cache
def names_in_studies():
    """The names behind a plus, such as linear and untuned-linear, with the warmup that each stands for."""
    found = {}
    for name in methods.known():
        if name.startswith("adam+"):
            made = methods.parse(name.replace("-N", "-10")).warmup
            kind = made.kind if isinstance(made, PartOfRun) else type(made)
            found[name.removeprefix("adam+").removesuffix("%").removesuffix("-N")] = kind
    return found


def places_of_a_warmup(name, kind):
    short = next((short for short, found in names_in_studies().items() if found is kind), None)
    in_help = short is not None and re.search(rf"\+{short}(?![a-z])", help_of_study()) is not None
    plain = kind is Constant  # no warmup at all: a study calls it adam
    drawn = not kind.observes  # what depends on a run has no curve of its own, nor a twin that is a function of t
    tests = "tests/roster.py, METHODS" if drawn else "tests/everyone.py, EVERYONE"
    return {
        f"src/rectified/warmup/__init__.py, __all__: {name}": name in warmup.__all__,
        f"src/rectified/warmup/plain.py, KINDS: {name}, so that a checkpoint can hold it": kind in KINDS,
        f"src/rectified/study/config/methods.py, _WARMUPS or _LONG_WARMUPS: a name for {name}": plain
        or short is not None,
        f"src/rectified/cli/study_command.py, the help of --methods: adam+{short or 'its name'}": plain or in_help,
        f"docs/architecture.md, the table of methods: a row with {name}": in_file("docs/architecture.md", name),
        f"docs/choosing-a-warmup.md, the table of warmups: a row with {name}": (
            re.search(rf"^\| `{name}\(", text("docs/choosing-a-warmup.md"), re.MULTILINE) is not None
        ),
        f"docs/reference/warmups.md: an autoclass of {name}": in_file("docs/reference/warmups.md", name),
        f"docs/site/static/warmups.js, all: {name} for the explorer": not drawn
        or in_file("docs/site/static/warmups.js", name),
        f"tests/test_warmup.py, WARMUPS: {name} with its twin from tests/reference.py": in_file(
            "tests/test_warmup.py", name
        ),
        f"{tests}: an optimizer with {name}": in_file(tests.split(",")[0], name),
        f"CHANGELOG.md: {name}": in_file("CHANGELOG.md", name),
    }


def places_of_a_method(name):
    row = re.search(rf"^\| {re.escape(name)} \|", text("docs/alternatives.md"), re.MULTILINE)
    return {
        "src/rectified/cli/study_command.py, the help of --methods": has(name, help_of_study()),
        "src/rectified/study/config/methods.py, the list in the docstring": has(name, methods.__doc__),
        "docs/study.md under Methods, or a row in docs/alternatives.md": row or f"`{name}`" in text("docs/study.md"),
        "tests/study/config/test_methods.py: what its name stands for": (
            re.search(rf'"{re.escape(name)}["+(]', text("tests/study/config/test_methods.py")) is not None
        ),
        "CHANGELOG.md": f"`{name}`" in text("CHANGELOG.md"),
    }


def places_of_an_optimizer(name, kind):
    tests = ("tests/roster.py", "tests/optim/test_variants.py", "tests/optim/test_contrib.py")
    built = {methods.parse(method).optimizer for method in METHODS}
    return {
        "src/rectified/optim/__init__.py, __all__": name in optim.__all__,
        "src/rectified/study/config/methods.py, _OPTIMIZERS: its name in a study": kind in built,
        "docs/reference/optimizers.md or contrib.md: an autoclass of it": any(
            in_file(f"docs/reference/{page}.md", name) for page in ("optimizers", "contrib")
        ),
        "tests/everyone.py, EVERYONE": in_file("tests/everyone.py", name),
        "tests/reference_variants.py, and tests/optim/test_variants.py or test_contrib.py: its textbook twin": any(
            in_file(each, name) for each in tests
        ),
        "CHANGELOG.md": in_file("CHANGELOG.md", name),
    }


def places_of_a_task(name):
    return {
        "src/rectified/workloads/tasks/__init__.py, TASKS": name in TASKS,
        "src/rectified/cli/study_command.py, the help of TASK": has(name, help_of_study()),
        "docs/tasks.md, a row in the first table": f"| `{name}` |" in text("docs/tasks.md"),
        "tests/workloads/tasks/test_chance.py, GUESSED": f'"{name}"' in text("tests/workloads/tasks/test_chance.py"),
        "CHANGELOG.md": f"`{name}`" in text("CHANGELOG.md"),
    }


def defined_tasks():
    modules = [importlib.import_module(name) for name in _modules(tasks.__name__)]
    return sorted({task.name for module in modules for task in vars(module).values() if isinstance(task, BaseTask)})


@pytest.mark.parametrize("name", WARMUPS)
def test_a_warmup_is_finished(name):
    finished(f"the warmup {name}", places_of_a_warmup(name, WARMUPS[name]))


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_finished(name):
    finished(f"the method {name}", places_of_a_method(name))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_is_finished(name):
    finished(f"the optimizer {name}", places_of_an_optimizer(name, OPTIMIZERS[name]))


@pytest.mark.parametrize("name", defined_tasks())
def test_a_task_is_finished(name):
    finished(f"the task {name}", places_of_a_task(name))


def test_what_is_new_is_found_and_lacks_everything():
    class Cosine(Warmup):
        def omega(self, t, beta2):
            return 1.0

    for places in (
        places_of_a_warmup("Cosine", Cosine),
        places_of_a_method("radam-cosine"),
        places_of_an_optimizer("Cosmos", type("Cosmos", (rectified.Adam,), {})),
        places_of_a_task("fashion-mnist-cosine"),
    ):
        assert lacking(places) == list(places)
    with pytest.raises(
        pytest.fail.Exception, match=r"Still to add:\n  - src/rectified/workloads/tasks/__init__\.py, TASKS\n"
    ):
        finished("the task", places_of_a_task("fashion-mnist-cosine"))


def test_the_rosters_are_those_of_the_package():
    assert {"Linear", "Rectified"} < WARMUPS.keys()
    assert {"Adam", "NAdam", "COCOB"} < OPTIMIZERS.keys()
    assert set(defined_tasks()) == set(TASKS)
