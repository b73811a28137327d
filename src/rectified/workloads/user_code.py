"""A user's own code: recognizing it, importing it, and locating its errors."""

import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from ..files import FULL
from ..messages import shortened, shown, text_of

_NOTHING = object()
_BY_VALUE = "<dynamic-code>"  # the file name of a function that cloudpickle unpickled
_OURS = Path(__file__).resolve().parents[1]
_INSTALLED = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")]


def is_users(file: str | Path) -> bool:
    """Whether a Python file belongs to the user: it is neither installed nor part of this package.

    >>> is_users("/home/me/thesis/my_task.py"), is_users(__file__)
    (True, False)
    """
    path = Path(file)
    if not path.is_absolute() or {"site-packages", "dist-packages"} & set(path.parts):  # also of an environment beneath
        return False
    path = path.resolve()
    return not any(path.is_relative_to(each) for each in (_OURS, *_INSTALLED))


def is_installed(name: str) -> bool:
    """Whether a module with that name is installed, so that a file with the name would hide it.

    >>> is_installed("random"), is_installed("torch"), is_installed("my_task")
    (True, True, False)
    """
    folders = [str(folder) for folder in _INSTALLED]
    return name in sys.stdlib_module_names or PathFinder.find_spec(name, folders) is not None


def in_one_line(error: BaseException) -> str:
    """An error as ``my_task.py, line 7: NameError: ...``, with the last line of the user's code in its traceback.

    For a ValueError or TypeError that this package raised itself, only its message.
    """
    if isinstance(error, SyntaxError) and error.filename and is_users(error.filename):
        return f"{Path(error.filename).name}, line {error.lineno}: {type(error).__name__}: {error.msg}"
    said, name = text_of(error), type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    ours = frames and Path(frames[-1].filename).resolve().is_relative_to(_OURS)
    refused = type(error) in (ValueError, TypeError) and ours
    what = said if refused or said == name else f"{name}: {said}"
    for frame in reversed(frames):
        if is_users(frame.filename):
            return f"{Path(frame.filename).name}, line {frame.lineno}: {what}"
        if frame.filename == _BY_VALUE:
            return f"line {frame.lineno} of {frame.name}'s file: {what}"
    return what


@contextmanager
def users_code(what: str, passed: tuple[type[BaseException], ...] = ()) -> Iterator[None]:
    """A context for a user's code: any error in it becomes a one-line ValueError with the error as its cause.

    Ctrl-C passes through, and so does a full disk, which is not the code's fault.

    Args:
        what: what the code belongs to, for errors.
        passed: other errors that pass through.

    Raises:
        ValueError: the code raised anything, SystemExit included.

    >>> with users_code("method 'mine'"):
    ...     raise SystemExit(3)
    Traceback (most recent call last):
    ValueError: method 'mine': SystemExit: 3
    """
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if isinstance(error, passed) or (isinstance(error, OSError) and error.errno in FULL):
            raise
        raise ValueError(f"{what}: {in_one_line(error)}") from error


def imported(what: str, path: str) -> Any:
    """Import the object at a dotted path, such as ``my_warmups.Cosine``; the current folder comes first.

    Args:
        what: what the path belongs to, for errors.

    Raises:
        ValueError: there is no such object, or importing its module fails.
    """
    module, _, name = path.rpartition(".")
    if not all(part.isidentifier() for part in path.split(".")):
        raise ValueError(f"{what}: {shown(path)} is not a dotted path, such as my_warmups.Cosine")
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        with users_code(f"{what}: {shortened(module)} cannot be imported", passed=(ModuleNotFoundError,)):
            loaded = import_module(module)
            register(loaded)
    except ModuleNotFoundError as error:
        raise ValueError(f"{what}: {_absent(error)}; install its package or correct the name") from error
    with users_code(f"{what}: {module}.{name}"):
        found = getattr(loaded, name, _NOTHING)
    if found is _NOTHING:
        raise ValueError(f"{what}: {module} has no {name}")
    return found


def _absent(error: ModuleNotFoundError) -> str:
    """Which module is missing, with the line of the user's module that imports it, if any."""
    return in_one_line(error).replace(f"{type(error).__name__}: ", "", 1)


def register(module: Any) -> None:
    """Pickle a user's module by value, so that other processes need not import it."""
    file = file_of(module)
    if file and is_users(file):
        try:
            import cloudpickle
        except ImportError:  # part of the extra "study", without which nothing is sent to other processes
            return
        cloudpickle.register_pickle_by_value(module)


def file_of(module: Any) -> str | None:
    """The file of a module, read from its dict, since a lazy module's ``__getattr__`` may raise anything."""
    try:
        file = vars(module).get("__file__")
    except TypeError:  # anything can stand in sys.modules
        return None
    return file if isinstance(file, str) else None
