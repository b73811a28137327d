"""Turning a user's training data, in any of several forms, into a source of batches."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, default_collate
from torch.utils.data.sampler import RandomSampler, SequentialSampler

from ..batches import tensors
from ..sources import Collate, Columns, MapStyle, Source, Stream, is_map_style, kind

FORMS = (
    "a Dataset, a tensor, a tuple or dict of tensors, a DataLoader, an iterable of batches, or a function of "
    "(batch_size, generator) that returns one"
)


def source(
    what: str, given: Any, batch_size: int | None = None, steps: int | None = None, collate: Collate | None = None
) -> Source:
    """Wrap a user's data as a :class:`Source`, without reading any of it.

    Args:
        what: ``train`` or ``valid``, for errors.
        batch_size, steps, collate: the user's settings, or None.

    Raises:
        ValueError: the data has an unsupported form, has a sampler, or contradicts the settings.
    """
    common: dict[str, Any] = {"what": what, "batch_size": batch_size, "steps": steps}
    if isinstance(given, DataLoader):
        return _of_loader(given, common, collate)
    if isinstance(given, Tensor):
        return _of_columns(given, common, collate)
    if isinstance(given, tuple | Mapping) and given and all(isinstance(each, Tensor) for each in _values(given)):
        return _of_columns(given, common, collate)
    if type(given) is TensorDataset and collate is None:
        return _of_columns(given.tensors, common, collate)
    if isinstance(given, type):
        raise ValueError(f"{what} is the class {given.__name__}; pass an instance: {what}={given.__name__}(...)")
    if is_map_style(given) and not isinstance(given, IterableDataset | Mapping | str):
        return _of_examples(given, common, collate)
    if collate is not None:
        raise ValueError(
            f"collate is given, but {what} is {kind(given)}, which has no examples to collate; leave it out"
        )
    if callable(given) and not hasattr(given, "__iter__"):
        return _of_function(given, common)
    if isinstance(given, Iterator):
        raise ValueError(
            f"{what} is {kind(given)}, which is exhausted after one epoch; pass a function that returns one: "
            f"{what}=lambda: batches()"
        )
    if hasattr(given, "__iter__") and not isinstance(given, str | bytes | Mapping | tuple):
        return _of_stream(given, common)
    raise ValueError(f"{what} is {kind(given)}; it must be {FORMS}")


def _of_loader(loader: "DataLoader[Any]", common: dict[str, Any], collate: Collate | None) -> Source:
    """The source for a DataLoader: examples in the study's order if map-style, batches as they come if iterable."""
    what = common["what"]
    if isinstance(loader.dataset, IterableDataset):
        if collate is not None:
            raise ValueError(
                f"collate is given, but {what} is a DataLoader, which has its own; pass collate_fn= to it instead"
            )
        return _of_stream(loader, common)
    if loader.batch_size is None:
        has = "a batch_sampler" if loader.batch_sampler is not None else "batch_size=None"
        raise ValueError(_keep_order(what, has))
    plain = type(loader.sampler) is SequentialSampler or (
        type(loader.sampler) is RandomSampler and not loader.sampler.replacement and loader.sampler._num_samples is None
    )
    if not plain:
        raise ValueError(_keep_order(what, kind(loader.sampler)))
    notes = []
    if loader.num_workers:
        notes.append(f"num_workers={loader.num_workers} of {what} is ignored: a study's runs load examples themselves")
    if type(loader.sampler) is SequentialSampler and what == "train":
        notes.append(f"{what} is shuffled in every epoch, although its DataLoader has shuffle=False")
    common = {**common, "notes": tuple(notes), "batch_size": common["batch_size"] or loader.batch_size}
    made_by = collate or (None if loader.collate_fn is default_collate else loader.collate_fn)
    if type(loader.dataset) is TensorDataset and made_by is None:
        return _of_columns(loader.dataset.tensors, common, None, loader.drop_last)
    return _of_examples(loader.dataset, common, made_by, loader.drop_last)


def _keep_order(what: str, has: str) -> str:
    return (
        f"{what} is a DataLoader with {has}, but a study draws the order itself; pass its data set, or keep the "
        f"loader's order: {what}=lambda: loader, batch_size=32, steps_per_epoch=100"
    )


def _of_examples(dataset: Any, common: dict[str, Any], collate: Collate | None, drop_last: bool = False) -> Source:
    if not len(dataset):
        raise ValueError(f"{common['what']} has no examples; it must have at least one")
    collate = collate or default_collate
    return MapStyle(**common, size=len(dataset), dataset=dataset, collate=collate, drop_last=drop_last)


def _of_columns(columns: Any, common: dict[str, Any], collate: Collate | None, drop_last: bool = False) -> Source:
    what = common["what"]
    sizes = [len(tensor) if tensor.dim() else 0 for tensor in tensors(columns)]
    if len(set(sizes)) > 1:
        raise ValueError(
            f"{what} has tensors of {' and '.join(map(str, sizes))} examples; their first dimensions must be equal"
        )
    if not sizes[0]:
        raise ValueError(f"{what} has no examples; it must have at least one")
    if collate is not None:
        raise ValueError(f"collate is given, but {what} consists of tensors, which are indexed; leave it out")
    return Columns(**common, size=sizes[0], columns=columns, drop_last=drop_last)


def _of_function(given: Callable[..., Any], common: dict[str, Any]) -> Source:
    """The source for a function: resumable if it takes (batch_size, generator), not if it takes no arguments."""
    what = common["what"]
    parameters = [
        parameter
        for parameter in inspect.signature(given).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and parameter.default is parameter.empty
    ]
    if len(parameters) == 2:
        return Stream(**common, make=given, length=_unknown)
    if len(parameters) == 0:
        return _of_stream(given, common, _Alone(given))
    raise ValueError(
        f"{what} is a function of ({', '.join(parameter.name for parameter in parameters)}); it must take "
        "(batch_size, generator), or no arguments"
    )


def _of_stream(given: Any, common: dict[str, Any], make: Callable[..., Any] | None = None) -> Source:
    own = getattr(given, "batch_size", None)
    own = own if type(own) is int else None
    size = common["batch_size"] or own
    if size is None:
        raise ValueError(
            f"{common['what']} is {kind(given)}, whose batch size is unknown; set it, such as batch_size=32"
        )
    if own not in (None, size):
        raise ValueError(f"batch_size is {size}, but the batches of {common['what']} have {own} examples; leave it out")
    return Stream(
        **{**common, "batch_size": size},
        fixed=True,
        resumable=False,
        make=make or _Same(given),
        length=_Length(given),
    )


def _unknown() -> None:
    return None


@dataclass(frozen=True)
class _Alone:
    """Adapts a function without arguments to (batch_size, generator)."""

    function: Callable[[], Iterable[Any]]

    def __call__(self, batch_size: int, generator: torch.Generator) -> Iterable[Any]:
        return self.function()


@dataclass(frozen=True)
class _Same:
    """Adapts an iterable to a function that returns it."""

    given: Iterable[Any]

    def __call__(self, batch_size: int, generator: torch.Generator) -> Iterable[Any]:
        return self.given


@dataclass(frozen=True)
class _Length:
    """A function that returns the number of batches that an iterable reports."""

    given: Any

    def __call__(self) -> int | None:
        try:
            return len(self.given)
        except TypeError:  # a DataLoader over an iterable data set has a __len__ that raises
            return None


def _values(given: Any) -> Iterable[Any]:
    return given.values() if isinstance(given, Mapping) else given
