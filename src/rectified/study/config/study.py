"""A study as one value: tasks, methods, learning rates and seeds."""

import itertools
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from ...files import expanded
from ...messages import shortened, shown
from ...workloads.numbers import learning_rate
from ...workloads.specs import LONGEST, split
from ...workloads.tasks import BaseTask, parse_task
from ...workloads.user_code import in_one_line, users_code
from .errors import InvalidOption
from .method import Method
from .methods import parse
from .runs import Run

if TYPE_CHECKING:
    from ..analysis.results import StudyResults

T = TypeVar("T")

Some = str | Sequence[T]
Control = Literal["matched-lr"]

_SEEDS = -(2**63), 2**64 - 1  # the range of torch's generators
_LARGEST = 10**9  # epochs, or examples in a batch: larger values are surely mistakes
_MOST = 10_000  # lrs, or seeds


@dataclass(frozen=True, init=False)
class Study:
    """A study: methods compared over learning rates and seeds on tasks.

    Flags, a TOML file and Python all make this value. Arguments left out take the task's defaults.

    Args:
        tasks: names such as ``"fashion-mnist"`` or ``"my_task.py"``, or :class:`rectified.study.Task` objects; a string
            may hold several names separated by commas.
        methods: names such as ``"adam+linear-500"``, see ``rectified study --help``, or :class:`Method` objects.
        lrs, seeds, batch_sizes: numbers.
        epochs: the epochs of each run.
        data: the folder that holds the tasks' data; found or fetched if None. For a task that takes your own text or
            images, the task's name then identifies them.
        vary: options by name, each with its values: every method is run with every combination of them.
        baseline: the method that the others are compared with; the first one if None.
        control: ``"matched-lr"``: also run every method that has a warmup without it, at lr times the warmup's mean
            omega over the run, and compare the two. A difference that remains is not due to the smaller lr.

    Raises:
        InvalidOption: a value is unknown, empty, out of range or duplicated.
        DataNotFoundError: ``data`` holds your own text or images, and something is wrong with them.

    >>> study = Study("fashion-mnist-mini", methods=["adam", "radam"], lrs=[0.01], seeds=range(3))
    >>> len(study.runs()), str(study.runs()[0].key)
    (6, 'adam lr 0.01 seed 0')
    """

    tasks: tuple[BaseTask, ...]
    methods: tuple[Method, ...] | None
    lrs: tuple[float, ...] | None
    seeds: tuple[int, ...] | None
    epochs: int | None
    batch_sizes: tuple[int, ...] | None
    vary: tuple[tuple[str, tuple[str, ...]], ...]
    baseline: str | None
    control: Control | None
    data: Path | None

    def __init__(
        self,
        tasks: BaseTask | Some[str | BaseTask],
        methods: Some[str | Method] | None = None,
        lrs: Sequence[float] | float | None = None,
        seeds: Iterable[int] | int | None = None,
        *,
        epochs: int | None = None,
        batch_sizes: Sequence[int] | int | None = None,
        vary: Mapping[str, Sequence[Any]] | None = None,
        baseline: str | Method | None = None,
        control: Control | None = None,
        data: Path | str | None = None,
    ) -> None:
        def keep(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        keep("data", None if data is None else _folder(data))
        keep("tasks", tuple(_task(task, self.data) for task in _several(tasks)))
        _once("tasks", [task.name for task in self.tasks])
        keep("methods", None if methods is None else _methods("methods", _several(methods)))
        keep("lrs", None if lrs is None else _numbers("lrs", lrs, float))
        keep("seeds", None if seeds is None else _numbers("seeds", seeds, int))
        keep("epochs", epochs)
        keep("batch_sizes", None if batch_sizes is None else _numbers("batch_sizes", batch_sizes, int))
        keep("vary", _axes(vary))
        keep("baseline", baseline.name if isinstance(baseline, Method) else baseline)
        keep("control", control)
        if control is not None and control not in get_args(Control):
            raise InvalidOption("control", control, f"it must be {' or '.join(get_args(Control))}")
        runs = self.runs()
        if control and not any(run.method.warms_up for run in runs):
            raise InvalidOption("control", control, "no method has a warmup, so there is nothing to match")
        names = list(dict.fromkeys(run.method.name for run in runs))
        if self.baseline is not None and self.baseline not in names:
            raise InvalidOption("baseline", self.baseline, f"the methods are {shortened(', '.join(names), 200)}")

    def runs(self) -> list[Run]:
        """Every run of the grid, ordered by task, batch size, method, lr and seed."""
        return [run for task in self.tasks for run in self._of(task)]

    def _of(self, task: BaseTask) -> Iterator[Run]:
        methods = _methods("methods", task.methods) if self.methods is None else self.methods
        if self.vary:
            methods = _methods("vary", list(self._varied([method.name for method in methods])))
        if self.control:
            methods = _with_controls(methods)
        sizes = (task.batch_size,) if self.batch_sizes is None else self.batch_sizes
        lrs = _numbers("lrs", task.lrs, float) if self.lrs is None else self.lrs
        seeds = _numbers("seeds", task.seeds, int) if self.seeds is None else self.seeds
        epochs = task.epochs if self.epochs is None else self.epochs
        _in_range(seeds, epochs, sizes)
        for size in sizes:
            if task.largest_batch is not None and size > task.largest_batch:
                raise InvalidOption(
                    "batch_sizes", size, f"{task.name} has training data for {task.largest_batch:,} at most"
                )
            steps = epochs * _steps(task, size)
            at = [_over(method, steps) for method in methods]
            _refuse_twins(at, lrs)
            for method in at:
                for lr in lrs if method.lr is None else (method.lr,):
                    for seed in seeds:
                        yield Run(task, method, lr, seed, epochs, size)

    def _varied(self, methods: Sequence[str]) -> Iterator[str]:
        """Each method's name with each combination of the varied options."""
        axes = [[f"{name}={value}" for value in values] for name, values in self.vary]
        for method in methods:
            for options in itertools.product(*axes):
                kept = f"{method[:-1]}," if method.endswith(")") else f"{method}("
                yield kept + ",".join(options) + ")"

    def as_dict(self) -> dict[str, Any]:
        """The study as names and numbers, as study.json holds it."""
        return {
            "tasks": [task.spec for task in self.tasks],
            "methods": self.methods and [method.name for method in self.methods],
            "lrs": self.lrs and list(self.lrs),
            "seeds": self.seeds and list(self.seeds),
            "epochs": self.epochs,
            "batch_sizes": self.batch_sizes and list(self.batch_sizes),
            "vary": {name: list(values) for name, values in self.vary},
            "baseline": self.baseline,
            "control": self.control,
        }

    @property
    def command(self) -> str:
        """The equivalent command line."""
        axes: dict[str, Sequence[object] | None] = {
            "--methods": self.methods and [method.name for method in self.methods],
            "--lrs": self.lrs,
            "--seeds": self.seeds,
            "--batch-sizes": self.batch_sizes,
        }
        words = ["rectified", "study", ",".join(task.spec for task in self.tasks)]
        words += [word for flag, values in axes.items() if values for word in (flag, ",".join(map(str, values)))]
        words += ["--epochs", str(self.epochs)] if self.epochs else []
        words += ["--vary", *(f"{name}={','.join(values)}" for name, values in self.vary)] if self.vary else []
        words += ["--baseline", self.baseline] if self.baseline else []
        words += ["--control", self.control] if self.control else []
        words += ["--data", str(self.data)] if self.data else []
        return shlex.join(words)

    def run(
        self,
        out: Path | str,
        *,
        workers: int | None = None,
        device: str = "cpu",
        executor: str = "local",
        checkpoint_every: float | None = None,
        run_minutes: float | None = None,
        gradients: int = 0,
        progress: bool = True,
    ) -> "StudyResults":
        """Execute the runs that the folder ``out`` does not hold yet, write tables and report, and return the results.

        To resume an interrupted study, run it again with the same folder.

        Args:
            out: the study's folder; created if it does not exist.
            workers: processes of one thread each; one per core, or per GPU, if None.
            device: ``"cpu"`` or ``"cuda"``.
            executor: ``"local"`` or ``"ray"``.
            checkpoint_every: seconds between checkpoints; if None, 30, or more if they are slow to write.
            run_minutes: the time limit of one run in minutes; no limit if None.
            gradients: the number of first steps for which to record gradient histograms.
            progress: whether to print progress.

        Raises:
            InvalidOption: an option is out of range.
            NotAStudyError: ``out`` holds something that is not a study, or another study is running in it.
            DataNotFoundError: the data is not here and cannot be fetched.
            OSError: the disk is full; results so far are intact, and the next call continues from there.
            KeyboardInterrupt: Ctrl-C; results so far are intact here too.
        """
        from ..runner import run_from_python

        return run_from_python(self, out, workers, device, executor, checkpoint_every, run_minutes, gradients, progress)


def _several(value: Any) -> list[Any]:
    """Turn a user's value into a list: a text with commas, one object, or several of either."""
    if isinstance(value, str):
        return list(split(value))
    return [value] if isinstance(value, BaseTask | Method) or not isinstance(value, Iterable) else list(value)


def _task(value: Any, data: Path | None) -> BaseTask:
    if isinstance(value, BaseTask):
        return value
    return _parsed("tasks", value, partial(parse_task, data=data), "a name or a Task")


def _method(name: str, value: Any) -> Method:
    if not isinstance(value, Method):
        return _parsed(name, value, parse, "a name or a Method")
    try:
        value.check()
    except ValueError as error:
        raise InvalidOption(name, value.name, str(error)) from error
    return value


def _folder(value: Any) -> Path:
    if not isinstance(value, str | Path):
        raise InvalidOption("data", value, "it must be a path")
    try:
        return expanded(value)
    except ValueError as error:
        raise InvalidOption("data", str(value), str(error)) from None


def _steps(task: BaseTask, batch_size: int) -> int:
    """The steps of an epoch, checked, since the task may be a user's."""
    try:
        steps = task.steps_per_epoch(batch_size)
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise ValueError(f"steps_per_epoch returned {shown(steps)}; it must return a whole number, at least 1")
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # for example, the data cannot fill a batch of that size
        raise InvalidOption("batch_sizes", batch_size, in_one_line(error)) from error
    return steps


def _over(method: Method, steps: int) -> Method:
    try:
        with users_code(f"method {shown(method.name)}"):  # a control evaluates its method's warmup
            return method.over(steps)
    except ValueError as error:
        raise InvalidOption("methods", method.name, str(error)) from error


def _parsed(name: str, value: Any, parse_text: Callable[[str], T], kinds: str) -> T:
    if not isinstance(value, str):
        raise InvalidOption(name, value, f"it must be {kinds}")
    try:
        return parse_text(value)
    except ValueError as error:
        raise InvalidOption(name, value, str(error)) from error


def _methods(name: str, values: Sequence[str | Method]) -> tuple[Method, ...]:
    methods = tuple(_method(name, value) for value in values)
    _once(name, [method.name for method in methods])
    return methods


def _with_controls(methods: Sequence[Method]) -> tuple[Method, ...]:
    """Insert each method's control after the method if it has a warmup, unless the control is listed."""
    names = {method.name for method in methods}
    found: list[Method] = []
    for method in methods:
        found.append(method)
        if method.warms_up and (control := method.control()).name not in names:
            found.append(control)
    return tuple(found)


def _numbers(name: str, values: Any, kind: type[T]) -> tuple[T, ...]:
    several = list(itertools.islice(_each(values), _MOST + 1))
    if len(several) > _MOST:
        raise InvalidOption(name, f"more than {_MOST:,}", "that is too many for a study; give fewer")
    found: list[Any] = []
    for value in several:
        try:
            found.append(learning_rate(value) if kind is float else _whole(value))
        except ValueError as error:
            raise InvalidOption(name, value, str(error)) from None
    _once(name, found)
    return tuple(found)


def _each(values: Any) -> Iterator[Any]:
    if not isinstance(values, Iterable) or isinstance(values, str | bytes):
        return iter([values])
    try:
        return iter(values)
    except TypeError:  # a tensor or an array without dimensions
        return iter([values])


def _whole(value: Any) -> int:
    try:
        number = None if isinstance(value, bool | str | bytes) else int(value)
        if number is not None and number == value:
            return number
    except Exception:  # int() of an arbitrary object may raise anything
        pass
    raise ValueError("it must be a whole number")


def _axes(vary: Any) -> tuple[tuple[str, tuple[str, ...]], ...]:
    if not isinstance(vary, Mapping | None):
        raise InvalidOption("vary", vary, "it must be a dict from options to their values")
    return tuple(_axis(name, values) for name, values in (vary or {}).items())


def _axis(name: Any, values: Any) -> tuple[str, tuple[str, ...]]:
    """One option to vary, with its values as they appear in a method's name."""
    texts = [value if isinstance(value, str) else shown(value, LONGEST) for value in _several(values)]
    if not isinstance(name, str) or not name.isidentifier() or not texts:
        raise InvalidOption(
            "vary", f"{name}={','.join(texts)}", "it must be an option with its values, such as beta2=0.9,0.999"
        )
    _once("vary", texts)
    return name, tuple(texts)


def _once(name: str, values: Sequence[Any]) -> None:
    """Reject an empty list and a list with duplicates."""
    if not values:
        raise InvalidOption(name, "empty", "give at least one")
    seen = set()
    for value in values:
        if value in seen:
            raise InvalidOption(name, value, "it appears twice")
        seen.add(value)


def _in_range(seeds: Sequence[int], epochs: int, batch_sizes: Sequence[int]) -> None:
    for seed in seeds:
        if not _SEEDS[0] <= seed <= _SEEDS[1]:
            raise InvalidOption("seeds", seed, f"it must be from {_SEEDS[0]} to {_SEEDS[1]}")
    if isinstance(epochs, bool) or not isinstance(epochs, int) or not 1 <= epochs <= _LARGEST:
        raise InvalidOption("epochs", epochs, f"it must be a whole number, at least 1{_at_most(epochs)}")
    for size in batch_sizes:
        if not 1 <= size <= _LARGEST:
            raise InvalidOption("batch_sizes", size, f"it must be at least 1{_at_most(size)}")


def _at_most(value: Any) -> str:
    return f" and at most {_LARGEST:,}" if isinstance(value, int) and value > _LARGEST else ""


def _refuse_twins(methods: Sequence[Method], lrs: Sequence[float]) -> None:
    """Reject two names that mean the same runs, such as adam and adam(eps=1e-8)."""

    def own(method: Method) -> Sequence[float]:
        return lrs if method.lr is None else (method.lr,)

    for method, other in itertools.combinations(methods, 2):
        shared = [lr for lr in own(method) if lr in own(other)]
        if shared and _same(method, other):
            raise InvalidOption(
                "methods", f"{method.name}, {other.name}", f"they are the same at lr {shared[0]:g}; give one of them"
            )


def _same(method: Method, other: Method) -> bool:
    try:
        with users_code(f"methods {shown(method.name)} and {shown(other.name)} cannot be compared"):
            return bool(method.same_as(other))
    except ValueError as error:
        raise InvalidOption("methods", f"{method.name}, {other.name}", str(error)) from error
