"""The reference in docs/reference/ has every public name, and each docstring has what a reader looks for there."""

import ast
import builtins
import importlib
import inspect
import pkgutil
import re
import textwrap
from functools import cache
from pathlib import Path
from types import FunctionType, ModuleType

import pytest
import torch

import rectified
import rectified.study
import rectified.theory
import rectified.warmup
from pages import DOCS
from rectified.optim import contrib

PAGES = sorted((DOCS / "reference").glob("*.md"))
DIRECTIVE = re.compile(r"^( *)\.\. auto(\w+):: ([\w.]+)(?:\(.*\))?\n((?:\1   +:.*\n)*)", re.MULTILINE)


def modules():
    """Those that say which of their names are public, by their text: not all can be imported everywhere."""
    for found in pkgutil.walk_packages(rectified.__path__, "rectified.", onerror=lambda name: None):
        if found.name.rpartition(".")[2].startswith("_"):
            continue
        spec = found.module_finder.find_spec(found.name)
        if spec is not None and re.search(r"^__all__ = ", Path(spec.origin).read_text(encoding="utf-8"), re.MULTILINE):
            yield importlib.import_module(found.name)
    yield rectified


PUBLIC = sorted({f"{module.__name__}.{name}" for module in modules() for name in module.__all__})


@cache
def resolved(path):
    """The object of a dotted path. A function goes before the module of its name, as for who writes it."""
    outer, _, name = path.rpartition(".")
    if not outer:
        return importlib.import_module(path)
    found = resolved(outer)
    if isinstance(found, ModuleType) and not hasattr(found, name):
        return importlib.import_module(path)
    return getattr(found, name)


def documented():
    """What the pages document: each directive's kind, the path that it names, and whether it has the members."""
    for page in PAGES:
        outer = ""
        for indent, kind, path, options in DIRECTIVE.findall(page.read_text(encoding="utf-8")):
            if not indent:
                outer = path
            yield kind, f"{outer}.{path}" if indent else path, ":members:" in options


# These import a framework, for ten seconds and more: their docstrings are read from their text.
CALLBACKS = ("rectified.trainers.huggingface.", "rectified.trainers.lightning.")
DIRECTIVES = [each for each in documented() if not each[1].startswith(CALLBACKS)]
OBJECTS = [resolved(path) for _, path, _ in DIRECTIVES]


def callables():
    """Every documented function, class and method with arguments, by its path."""
    for kind, path, members in DIRECTIVES:
        found = resolved(path)
        if kind in ("function", "method", "class"):
            yield path, found
        if members and kind == "class":
            for name, member in vars(found).items():
                function = getattr(member, "fget", None) or getattr(member, "__func__", member)
                if not name.startswith("_") and isinstance(function, FunctionType):
                    yield f"{path}.{name}", function


CALLABLES = dict(callables())
each_callable = pytest.mark.parametrize("path", CALLABLES)


@pytest.mark.parametrize("path", PUBLIC)
def test_every_public_name_is_on_a_page(path):
    found = resolved(path)
    if path == "rectified.__version__":
        assert any("`rectified.__version__`" in page.read_text(encoding="utf-8") for page in PAGES)
    else:
        assert any(found is each for each in OBJECTS), f"{path} is on no page of docs/reference"


def test_nothing_is_on_two_pages():
    paths = [path for _, path, _ in DIRECTIVES]
    assert sorted(set(paths)) == sorted(paths)


@pytest.mark.parametrize("path", [path for kind, path, _ in DIRECTIVES if kind not in ("data", "method")])
def test_a_docstring_begins_with_a_line_that_stands_alone(path):
    found = resolved(path)
    assert_summary(path, vars(found).get("__doc__") if isinstance(found, type) else found.__doc__)


def assert_summary(path, doc):
    first = (doc or "").strip().split("\n\n")[0]
    assert re.match(r"\S.{10,}", first), f"{path} has no summary: {doc!r}"
    assert first.endswith("."), f"the summary of {path} is no sentence: {first!r}"


def test_the_callbacks_are_documented_and_have_summaries():
    paths = [path for _, path, _ in documented() if path.startswith(CALLBACKS)]
    for prefix in CALLBACKS:
        file = Path(rectified.__file__).parents[1] / f"{prefix[:-1].replace('.', '/')}.py"
        defined = [
            node
            for node in ast.parse(file.read_text(encoding="utf-8")).body
            if isinstance(node, ast.ClassDef | ast.FunctionDef)
        ]
        assert defined
        for node in defined:
            assert prefix + node.name in paths
            assert_summary(node.name, ast.get_docstring(node))


@pytest.mark.parametrize("path", [path for kind, path, _ in DIRECTIVES if kind == "data"])
def test_a_value_has_a_comment_above_it(path):
    module, _, name = path.rpartition(".")
    lines = inspect.getsource(resolved(module)).splitlines()
    (at,) = (i for i, line in enumerate(lines) if re.match(rf"{name}\b.* = ", line))
    assert lines[at - 1].startswith("#: "), f"{path} needs a comment `#: ...` above it"


def raised(function, depth=1):
    """The names of the exceptions that a function raises itself, or by a helper of this package that it calls."""
    function = inspect.unwrap(function)
    ours = function.__module__.startswith("rectified.") and function.__code__.co_filename.endswith(".py")
    if not ours:  # a dataclass's own, a protocol's
        return
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            if node.exc.func.id[0].isupper():  # not a parameter
                yield node.exc.func.id
        elif depth and isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called = function.__globals__.get(node.func.id)
            if isinstance(called, FunctionType):
                yield from raised(called, depth - 1)


def section(doc, name):
    """The text of a docstring's section."""
    found = re.search(rf"^{name}:\n((?:    .*\n?|\n)*)", doc, re.MULTILINE)
    return found[1] if found else ""


def names(exception):
    """Of an exception and of what it is a kind of."""
    kind = getattr(builtins, exception, None) or getattr(rectified.study, exception, None)
    return [each.__name__ for each in kind.__mro__[:-3]] if kind else [exception]


@each_callable
def test_what_raises_says_what_and_when(path):
    found = CALLABLES[path]
    functions = [found]
    if isinstance(found, type):
        functions = [vars(found)[name] for name in ("__init__", "__post_init__") if name in vars(found)]
    expected = {name for function in functions for name in raised(function)} - {"NotImplementedError"}
    if isinstance(found, type) and issubclass(found, torch.optim.Optimizer):
        expected |= {"ValueError", "RuntimeError"}
    said = section(inspect.getdoc(found) or "", "Raises")
    missing = [each for each in expected if not any(re.search(rf"\b{name}\b", said) for name in names(each))]
    assert not missing, f"{path} raises {', '.join(missing)}: its docstring has to name that under Raises"


def with_an_equation():
    """Optimizers, warmups and the theory."""
    for _, path, _ in DIRECTIVES:
        found = resolved(path)
        if isinstance(found, type) and issubclass(found, torch.optim.Optimizer | rectified.warmup.Warmup):
            if found is not rectified.warmup.Warmup:
                yield path
        elif path.startswith("rectified.theory.") and path.count(".") == 2 and not isinstance(found, ModuleType):
            yield path
    yield from (
        "rectified.rectify",
        "rectified.WarmupLR",
        "rectified.linear_scaling",
        "rectified.warmup.effective_period",
    )


WITH_AN_EQUATION = list(with_an_equation())


@pytest.mark.parametrize("path", WITH_AN_EQUATION)
def test_a_method_has_its_equation_and_its_source(path):
    doc = inspect.getdoc(resolved(path))
    assert ".. math::" in doc, f"{path} lacks its equation"
    source = re.search(r"^Reference: (.+)", doc, re.MULTILINE)
    assert source, f"{path} lacks its source: a last line `Reference: ...`"
    assert re.search(r"arXiv:\d{4}\.\d{4,5}\b|lecture|docs/mathematics\.md", source[1]), f"{path}: {source[0]}"


def test_the_checks_see_what_they_are_about():
    assert {
        "rectified.Adam",
        "rectified.optim.contrib.COCOB",
        "rectified.warmup.Linear",
        "rectified.theory.rho",
    } <= set(WITH_AN_EQUATION)
    assert {f"rectified.optim.contrib.{name}" for name in contrib.__all__} <= set(PUBLIC)
    assert "ValueError" in set(raised(rectified.theory.rho))
    assert "ValueError" in set(raised(rectified.warmup.Linear.__post_init__))
