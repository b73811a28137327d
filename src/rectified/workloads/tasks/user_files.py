"""A user's file as a task: found, run, checked, and made fit to travel to processes that cannot import it."""

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
    """A user's module, and what belongs to it.

    Attributes:
        modules: it, and all other modules of the user's that it imports.
        folder: where they are.
        version: a digest of their files.
    """

    modules: tuple[ModuleType, ...]
    folder: Path
    version: str

    def is_current(self) -> bool:
        """Whether the files are what they were."""
        return _digest(self.modules, self.folder) == self.version


_LOADED: dict[Path | str, _Loaded] = {}


def is_file_of_a_user(text: str) -> bool:
    """Whether the text names a task in a file or module, and no built-in one.

    >>> [is_file_of_a_user(text) for text in ("my_task.py", "~/a/b.py:GRU", "package.module:GRU", "cifar10(subset=5)")]
    [True, True, True, False]
    """
    return any(shape.fullmatch(text.strip()) for shape in (_FILE, _MODULE, _OPTIONS))


def load_task(text: str) -> BaseTask:
    """The task in a file or a module of the user's.

    Args:
        text: ``my_task.py`` where the file has one task, ``my_task.py:NAME``, or ``package.module:NAME``; found in the
            current folder, which for a module is put on ``sys.path``, as a file's own folder is.

    Returns:
        The task with its `version`, a digest of the file and of all modules in its folder that it imports. While none
        of these changes it is the same object. The modules are registered with cloudpickle, so that their functions and
        classes are pickled with what they are, and not by a name to be imported.

    Raises:
        ValueError: there is no such file, it does not run, it holds no task or several, or options in parentheses are
            given. One line; for an error of the user's code with its file and line.
    """
    text = text.strip()
    if shape := _OPTIONS.fullmatch(text):
        raise ValueError(
            f"task {shown(text)} has options in parentheses, which only built-in tasks take; write the values in the "
            "file, or a second Task there, and name that one"
        )
    if shape := _FILE.fullmatch(text):
        path = expanded(shape["file"])
        if not _is_file(path):
            where = shortened(str(path), 80)
            raise ValueError(
                f"task {shown(text)}: there is no file {where} in {Path.cwd()}; rectified init {where} writes one"
            )
        loaded = _load(path.resolve(), path.stem, path.resolve().parent, text)
        name = shape["name"]
    elif shape := _MODULE.fullmatch(text):
        loaded = _load(shape["module"], shape["module"], Path.cwd().resolve(), text)
        name = shape["name"]
    else:
        raise ValueError(f"{shown(text)} names no file; write my_task.py, my_task.py:NAME or package.module:NAME")
    _check_names(loaded.modules[0], text)
    task = _named(loaded.modules[0], text, name) if name else _only(loaded.modules[0], text)
    if (task.version, task.written_as) != (loaded.version, text):
        object.__setattr__(task, "version", loaded.version)
        object.__setattr__(task, "written_as", text)
    return task


def changed_since(task: BaseTask, versions: Iterable[str]) -> str | None:
    """What to say where runs of a study are of other versions of the task's file; None where there are none.

    Args:
        versions: of the study's runs of a task of this name, one a run.

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
    if issubclass(type(found), BaseTask):
        return found  # type: ignore[return-value]
    there = ", ".join(_tasks(module)) or "none"
    if name not in vars(module):
        raise ValueError(f"task {shown(text)}: there is no {shortened(name)} in it; its tasks: {there}")
    raise ValueError(f"task {shown(text)}: {name} is a {type(found).__name__}, no Task; its tasks: {there}")


def _only(module: ModuleType, text: str) -> BaseTask:
    tasks = _tasks(module)
    if not tasks:
        raise ValueError(
            f"task {shown(text)}: the file holds no Task; write task = Task(model=..., train=..., ...) in it"
        )
    if len(tasks) > 1:
        raise ValueError(f"task {shown(text)}: the file holds {', '.join(tasks)}; name one: {text}:{next(iter(tasks))}")
    return next(iter(tasks.values()))


def _tasks(module: ModuleType) -> dict[str, Task]:
    """The module's tasks by name, each once."""
    found: dict[int, tuple[str, Task]] = {}
    for name, value in vars(module).items():
        if _is_task(value):
            found.setdefault(id(value), (name, value))
    return dict(found.values())


def _is_task(value: Any) -> TypeGuard[Task]:
    try:
        return isinstance(value, Task)
    except Exception:  # a user's object decides what its __class__ is
        return False


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # the name is too long, or its folder is closed
        return False


def _load(key: Path | str, name: str, folder: Path, text: str) -> _Loaded:
    """The module, as it was loaded before if no file of it has changed."""
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
        advice = f"; the file hides the package {shortened(name)}: give it another name" if hidden else ""
        raise ValueError(f"task {shown(text)} does not load: {in_one_line(error)}{advice}") from error
    if not (file_of(module) or "").endswith(".py"):
        raise ValueError(
            f"task {shown(text)}: {name} is no module with a file of Python; name the module that holds the Task"
        )
    loaded_now = [sys.modules[each] for each in sorted(set(sys.modules) - already)]
    others = {id(each): each for each in [*loaded_now, *_imported(module, folder)] if _is_own(each, folder)}
    others.pop(id(module), None)
    modules = (module, *others.values())
    _LOADED[key] = loaded = _Loaded(modules, folder, _digest(modules, folder))
    _register(modules, folder)
    return loaded


def _run(path: Path, name: str) -> ModuleType:
    """The file as a module. Compiled from what is there: a cached one may be of a change within the same second."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    exec(compile(path.read_bytes(), str(path), "exec"), vars(module))
    return module


def _free(stem: str) -> str:
    """A name for the module that is nobody else's, also where a file is called random.py."""
    taken = stem in sys.modules or stem in sys.stdlib_module_names or not stem.isidentifier()
    return f"task_{re.sub(r'[^0-9A-Za-z_]', '_', stem)}" if taken else stem


def _make_way(key: Path | str, folder: Path) -> None:
    """Have imports read files again that have changed, and find none of another folder under a name of this one."""
    for other, loaded in list(_LOADED.items()):
        stale = other == key or not loaded.is_current()
        if stale or loaded.folder != folder:
            for module in loaded.modules:
                if sys.modules.get(module.__name__) is module and _is_own(module, loaded.folder):
                    del sys.modules[module.__name__]
        if stale:
            del _LOADED[other]


def _imported(module: ModuleType, folder: Path) -> Iterator[ModuleType]:
    """The user's modules that this one imports, and those import: also such as were there before it."""
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
    """Everything that the module's text may import, with the packages around it."""
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
    """Whether a module's file is beneath the folder, and not installed."""
    file = file_of(module)
    if not file or not file.endswith(".py") or vars(module).get("__name__") == "__main__":
        return False
    return is_users(file) and Path(file).resolve().is_relative_to(folder)


def _digest(modules: Iterable[ModuleType], folder: Path) -> str:
    """Of the modules' files, by name and content: ten hex digits."""
    digest = hashlib.sha256()
    for path in sorted({Path(str(module.__file__)).resolve() for module in modules}):
        name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
        try:
            content = path.read_bytes()
        except OSError:  # it is gone: that is a change
            content = b""
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:10]


def _register(modules: Iterable[ModuleType], folder: Path) -> None:
    """Have what is defined in these modules pickled by value."""
    try:
        import cloudpickle
    except ImportError:  # not with the extra "study", and then nothing is sent anywhere
        return
    for module in modules:
        if _is_own(module, folder):
            cloudpickle.register_pickle_by_value(module)


def _check_names(module: ModuleType, text: str) -> None:
    """Two tasks of one file and one name would be taken for the same."""
    by_name: dict[str, str] = {}
    for variable, task in _tasks(module).items():
        other = by_name.setdefault(task.name, variable)
        if other != variable:
            raise ValueError(
                f"task {shown(text)}: {other} and {variable} are both named {task.name!r}; give each its own, "
                f'{variable} = Task("{variable.lower()}", ...)'
            )
