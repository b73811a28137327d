"""A user's own code: which it is, how it is imported, and where in it an error came from."""

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
_BY_VALUE = "<dynamic-code>"  # the file of a function that cloudpickle has brought
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
    """An error as ``my_task.py, line 7: NameError: ...``: the last line of the user's that it came through.

    A ValueError or TypeError that this package raised itself is its text alone.
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
    """Run code that may be a user's: whatever it raises is a ValueError of one line, with the error as its cause.

    Ctrl-C comes through, and so does a full disk, which is no fault of the code.

    Args:
        what: whose code it is, for the error's text.
        passed: other errors that come through.

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
    """What is at a dotted path, such as ``my_warmups.Cosine``; the current folder is looked in first.

    Args:
        what: whose path it is, for the error's text.

    Raises:
        ValueError: nothing is there, or its module fails while it is imported.
    """
    module, _, name = path.rpartition(".")
    if not all(part.isidentifier() for part in path.split(".")):
        raise ValueError(f"{what}: {shown(path)} is no dotted path, such as my_warmups.Cosine")
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        with users_code(f"{what}: {shortened(module)} cannot be imported", passed=(ModuleNotFoundError,)):
            loaded = import_module(module)
            register(loaded)
    except ModuleNotFoundError as error:
        raise ValueError(f"{what}: {_absent(error)}; install what it is from, or correct the name") from error
    with users_code(f"{what}: {module}.{name}"):
        found = getattr(loaded, name, _NOTHING)
    if found is _NOTHING:
        raise ValueError(f"{what}: {module} has no {name}")
    return found


def _absent(error: ModuleNotFoundError) -> str:
    """Which module is not there; with the user's line, where a module of theirs imports it."""
    return in_one_line(error).replace(f"{type(error).__name__}: ", "", 1)


def register(module: Any) -> None:
    """Have what is defined in a module of the user's pickled by value, so that no other process need import it."""
    file = file_of(module)
    if file and is_users(file):
        try:
            import cloudpickle
        except ImportError:  # it comes with the extra "study", without which nothing is sent anywhere
            return
        cloudpickle.register_pickle_by_value(module)


def file_of(module: Any) -> str | None:
    """The file of a module; read from its dict, since a lazy module's ``__getattr__`` may raise anything."""
    try:
        file = vars(module).get("__file__")
    except TypeError:  # anything can stand in sys.modules
        return None
    return file if isinstance(file, str) else None
