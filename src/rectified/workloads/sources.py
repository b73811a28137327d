"""The sources of a task's batches: examples in an order that the study draws, or batches in their own order."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from .batches import mapped

Collate = Callable[[list[Any]], Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Source(ABC):
    """A source of batches, epoch after epoch.

    Attributes:
        what: its name in errors: ``train`` or ``valid``.
        batch_size: its own batch size, if it has one.
        fixed: whether that is the only possible batch size.
        steps: batches per epoch if the user sets them; None for all.
        resumable: whether an epoch can be resumed in the middle.
        notes: notes about what is ignored in the user's input.
    """

    what: str
    batch_size: int | None = None
    fixed: bool = False
    steps: int | None = None
    resumable: bool = True
    notes: tuple[str, ...] = ()

    @abstractmethod
    def batches(self, batch_size: int, generator: torch.Generator, skip: int = 0) -> Iterator[Any]:
        """The batches of one epoch, without the first `skip`."""

    @abstractmethod
    def all(self, batch_size: int) -> Iterator[Any]:
        """Every batch once, in order, for evaluation."""

    @abstractmethod
    def count(self, batch_size: int) -> int:
        """The number of batches per epoch.

        Raises:
            ValueError: batches of that size are impossible.
        """

    @property
    def data(self) -> Any:
        """The source's tensors, which processes can share, if it consists only of tensors; otherwise None."""
        return None

    def with_data(self, data: Any) -> Self:
        """The same source with these tensors."""
        return self


@dataclass(frozen=True, kw_only=True, eq=False)
class MapStyle(Source):
    """A source of examples with indexes, in an order that the study draws.

    Attributes:
        size: the number of examples.
        dataset: anything with ``__getitem__``.
        collate: makes a batch from a list of examples.
        drop_last: whether to drop a smaller last batch.
    """

    size: int
    dataset: Any = None
    collate: Collate = default_collate
    drop_last: bool = False

    def count(self, batch_size: int) -> int:
        if batch_size > self.size:
            raise ValueError(
                f"batch_size is {batch_size}, but {self.what} has only {self.size} examples; use at most that many"
            )
        there = self.size // batch_size if self.drop_last else -(-self.size // batch_size)
        if self.steps is not None and self.steps > there:
            raise ValueError(
                f"steps_per_epoch is {self.steps}, and {self.size} examples in batches of {batch_size} make {there}; "
                "it must be at most that"
            )
        return there if self.steps is None else self.steps

    def batches(self, batch_size: int, generator: torch.Generator, skip: int = 0) -> Iterator[Any]:
        order = torch.randperm(self.size, generator=generator)
        for indices in torch.split(order, batch_size)[skip : self.count(batch_size)]:
            yield self.batch(indices)

    def all(self, batch_size: int) -> Iterator[Any]:
        for indices in torch.split(torch.arange(self.size), batch_size):
            yield self.batch(indices)

    def batch(self, indices: Tensor) -> Any:
        """The examples with these indexes, int64 [n], as a batch."""
        several = getattr(self.dataset, "__getitems__", None)  # torch's own protocol: DataLoader asks for it, too
        numbers = indices.tolist()
        return self.collate(several(numbers) if several else [self.dataset[number] for number in numbers])


@dataclass(frozen=True, kw_only=True, eq=False)
class Columns(MapStyle):
    """A source of a tensor, or a tuple or dict of tensors with equal first dimensions: indexed, never collated."""

    columns: Any = field(repr=False)

    @property
    def data(self) -> Any:
        if self.columns is None:
            raise RuntimeError(
                f"the tensors of {self.what} exist only in the process that made the task; load it there"
            )
        return self.columns

    def with_data(self, data: Any) -> Self:
        return replace(self, columns=data)

    def batch(self, indices: Tensor) -> Any:
        return mapped(lambda tensor: tensor[indices], self.columns)


@dataclass(frozen=True, kw_only=True, eq=False)
class Stream(Source):
    """A source of batches in their own order: each epoch takes the first `steps`, and restarts the stream if needed.

    Random numbers that they draw from torch's global generator come from the study's generator, so they are the same
    for every method and in every process of a run. Other randomness is not controlled.

    Attributes:
        make: returns the batches of one pass, given a batch size and a generator.
        length: the number of batches in a pass, if known.
    """

    make: Callable[[int, torch.Generator], Iterable[Any]]
    length: Callable[[], int | None]

    def count(self, batch_size: int) -> int:
        if self.fixed and batch_size != self.batch_size:
            raise ValueError(
                f"batch_size is {batch_size}, but the batches of {self.what} have {self.batch_size} examples; to vary "
                f"it, let {self.what} be a function of (batch_size, generator)"
            )
        count = self.length() if self.steps is None else self.steps
        if not count:
            raise ValueError(
                f"{self.what} {'has an unknown number of batches' if count is None else 'has no batches'}; set the "
                "number per epoch, such as steps_per_epoch=100"
            )
        return count

    def batches(self, batch_size: int, generator: torch.Generator, skip: int = 0) -> Iterator[Any]:
        randomness, passed = _Randomness(generator), iter(())
        for number in range(self.count(batch_size)):
            with randomness.torchs():
                batch = next(passed, _END)
                if batch is _END:  # of a pass, or of none as yet
                    passed = iter(self._pass(batch_size, generator))
                    batch = next(passed, _END)
            if batch is _END:
                raise ValueError(f"{self.what} yielded no batches; it must yield some in every epoch")
            if number >= skip:
                yield batch

    def all(self, batch_size: int) -> Iterator[Any]:
        yield from self._pass(batch_size, torch.Generator().manual_seed(0))

    def _pass(self, batch_size: int, generator: torch.Generator) -> Iterable[Any]:
        found = self.make(batch_size, generator)
        if isinstance(found, Tensor) or not hasattr(found, "__iter__"):
            if not (isinstance(found, Dataset) or is_map_style(found)):
                raise ValueError(
                    f"{self.what} returned {kind(found)}; a function must return or yield batches one by one"
                )
            raise ValueError(
                f"{self.what} returned {kind(found)}, which holds examples, not batches; pass it directly, "
                f"{self.what}=dataset, or put a DataLoader around it"
            )
        return found


_END = object()


class _Randomness:
    """A context that substitutes torch's global generator while a stream makes its next batch."""

    def __init__(self, generator: torch.Generator) -> None:
        self.state = torch.Generator().manual_seed(int(torch.randint(2**63 - 1, (1,), generator=generator))).get_state()

    @contextmanager
    def torchs(self) -> Iterator[None]:
        outside = torch.get_rng_state()
        torch.set_rng_state(self.state)
        try:
            yield
        finally:
            self.state = torch.get_rng_state()
            torch.set_rng_state(outside)


def is_map_style(given: Any) -> bool:
    """Whether a value has examples that can be indexed."""
    return hasattr(given, "__getitem__") and hasattr(given, "__len__")


def kind(value: Any) -> str:
    """The type of a value with its article, for an error.

    >>> kind(3), kind([])
    ('an int', 'a list')
    """
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
