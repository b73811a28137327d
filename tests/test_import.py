"""What importing rectified brings in, and which room may import which."""

import ast
import subprocess
import sys
from pathlib import Path

import rectified

ROOT = Path(rectified.__file__).parent

# What each room may import of ours. Extras belong to the rooms at the top.
ALLOWED = {
    "theory": set(),
    "warmup": {"theory"},
    "optim": {"theory", "warmup"},
    "study": {"theory", "warmup", "optim"},
    "cli": {"theory", "warmup", "optim", "study"},
    "__init__": {"theory", "warmup", "optim"},
}


def test_importing_rectified_imports_torch_and_nothing_else():
    script = (
        "import sys, torch; before = set(sys.modules); import rectified;"
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["rectified"]


def imports(path):
    """The rooms of ours that a file imports."""
    package = ("rectified", *path.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            names = [(*base, *(node.module or "").split(".")) if node.module else base]
            names = [(*name, alias.name) for name in names for alias in node.names] if names[0][1:] == () else names
        elif isinstance(node, ast.Import):
            names = [tuple(alias.name.split(".")) for alias in node.names]
        else:
            continue
        yield from (name[1] for name in names if name[0] == "rectified" and len(name) > 1)


def test_imports_go_one_way():
    seen = set()
    for path in ROOT.rglob("*.py"):
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        seen.add(room)
        strangers = set(imports(path)) - ALLOWED[room] - {room, "__version__"}
        assert not strangers, f"{path.relative_to(ROOT)} imports {strangers}"
    assert seen == ALLOWED.keys()
