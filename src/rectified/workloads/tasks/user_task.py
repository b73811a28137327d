"""The class of users' tasks: a model, data and metrics as plain functions and objects."""

import math
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...messages import shown
from ..batches import examples
from ..numbers import is_finite, learning_rate
from ..sources import Collate, Source, kind
from ..specs import split
from ..user_code import users_code
from .lr_decay import NO_DECAY, LrSchedule
from .task import BaseTask, Say
from .user_data import source
from .user_metric import Measure, default_loss

# Models that were or will be trained, to detect a factory that returns the same model twice.
_MADE: "weakref.WeakSet[nn.Module]" = weakref.WeakSet()


class Task(BaseTask):
    """Your own task, made from the parts of a training script: a model, data, a loss and a metric.

    Write it in a file, and ``rectified study my_task.py`` compares methods on it; docs/your-own-task.md shows how.

    Args:
        name: its name in results and reports; the file's name without ``.py`` if None.
        model: a function that makes a new model, with weights drawn from torch's global generator.
        train: the training data. A map-style ``Dataset`` (or a list of examples), a tensor, or a tuple or dict of
            tensors: the study draws the order. A ``DataLoader`` over a map-style data set: the same, with its
            ``batch_size``, ``collate_fn`` and ``drop_last``. A function of ``(batch_size, generator)`` that returns or
            yields batches and draws random numbers from torch. A ``DataLoader`` over an ``IterableDataset``, any other
            iterable of batches, or a function without arguments that returns one: a resumed run restarts its epoch.
        loss: a function of ``(model, batch)`` to a scalar tensor, the mean over the batch. If None: cross entropy of
            ``model(inputs)`` for batches of ``(inputs, class numbers)``, ``model(**batch).loss`` for dicts.
        evaluate: a function of ``model`` to a dict of floats, or to one float, the metric. It is called after every
            epoch, without gradients, with the model in eval mode on its device. May be None if `valid` is given.
        valid: the data to measure on if there is no `evaluate`, in any form that `train` may have. It gives
            ``valid_loss``, and ``valid_accuracy`` in percent if the loss is the default cross entropy.
        metric: the metric that methods are compared by, one of the names that `evaluate` returns. If None, the first
            one, for which `evaluate` is called once, on an untrained model, when the task is made.
        choose_by: the metric that chooses an lr, if `evaluate` measures another split for that, such as
            ``choose_by="valid_accuracy"`` with ``metric="test_accuracy"``. The metric itself if None.
        larger_is_better: the metric's direction; may be None if the name implies it, as for ``valid_loss``.
        metric_label: the metric's label on an axis: a name, or "name, unit".
        margin: differences smaller than this do not matter in practice, in the metric's unit. If None, 0.02 for a loss
            (set another one if it is not in nats), and 1 for the ``valid_accuracy`` of `valid`.
        chance: the metric of a model that has learned nothing, in its own unit: for three classes, ``100 / 3`` for an
            accuracy in percent, ``math.log(3)`` for a loss in nats. A run that diverged counts as having ended there.
        methods, lrs, seeds, epochs: what to compare by default.
        batch_size: examples per batch; if None, the DataLoader's, or 32.
        steps_per_epoch: batches per epoch, if not all of `train`. Required if the length of `train` is unknown.
        weight_decay, clip, schedule: as for every task; see :class:`~.task.BaseTask`.
        weight: a function of ``batch`` to the number of items that the loss is a mean over, if not examples: tokens.
        collate: makes a batch from a list of examples; torch's default if None.
        title: the title in reports; the name if None.

    Raises:
        ValueError: an argument is invalid; the message says what it is and what it must be.

    >>> task = Task("line", model=lambda: nn.Linear(1, 1), train=(torch.randn(64, 1), torch.zeros(64, 1)),
    ...             loss=lambda model, batch: (model(batch[0]) - batch[1]).square().mean(),
    ...             evaluate=lambda model: {"slope": abs(float(model.weight))}, larger_is_better=False, margin=0.01)
    >>> task.metric, task.batch_size, task.steps_per_epoch(32), task.methods
    ('slope', 32, 2, ('adam', 'radam', 'adam+untuned-linear'))
    """

    options = ()

    def __init__(
        self,
        name: str | None = None,
        *,
        model: Callable[[], nn.Module],
        train: Any,
        loss: Callable[[Any, Any], Tensor] | None = None,
        evaluate: Callable[[Any], Mapping[str, Any] | float] | None = None,
        valid: Any = None,
        metric: str | None = None,
        choose_by: str | None = None,
        larger_is_better: bool | None = None,
        metric_label: str | None = None,
        margin: float | None = None,
        chance: float | None = None,
        methods: str | Iterable[str] = ("adam", "radam", "adam+untuned-linear"),
        lrs: Iterable[float] = (0.0003, 0.001, 0.003, 0.01),
        seeds: Iterable[int] = (0, 1, 2),
        epochs: int = 5,
        batch_size: int | None = None,
        steps_per_epoch: int | None = None,
        weight_decay: float = 0.0,
        clip: float = math.inf,
        schedule: LrSchedule = NO_DECAY,
        weight: Callable[[Any], int] | None = None,
        collate: Collate | None = None,
        title: str | None = None,
    ) -> None:
        if name is None:
            name = Path(sys._getframe(1).f_globals.get("__file__") or "task").stem
        _check_name(name)
        _check_functions(model=model, loss=loss, evaluate=evaluate, weight=weight, schedule=schedule, collate=collate)
        for what, value in (("epochs", epochs), ("batch_size", batch_size), ("steps_per_epoch", steps_per_epoch)):
            if value is not None and (type(value) is not int or value < 1):
                raise ValueError(f"{what} is {value!r}; it must be a whole number, 1 or more")
        if chance is not None and (
            isinstance(chance, bool) or not isinstance(chance, int | float) or not is_finite(chance)
        ):
            raise ValueError(
                f"chance is {chance!r}; it must be a finite number: the metric of a model that has learned nothing, "
                "such as 10.0 for an accuracy in percent of ten classes"
            )
        if evaluate is None and valid is None:
            raise ValueError(
                "evaluate is missing; pass evaluate=, a function of the model, or valid=, data to measure on"
            )
        if evaluate is not None and valid is not None:
            raise ValueError("evaluate and valid are both given; pass only evaluate=, which can measure anything")
        data = source("train", train, batch_size, steps_per_epoch, collate)
        held_out = None if valid is None else source("valid", valid, collate=collate)
        for attribute, part in {
            "_model": model, "_loss": loss or default_loss, "_weight": weight or examples, "_train": data,
            "_valid": held_out, "_evaluate": evaluate, "_chance": None if chance is None else float(chance),
        }.items():  # fmt: skip
            object.__setattr__(self, attribute, part)  # the class is frozen, as every task is
        first = self._first_measured() if evaluate is not None and metric is None else None
        found = Measure.of(
            first or (("valid_loss", "valid_accuracy") if evaluate is None else self._first_measured),
            metric, larger_is_better, metric_label, margin, ours=evaluate is None, nats=loss is None,
        )  # fmt: skip
        if first is not None and choose_by is not None and choose_by not in first:
            raise ValueError(f"choose_by is {choose_by!r}, but evaluate returned {', '.join(first)}; name one of them")
        object.__setattr__(self, "_chosen_by", found.of_another_split(choose_by, ours=evaluate is None))
        size = data.batch_size or min(32, getattr(data, "size", 32))
        super().__init__(
            name=name, title=title or name, metric=found.name, metric_label=found.label,
            larger_is_better=found.larger_is_better, margin=found.margin,
            methods=tuple(split(methods) if isinstance(methods, str) else methods),
            lrs=_lrs(lrs), seeds=tuple([seeds] if isinstance(seeds, int) else seeds),
            epochs=epochs, batch_size=size, weight_decay=weight_decay, clip=clip, schedule=schedule,
            resumable=data.resumable,
        )  # fmt: skip
        self.steps_per_epoch(size)

    _model: Callable[[], nn.Module]
    _loss: Callable[[Any, Any], Tensor]
    _weight: Callable[[Any], int]
    _train: Source
    _valid: Source | None
    _evaluate: Callable[[Any], Mapping[str, Any] | float] | None
    _chance: float | None
    _chosen_by: tuple[str, str] | None

    @property
    def chance(self) -> float | None:
        return self._chance

    @property
    def chosen_by(self) -> tuple[str, str] | None:
        return self._chosen_by

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the tensors that :meth:`load` returns, which processes share."""
        state = dict(self.__dict__)
        for name in ("_train", "_valid"):
            if state[name] is not None:
                state[name] = state[name].with_data(None)
        return state

    def __copy__(self) -> "Task":
        return self  # immutable; a copy via __getstate__ would lose its tensors

    def __deepcopy__(self, memo: Any) -> "Task":
        return self

    def find(self, folder: Path | None, say: Say, fetch: bool = True) -> Path:
        """Try the task with a model, a batch and its loss, and print notes about `train`; there is no folder to find.

        Raises:
            ValueError: the task does not run, or a folder is named.
        """
        if folder is not None:
            raise ValueError(f"task {self.name} has its own data; --data is for built-in tasks")
        for note in self._train.notes if fetch else ():
            say(f"{self.name}: {note}")
        with users_code(f"task {self.name} does not run"), torch.random.fork_rng(devices=[]):
            model, data = self.model(None), self.load(Path())
            self.loss(model, next(self.batches(data, self.batch_size, torch.Generator())))
        return Path()

    def load(self, folder: Path) -> Any:
        """The tensors of `train` and `valid`, if they consist only of tensors.

        Raises:
            RuntimeError: the task came from another process, which sends these tensors separately.
        """
        return self._train.data, None if self._valid is None else self._valid.data

    def steps_per_epoch(self, batch_size: int) -> int:
        return self._train.count(batch_size)

    def model(self, data: Any) -> nn.Module:
        model = self._model()
        if not isinstance(model, nn.Module):
            raise ValueError(f"model returned {kind(model)}; it must return a torch.nn.Module")
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise ValueError(f"model returned a {type(model).__name__} without parameters to train; it must have some")
        if model in _MADE:
            raise ValueError(
                f"model returned the same {type(model).__name__} twice; it must make a new one, so that every run has "
                "its own seed's weights: model=lambda: Net(), or copy.deepcopy(net) to start from the same weights"
            )
        _MADE.add(model)
        return model

    def batches(self, data: Any, batch_size: int, generator: torch.Generator, skip: int = 0) -> Iterator[Any]:
        return self._train.with_data(data[0]).batches(batch_size, generator, skip)

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        loss: Any = self._loss(model, batch)
        if not isinstance(loss, Tensor):
            way = ", such as its .loss" if hasattr(loss, "loss") or isinstance(loss, Mapping) else ""
            raise ValueError(f"loss returned {kind(loss)}; it must return a tensor with one number{way}")
        if loss.dim():
            raise ValueError(
                f"loss returned a tensor of shape {tuple(loss.shape)}; it must return one number, such as its .mean()"
            )
        if torch.is_grad_enabled() and not loss.requires_grad:
            raise ValueError("loss returned a tensor without a gradient; compute it from model(...), without .detach()")
        return loss

    def weight(self, batch: Any) -> int:
        return self._weight(batch)

    def evaluate(self, model: nn.Module, data: Any) -> dict[str, float]:
        if self._evaluate is None:
            assert self._valid is not None
            batches = self._valid.with_data(data[1]).all(self._valid.batch_size or self.batch_size)
            return Measure.over(model, batches, self.loss, self._weight, accuracy=self._loss is default_loss)
        measured = Measure.read(self._evaluate(model), self.metric)
        if self.metric not in measured:
            raise ValueError(f"evaluate returned {', '.join(measured)}; the metric, {self.metric}, must be among them")
        if self.chosen_by and self.chosen_by[0] not in measured:
            missing = f"choose_by, {self.chosen_by[0]}, must be among them"
            raise ValueError(f"evaluate returned {', '.join(measured)}; {missing}")
        return measured

    def _first_measured(self) -> Iterable[str]:
        """What `evaluate` returns for an untrained model."""
        assert self._evaluate is not None
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            measured = Measure.read(self._evaluate(self.model(None).eval()), None)
        for name, value in measured.items():
            if not is_finite(value):
                raise ValueError(f"evaluate returned {name}={value} for an untrained model; it must be a finite number")
        return measured


def _lrs(given: Any) -> tuple[float, ...]:
    try:
        return tuple(map(learning_rate, [given] if isinstance(given, int | float) else given))
    except (TypeError, ValueError) as error:
        raise ValueError(f"lrs is {shown(given)}: {error}") from None


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not name.strip() or any(letter in "(),:\"'" or letter < " " for letter in name):
        raise ValueError(
            f"name is {name!r}; it must be one or more words without commas, colons, quotes and parentheses"
        )


def _check_functions(**functions: Any) -> None:
    for what, given in functions.items():
        if isinstance(given, nn.Module) and what == "model":
            raise ValueError(
                f"model is an existing {type(given).__name__}, but every run needs new weights from its seed; pass a "
                f"function: model=lambda: {type(given).__name__}(...)"
            )
        if what == "schedule" and isinstance(given, torch.optim.lr_scheduler.LRScheduler):
            raise ValueError(
                f"schedule is a {type(given).__name__}, which belongs to one optimizer; pass a function of (step, "
                "steps) to a factor on the lr: schedule=lambda step, steps: 1 - step / steps"
            )
        if not callable(given) and not (given is None and what not in ("model", "schedule")):
            raise ValueError(f"{what} is {given!r}; it must be a function")
