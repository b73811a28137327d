"""Where the examples are, and how a test runs one as a script."""

import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "examples"


def run(name, monkeypatch, *args):
    """Run an example as `python examples/NAME ARGS` does, in this process; returns its variables."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(sys, "argv", [str(FOLDER / name), *map(str, args)])
    monkeypatch.delitem(sys.modules, "my_task", raising=False)
    try:
        return runpy.run_path(str(FOLDER / name), run_name="__main__")
    finally:
        sys.modules.pop("my_task", None)
