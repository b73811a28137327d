"""Loading a task from a user's file, and preparing it for processes that cannot import the file."""

import ast
import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeGuard

from ...files import expanded
from ...messages import shortened, shown
from ..user_code import file_of, in_one_line, is_users
from .task import BaseTask
from .user_task import Task

_FILE = re.compile(r"(?P<file>.+\.py)(?::(?P<name>\w+))?")
_MODULE = re.compile(r"(?P<module>[A-Za-z_][\w.]*):(?P<name>\w+)")
_OPTIONS = re.compile(r"(?P<task>.+(?:\.py|:\w+))\(.*\)")


@dataclass(frozen=True)
class _Loaded:
    """A user's module that was loaded, and the user's modules that it imports.

    Attributes:
        modules: the module and all other user modules that it imports.
        folder: the folder of these modules.
        version: a digest of their files.
    """

    modules: tuple[ModuleType, ...]
    folder: Path
    version: str

    def is_current(self) -> bool:
        """Whether the files are unchanged."""
        return _digest(self.modules, self.folder) == self.version


_LOADED: dict[Path | str, _Loaded] = {}


def is_file_of_a_user(text: str) -> bool:
    """Whether the text names a task in a file or module instead of a built-in task.

    >>> [is_file_of_a_user(text) for text in ("my_task.py", "~/a/b.py:GRU", "package.module:GRU", "cifar10(subset=5)")]
    [True, True, True, False]
    """
    return any(shape.fullmatch(text.strip()) for shape in (_FILE, _MODULE, _OPTIONS))


def load_task(text: str) -> BaseTask:
    """Load a task from a user's file or module.

    Args:
        text: ``my_task.py`` if the file has a single task, ``my_task.py:NAME``, or ``package.module:NAME``; relative to
            the current folder. A file's folder, or the current folder for a module, is added to ``sys.path``.

    Returns:
        The task with its `version`, a digest of the file and of all modules in its folder that it imports. Until one of
        these changes, the same object is returned. The modules are registered with cloudpickle, so that their functions
        and classes are pickled by value.

    Raises:
        ValueError: there is no such file, it fails to run, it holds no task or several, or options in parentheses are
            given. The message has one line; for an error in the user's code it names the file and line.
    """
    text = text.strip()
    if _OPTIONS.fullmatch(text):
        raise ValueError(
            f"task {shown(text)} has options in parentheses, which only built-in tasks take; set the values in the "
            "file, or add a second Task there and name it"
        )
    loaded, name = _load_named(text, f"task {shown(text)}", "my_task.py, my_task.py:NAME or package.module:NAME")
    _check_names(loaded.modules[0], text)
    task = _named(loaded.modules[0], text, name) if name else _only(loaded.modules[0], text)
    if (task.version, task.written_as) != (loaded.version, text):
        object.__setattr__(task, "version", loaded.version)
        object.__setattr__(task, "written_as", text)
    return task


def load_object(text: str, what: str) -> Any:
    """Load an object from a user's file or module, as :func:`load_task` does.

    Args:
        text: ``my_script.py:NAME`` or ``package.module:NAME``, relative to the current folder.
        what: what the object is, for errors.

    Raises:
        ValueError: there is no such file or object, or the file fails to run.
    """
    text = text.strip()
    loaded, name = _load_named(text, f"{what} {shown(text)}", "my_script.py:NAME or package.module:NAME")
    names = vars(loaded.modules[0])
    if not name:
        raise ValueError(f"{what} {shown(text)} names a file alone; write {text}:NAME, with the name of the function")
    if name not in names:
        there = ", ".join(own for own, value in names.items() if callable(value) and not own.startswith("_"))
        raise ValueError(f"{what} {shown(text)}: there is no {shortened(name)} in it; it has {shortened(there, 200)}")
    return names[name]


def _load_named(text: str, what: str, forms: str) -> tuple[_Loaded, str | None]:
    """Load the module that a text names; return it with the name after the colon, if any."""
    if shape := _FILE.fullmatch(text):
        path = expanded(shape["file"])
        if not _is_file(path):
            where = shortened(str(path), 80)
            way = f"; rectified init {where} writes one" if what.startswith("task") else ""
            raise ValueError(f"{what}: there is no file {where} in {Path.cwd()}{way}")
        return _load(path.resolve(), path.stem, path.resolve().parent, what), shape["name"]
    if shape := _MODULE.fullmatch(text):
        return _load(shape["module"], shape["module"], Path.cwd().resolve(), what), shape["name"]
    raise ValueError(f"{shown(text)} does not name a file; write {forms}")


def changed_since(task: BaseTask, versions: Iterable[str]) -> str | None:
    """A note if runs of a study used other versions of the task's file; None otherwise.

    Args:
        versions: the version of each run in the study with this task's name.

    >>> from types import SimpleNamespace as Some
    >>> changed_since(Some(name="gru", written_as="gru.py", version="b2"), ["a1", "a1", "b2"])
    "gru.py has changed since 2 of this study's runs of gru: they count as another task's (version a1; it is b2 now)"
    """
    others = [version for version in versions if version != task.version]
    if not others:
        return None
    runs = "1 of this study's runs" if len(others) == 1 else f"{len(others)} of this study's runs"
    kinds = ", ".join(dict.fromkeys(version or "none" for version in others))
    what = "it counts" if len(others) == 1 else "they count"
    return (
        f"{task.written_as or task.name} has changed since {runs} of {task.name}: {what} as another task's (version "
        f"{kinds}; it is {task.version} now)"
    )


def _named(module: ModuleType, text: str, name: str) -> BaseTask:
    found = vars(module).get(name)
    if issubclass(type(found), BaseTask):  # not isinstance, which would run a __class__ of the user's
        return found  # type: ignore[return-value]
    there = ", ".join(_tasks(module)) or "none"
    if name not in vars(module):
        raise ValueError(f"task {shown(text)}: there is no {shortened(name)} in it; its tasks: {there}")
    raise ValueError(f"task {shown(text)}: {name} is a {type(found).__name__}, not a Task; its tasks: {there}")


def _only(module: ModuleType, text: str) -> BaseTask:
    tasks = _tasks(module)
    if not tasks:
        raise ValueError(f"task {shown(text)}: the file has no Task; add task = Task(model=..., train=..., ...)")
    if len(tasks) > 1:
        raise ValueError(f"task {shown(text)}: the file has {', '.join(tasks)}; name one: {text}:{next(iter(tasks))}")
    return next(iter(tasks.values()))


def _tasks(module: ModuleType) -> dict[str, Task]:
    """The module's tasks by name, without duplicates."""
    found: dict[int, tuple[str, Task]] = {}
    for name, value in vars(module).items():
        if _is_task(value):
            found.setdefault(id(value), (name, value))
    return dict(found.values())


def _is_task(value: Any) -> TypeGuard[Task]:
    try:
        return isinstance(value, Task)
    except Exception:  # a user's object may fake its __class__
        return False


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # the name is too long, or its folder is not accessible
        return False


def _load(key: Path | str, name: str, folder: Path, what: str) -> _Loaded:
    """Load a module, or return the loaded one if none of its files has changed."""
    before = _LOADED.get(key)
    if before is not None and before.folder == folder and before.is_current():
        return before
    _make_way(key, folder)
    sys.path[:] = [str(folder), *(each for each in sys.path if each != str(folder))]
    importlib.invalidate_caches()
    already = set(sys.modules)
    try:
        module = _run(key, _free(name)) if isinstance(key, Path) else importlib.import_module(name)
    except BaseException as error:  # a module may raise anything
        for new in set(sys.modules) - already:
            if _is_own(sys.modules[new], folder):
                del sys.modules[new]
        if isinstance(error, KeyboardInterrupt):
            raise
        absent = isinstance(error, ModuleNotFoundError) and error.name == name  # there is no such file
        hidden = isinstance(error, ImportError) and not absent and (error.name or "").partition(".")[0] == name
        advice = f"; the file hides the package {shortened(name)}: rename the file" if hidden else ""
        raise ValueError(f"{what} does not load: {in_one_line(error)}{advice}") from error
    if not (file_of(module) or "").endswith(".py"):
        raise ValueError(f"{what}: {name} is not a module with a Python file; name the module that holds it")
    loaded_now = [sys.modules[each] for each in sorted(set(sys.modules) - already)]
    others = {id(each): each for each in [*loaded_now, *_imported(module, folder)] if _is_own(each, folder)}
    others.pop(id(module), None)
    modules = (module, *others.values())
    _LOADED[key] = loaded = _Loaded(modules, folder, _digest(modules, folder))
    _register(modules, folder)
    return loaded


def _run(path: Path, name: str) -> ModuleType:
    """Run a file as a module, compiled from source, since cached bytecode misses changes within the same second."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    exec(compile(path.read_bytes(), str(path), "exec"), vars(module))
    return module


def _free(stem: str) -> str:
    """A unique name for the module, even if the file is called random.py."""
    taken = stem in sys.modules or stem in sys.stdlib_module_names or not stem.isidentifier()
    return f"task_{re.sub(r'[^0-9A-Za-z_]', '_', stem)}" if taken else stem


def _make_way(key: Path | str, folder: Path) -> None:
    """Forget modules whose files changed, and modules from other folders that share a name with this one."""
    for other, loaded in list(_LOADED.items()):
        stale = other == key or not loaded.is_current()
        if stale or loaded.folder != folder:
            for module in loaded.modules:
                if sys.modules.get(module.__name__) is module and _is_own(module, loaded.folder):
                    del sys.modules[module.__name__]
        if stale:
            del _LOADED[other]


def _imported(module: ModuleType, folder: Path) -> Iterator[ModuleType]:
    """The user's modules that this one imports, directly or indirectly, even if they were loaded before it."""
    waiting, seen = [module], {module.__name__}
    while waiting:
        one = waiting.pop()
        yield one
        for name in _names(one):
            found = sys.modules.get(name)
            if name not in seen and found is not None and _is_own(found, folder):
                waiting.append(found)
            seen.add(name)


def _names(module: ModuleType) -> Iterator[str]:
    """Every name that the module's source may import, with the packages around it."""
    for node in ast.walk(ast.parse(Path(str(module.__file__)).read_bytes())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = (module.__package__ or "").split(".")
            base = package[: len(package) - node.level + 1] if node.level else []
            whole = ".".join([*base, *([node.module] if node.module else [])])
            names = [whole, *(f"{whole}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def _is_own(module: ModuleType, folder: Path) -> bool:
    """Whether a module's file is inside the folder and not installed."""
    file = file_of(module)
    if not file or not file.endswith(".py") or vars(module).get("__name__") == "__main__":
        return False
    return is_users(file) and Path(file).resolve().is_relative_to(folder)


def _digest(modules: Iterable[ModuleType], folder: Path) -> str:
    """A digest of the modules' files by name and content: ten hex digits."""
    digest = hashlib.sha256()
    for path in sorted({Path(str(module.__file__)).resolve() for module in modules}):
        name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
        try:
            content = path.read_bytes()
        except OSError:  # a missing file counts as a change
            content = b""
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:10]


def _register(modules: Iterable[ModuleType], folder: Path) -> None:
    """Pickle these modules by value."""
    try:
        import cloudpickle
    except ImportError:  # missing without the extra "study", and then nothing is sent to other processes
        return
    for module in modules:
        if _is_own(module, folder):
            cloudpickle.register_pickle_by_value(module)


def _check_names(module: ModuleType, text: str) -> None:
    """Reject two tasks with the same name in one file, which could not be distinguished."""
    by_name: dict[str, str] = {}
    for variable, task in _tasks(module).items():
        other = by_name.setdefault(task.name, variable)
        if other != variable:
            raise ValueError(
                f"task {shown(text)}: {other} and {variable} are both named {task.name!r}; give each its own, "
                f'{variable} = Task("{variable.lower()}", ...)'
            )
