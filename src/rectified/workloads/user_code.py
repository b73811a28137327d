"""A user's own code: which it is, how it is imported, and where in it an error came from."""

import sys
import sysconfig
import traceback
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

_OURS = Path(__file__).resolve().parents[1]
_INSTALLED = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")]


def is_users(file: str | Path) -> bool:
    """Whether a file of Python is neither installed nor this package's.

    >>> is_users("/home/me/thesis/my_task.py"), is_users(__file__)
    (True, False)
    """
    path = Path(file)
    if not path.is_absolute() or {"site-packages", "dist-packages"} & set(path.parts):  # also of an environment beneath
        return False
    path = path.resolve()
    return not any(path.is_relative_to(each) for each in (_OURS, *_INSTALLED))


def is_installed(name: str) -> bool:
    """Whether a module of that name is installed, so that a file of the name would hide it.

    >>> is_installed("random"), is_installed("torch"), is_installed("my_task")
    (True, True, False)
    """
    folders = [str(folder) for folder in _INSTALLED]
    return name in sys.stdlib_module_names or PathFinder.find_spec(name, folders) is not None


def in_one_line(error: BaseException) -> str:
    """An error as ``my_task.py, line 7: NameError: ...``: the last line of the user's that it came through."""
    said = " ".join(str(error).split())
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}, line {error.lineno}: {type(error).__name__}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    refused = type(error) is ValueError and frames and Path(frames[-1].filename).resolve().is_relative_to(_OURS)
    what = said if refused else f"{type(error).__name__}: {said}" if said else type(error).__name__
    for frame in reversed(frames):
        if is_users(frame.filename):
            return f"{Path(frame.filename).name}, line {frame.lineno}: {what}"
    return what


def imported(what: str, path: str) -> Any:
    """What is at a dotted path, such as ``my_warmups.Cosine``; the current folder is looked in first.

    Args:
        what: whose path it is, for the error's text.

    Raises:
        ValueError: nothing is there, or its module fails while it is imported.
    """
    module, _, name = path.rpartition(".")
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        loaded = import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(f"{what}: {error}; install what it is from, or correct the name") from None
    except (Exception, SystemExit) as error:  # a module may raise anything
        raise ValueError(f"{what}: {module} cannot be imported: {in_one_line(error)}") from None
    register(loaded)
    try:
        return getattr(loaded, name)
    except AttributeError:
        raise ValueError(f"{what}: {module} has no {name}") from None


def register(module: Any) -> None:
    """Have what is defined in a module of the user's pickled by value, so that no other process need import it."""
    file = getattr(module, "__file__", None)
    if isinstance(file, str) and is_users(file):
        try:
            import cloudpickle
        except ImportError:  # it comes with the extra "study", without which nothing is sent anywhere
            return
        cloudpickle.register_pickle_by_value(module)
