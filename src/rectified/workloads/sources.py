"""Where a task's batches come from: examples in an order that the study draws, or batches in an order of their own."""

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
    """Batches, epoch after epoch.

    Attributes:
        what: how errors call it: ``train`` or ``valid``.
        batch_size: its own, if it has one.
        fixed: whether that is the only one it has.
        steps: batches of an epoch where the user says so; else all there are.
        resumable: whether an epoch can be entered in its middle.
        notes: what is ignored of what the user gave.
    """

    what: str
    batch_size: int | None = None
    fixed: bool = False
    steps: int | None = None
    resumable: bool = True
    notes: tuple[str, ...] = ()

    @abstractmethod
    def batches(self, batch_size: int, generator: torch.Generator, skip: int = 0) -> Iterator[Any]:
        """One epoch, without its first `skip` batches."""

    @abstractmethod
    def all(self, batch_size: int) -> Iterator[Any]:
        """Every batch once, in order: to measure with."""

    @abstractmethod
    def count(self, batch_size: int) -> int:
        """Batches of an epoch.

        Raises:
            ValueError: there can be no batches of that size.
        """

    @property
    def data(self) -> Any:
        """The tensors in it, which processes can share; None where it is nothing but tensors to begin with."""
        return None

    def with_data(self, data: Any) -> Self:
        """The same on these tensors."""
        return self


@dataclass(frozen=True, kw_only=True, eq=False)
class MapStyle(Source):
    """Examples that are found by their number, in an order that the study draws.

    Attributes:
        size: how many.
        dataset: anything with ``__getitem__``.
        collate: makes a batch of a list of examples.
        drop_last: whether to leave out a last batch that is smaller.
    """

    size: int
    dataset: Any = None
    collate: Collate = default_collate
    drop_last: bool = False

    def count(self, batch_size: int) -> int:
        if batch_size > self.size:
            raise ValueError(
                f"batch_size is {batch_size}, and {self.what} has {self.size} examples; it must be at most that"
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
        """The examples of these numbers, int64 [n], as a batch."""
        several = getattr(self.dataset, "__getitems__", None)  # torch's own protocol: DataLoader asks for it, too
        numbers = indices.tolist()
        return self.collate(several(numbers) if several else [self.dataset[number] for number in numbers])


@dataclass(frozen=True, kw_only=True, eq=False)
class Columns(MapStyle):
    """A tensor, or a tuple or dict of tensors whose first dimensions are alike: indexed, and never collated."""

    columns: Any = field(repr=False)

    @property
    def data(self) -> Any:
        if self.columns is None:
            raise RuntimeError(f"the tensors of {self.what} stayed in the process that made the task; load it there")
        return self.columns

    def with_data(self, data: Any) -> Self:
        return replace(self, columns=data)

    def batch(self, indices: Tensor) -> Any:
        return mapped(lambda tensor: tensor[indices], self.columns)


@dataclass(frozen=True, kw_only=True, eq=False)
class Stream(Source):
    """Batches that come in an order of their own: of each epoch the first so many, from the beginning again if need be.

    What they draw from torch's global generator comes from the study's, so that they are the same for every method and
    in every process of a run. What they draw from elsewhere is not known.

    Attributes:
        make: given a batch size and a generator, the batches of one pass.
        length: how many they are, if that is known.
    """

    make: Callable[[int, torch.Generator], Iterable[Any]]
    length: Callable[[], int | None]

    def count(self, batch_size: int) -> int:
        if self.fixed and batch_size != self.batch_size:
            raise ValueError(
                f"batch_size is {batch_size}, and the batches of {self.what} have {self.batch_size} examples; to vary "
                f"it, let {self.what} be a function of (batch_size, generator)"
            )
        count = self.length() if self.steps is None else self.steps
        if not count:
            raise ValueError(
                f"{self.what} {'does not say how many batches it has' if count is None else 'has no batches'}; say how "
                "many make an epoch: steps_per_epoch=100"
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
                raise ValueError(f"{self.what} gave no batches; it must give some in every epoch")
            if number >= skip:
                yield batch

    def all(self, batch_size: int) -> Iterator[Any]:
        yield from self._pass(batch_size, torch.Generator().manual_seed(0))

    def _pass(self, batch_size: int, generator: torch.Generator) -> Iterable[Any]:
        found = self.make(batch_size, generator)
        if isinstance(found, Tensor) or not hasattr(found, "__iter__"):
            if not (isinstance(found, Dataset) or is_map_style(found)):
                raise ValueError(
                    f"{self.what} returned {kind(found)}; a function must return or yield batches, one after the other"
                )
            raise ValueError(
                f"{self.what} returned {kind(found)}, which holds examples and no batches; give it as it is, "
                f"{self.what}=dataset, or put a DataLoader around it"
            )
        return found


_END = object()


class _Randomness:
    """What torch's global generator is while a stream is asked for its next batch, and for nothing else."""

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
    """Whether examples can be had from it by their number."""
    return hasattr(given, "__getitem__") and hasattr(given, "__len__")


def kind(value: Any) -> str:
    """The type of a value, for an error.

    >>> kind(3), kind([])
    ('an int', 'a list')
    """
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
