"""Importing rectified costs nothing before a name is used, then torch alone; imports go one way inside the package."""

import ast
import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import rectified

SOURCE = Path(rectified.__file__).parent

# Who may import whom, from the ground up; a face knows itself and what stands before it. `_` is rectified/__init__.py.
LAYERS = {
    "theory": {"theory"},
    "warmup": {"theory", "warmup"},
    "optim": {"theory", "warmup", "optim"},
    "_": {"theory", "warmup", "optim", "probe", "messages"},
    "probe": {"theory", "warmup", "optim", "messages", "files", "figures", "probe"},
    "arrays": {"theory", "warmup", "arrays"},
    "jax": {"theory", "warmup", "arrays", "jax"},
    "keras": {"theory", "warmup", "optim", "arrays", "keras"},
    "interchange": {"theory", "warmup", "optim", "messages", "files", "interchange"},
    "trainers": {"theory", "warmup", "optim", "probe", "trainers"},
    "messages": set(),
    "files": {"messages", "files"},
    "figures": {"theory", "warmup", "optim", "files", "figures"},
    "workloads": {"messages", "files", "workloads"},
    "study": {"theory", "warmup", "optim", "probe", "messages", "files", "figures", "workloads", "study", "_"},
    "bench": {"theory", "warmup", "optim", "files", "figures", "bench", "_"},
    "cli": {
        "theory",
        "warmup",
        "optim",
        "probe",
        "messages",
        "files",
        "figures",
        "workloads",
        "study",
        "bench",
        "cli",
        "_",
    },
    "__main__": {"cli"},
}
CORE = ("theory", "warmup", "optim", "probe", "messages", "_")

# What a file of the core needs of an extra: imported where it is used.
EXTRAS = {
    "optim/gpu/kernel.py": {"triton"},
    "optim/gpu/launch.py": {"triton"},
    "probe/trial_result.py": {"scipy"},
    "probe/report.py": {"jinja2"},
}

# The only files that may import a trainer's framework.
FRAMEWORKS = {
    "trainers/huggingface.py": {"transformers"},
    "trainers/lightning.py": {"lightning", "pytorch_lightning"},
}


def face(path):
    """The face that a source file belongs to."""
    first = path.relative_to(SOURCE).parts[0]
    return "_" if first == "__init__.py" else first.removesuffix(".py")


def imported(path):
    """The absolute names that a source file imports anywhere, also inside functions."""
    package = ["rectified", *path.relative_to(SOURCE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base += node.module.split(".") if node.module else []
            yield from (".".join([*base, alias.name]) for alias in node.names)


FILES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_one_way(path):
    mine = face(path)
    assert mine in LAYERS, f"a new face: say in LAYERS what {mine} may import"
    for name in imported(path):
        parts = name.split(".")
        if parts[0] != "rectified":
            continue
        known = parts[1] if len(parts) > 1 and parts[1] in LAYERS else "_"
        assert known in LAYERS[mine] | {mine}, f"{mine} must not import {name}"


@pytest.mark.parametrize("path", [path for path in FILES if face(path) in CORE], ids=lambda path: path.name)
def test_the_core_names_the_standard_library_and_torch_only(path):
    outside = {name.split(".")[0] for name in imported(path)} - set(sys.stdlib_module_names) - {"rectified"}
    assert outside <= {"torch"} | EXTRAS.get(path.relative_to(SOURCE).as_posix(), set())
    if face(path) in ("theory", "warmup") and path.name != "simulation.py":  # whose paths are tensors
        assert not outside, "mathematics needs no torch"


@pytest.mark.parametrize("path", [path for path in FILES if face(path) == "trainers"], ids=lambda path: path.name)
def test_a_trainers_framework_is_imported_in_its_own_file(path):
    outside = {name.split(".")[0] for name in imported(path)} - set(sys.stdlib_module_names) - {"rectified", "torch"}
    assert outside <= FRAMEWORKS.get(path.relative_to(SOURCE).as_posix(), set())


# What the packages for other frameworks may import besides the standard library and rectified.
OTHERS = {"arrays": {"numpy"}, "jax": {"jax", "numpy", "optax"}, "keras": {"keras"}}
ON_TORCH = {"keras/arrays.py", "keras/torch_step.py"}  # torch where it is Keras's backend


@pytest.mark.parametrize("path", [path for path in FILES if face(path) in OTHERS], ids=lambda path: path.name)
def test_the_packages_for_other_frameworks_need_no_torch(path):
    outside = {name.split(".")[0] for name in imported(path)} - set(sys.stdlib_module_names) - {"rectified"}
    extra = {"torch"} if path.relative_to(SOURCE).as_posix() in ON_TORCH else set()
    assert outside <= OTHERS[face(path)] | extra


def fresh(code):
    """The JSON that a new interpreter prints; it finds rectified where this one did."""
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(SOURCE.parent)!r}); {code}"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout)


def test_using_rectified_brings_in_torch_and_itself_without_the_study():
    code = """
import json, torch
a = set(sys.modules)
import rectified
rectified.RAdam, rectified.check
print(json.dumps(sorted(set(sys.modules) - a)))
"""
    new = [name.split(".") for name in fresh(f"exec({code!r})")]
    assert {parts[0] for parts in new} - set(sys.stdlib_module_names) == {"rectified"}
    assert {parts[1] for parts in new if parts[0] == "rectified" and len(parts) > 1} <= set(CORE)


@pytest.mark.parametrize("name", ["rectified", "rectified.theory", "rectified.warmup"])
def test_no_torch_is_imported_before_an_optimizer_is_used(name):
    new = fresh(f"import json; a = set(sys.modules); import {name}; print(json.dumps(sorted(set(sys.modules) - a)))")
    assert {module.partition(".")[0] for module in new} - set(sys.stdlib_module_names) == {"rectified"}


def test_the_transformations_for_jax_are_imported_without_torch():
    pytest.importorskip("optax")
    new = fresh("import json, rectified.jax; print(json.dumps(sorted(sys.modules)))")
    assert {"jax", "optax", "rectified.jax"} <= set(new)
    assert "torch" not in new


def test_the_optimizers_for_keras_are_imported_without_torch_on_another_backend():
    pytest.importorskip("keras")
    pytest.importorskip("jax")
    code = """
import json, os
os.environ["KERAS_BACKEND"] = "jax"
import rectified.keras
print(json.dumps(sorted(sys.modules)))
"""
    new = fresh(f"exec({code!r})")
    assert {"keras", "rectified.keras"} <= set(new)
    assert "torch" not in new


@pytest.mark.parametrize(
    ("names", "without"),
    [
        ("", ("torch", "jax", "keras", "numpy")),
        ("AdamState", ("torch", "jax", "keras")),
        ("from_torch, to_torch", ("jax", "keras")),
        ("from_optax, to_optax", ("torch", "keras")),
        ("from_keras, to_keras", ("torch", "jax", "keras")),
    ],
)
def test_a_converter_imports_its_own_framework_only(names, without):
    if "optax" in names:
        pytest.importorskip("optax")
    line = f"from rectified.interchange import {names}" if names else "import rectified.interchange"
    new = fresh(f"import json; {line}; print(json.dumps(sorted(sys.modules)))")
    assert "rectified.interchange" in new
    assert not {*without} & set(new)


def test_a_bare_import_has_every_name():
    code = """
import json, rectified
listed = dir(rectified)
wrong = []
for name in ("nothing", "_private"):
    try: getattr(rectified, name)
    except AttributeError as error: wrong.append(str(error))
print(json.dumps([listed, wrong, [rectified.optim.contrib.__name__, rectified.warmup.Linear.__name__,
    rectified.theory.rho(1, 0.9), rectified.probe.check is rectified.check, rectified.messages.__name__]]))
"""
    listed, wrong, found = fresh(f"exec({code!r})")
    assert {*rectified.__all__, "messages", "optim", "probe"} <= set(listed)
    assert wrong == [f"module 'rectified' has no attribute {name!r}" for name in ("nothing", "_private")]
    assert found == ["rectified.optim.contrib", "Linear", 1.0, True, "rectified.messages"]


def test_a_star_import_has_what_the_front_page_lists():
    code = "import json; from rectified import *; print(json.dumps(sorted(globals())))"
    assert set(rectified.__all__) <= set(fresh(f"exec({code!r}, {{}})"))


def test_an_optimizer_is_pickled_by_a_name_that_a_new_interpreter_finds():
    p = torch.nn.Parameter(torch.ones(2))
    pickled = pickle.dumps([rectified.RAdam, rectified.RAdam([p])])
    code = f"import json, pickle; a, b = pickle.loads({pickled!r}); print(json.dumps([a.__module__, type(b) is a]))"
    assert fresh(code) == ["rectified.optim.radam", True]


def test_importing_and_stepping_change_no_setting_of_torchs():
    code = """
import json, torch
def settings(): return [torch.get_num_threads(), str(torch.get_default_dtype()), torch.is_grad_enabled(),
    torch.are_deterministic_algorithms_enabled(), torch.initial_seed(), torch.get_rng_state().tolist()]
torch.manual_seed(3); a = settings()
import rectified
p = torch.nn.Parameter(torch.ones(3)); o = rectified.RAdam([p]); p.grad = torch.ones(3)
o.step(); o.step()
print(json.dumps([a, settings()]))
"""
    before, after = fresh(f"exec({code!r})")
    assert before == after


def test_nothing_waits_for_torch_compile_before_something_is_compiled():
    """An optimizer of torch's imports torch._dynamo, which takes as long as torch."""
    code = """
import json, sys, torch, rectified
there = []
for of in (rectified, torch.optim):
    model = torch.nn.Linear(2, 2); o = of.RAdam(model.parameters())
    model(torch.ones(1, 2)).sum().backward(); o.step(); o.zero_grad()
    o.load_state_dict(o.state_dict()); o.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))]})
    there.append("torch._dynamo" in sys.modules)
print(json.dumps(there))
"""
    assert fresh(f"exec({code!r})") == [False, True]


def test_the_front_page_names_what_works():
    optimizers = {"Adam", "AdamW", "RAdam", "RMSprop", "NAdam", "Adadelta", "LAMB"}
    beside = {"explain", "linear_scaling", "rectify", "WarmupLR", "theory", "warmup", "__version__", "check", "Probe"}
    assert set(rectified.__all__) == optimizers | beside
    assert all(hasattr(rectified, name) for name in rectified.__all__)
    assert all(hasattr(module, name) for module in (rectified.theory, rectified.warmup) for name in module.__all__)
