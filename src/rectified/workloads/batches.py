"""Operations on batches of any form: tensors, and nested tuples, lists and mappings of tensors.

A batch may also hold other values. A list without tensors, such as a list of sentences, holds one value per example.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


def examples(batch: Any) -> int:
    """The number of examples in a batch: the first dimension of its first tensor that has one.

    Raises:
        ValueError: no tensor in the batch has a dimension.

    >>> examples({"inputs": torch.zeros(5, 2), "targets": torch.zeros(5)})
    5
    """
    for tensor in tensors(batch):
        if tensor.dim():
            return len(tensor)
    raise ValueError(
        f"a batch is {_kind(batch)} without a tensor that has a dimension; it must be a tensor, or a tuple, list or "
        "dict of tensors whose first dimension counts the examples"
    )


def tensors(batch: Any) -> Iterator[Tensor]:
    """Every tensor in a batch, in order."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        for piece in batch.values():
            yield from tensors(piece)
    elif isinstance(batch, tuple | list):
        for piece in batch:
            yield from tensors(piece)


def moved(batch: Any, device: torch.device) -> Any:
    """The same batch with its tensors on `device`."""
    return mapped(lambda tensor: tensor.to(device, non_blocking=True), batch)


def part(batch: Any, which: slice) -> Any:
    """Some examples of a batch, as a batch of the same form; values that belong to no example, such as numbers, stay.

    >>> part({"inputs": torch.arange(4), "texts": ["a", "b", "c", "d"], "scale": 2}, slice(1, 3))
    {'inputs': tensor([1, 2]), 'texts': ['b', 'c'], 'scale': 2}
    """
    if isinstance(batch, tuple | list) and not any(True for _ in tensors(batch)):
        return batch[which]
    if isinstance(batch, Mapping):
        return _like(batch, {name: part(piece, which) for name, piece in batch.items()})
    if isinstance(batch, tuple | list):
        return _like(batch, [part(piece, which) for piece in batch])
    return batch[which] if isinstance(batch, Tensor) and batch.dim() else batch


def mapped(change: Callable[[Tensor], Tensor], batch: Any) -> Any:
    """A batch of the same form with each tensor changed."""
    if isinstance(batch, Tensor):
        return change(batch)
    if isinstance(batch, Mapping):
        return _like(batch, {name: mapped(change, piece) for name, piece in batch.items()})
    if isinstance(batch, tuple | list):
        return _like(batch, [mapped(change, piece) for piece in batch])
    return batch


def _like(batch: Any, pieces: Any) -> Any:
    """The pieces in a container of the batch's type if it can be filled, otherwise in a plain one."""
    if isinstance(batch, Mapping):
        if not hasattr(batch, "__setitem__"):
            return pieces
        filled = copy.copy(batch)  # not type(batch)(): a BatchEncoding or a defaultdict has more to it than its items
        for name, piece in pieces.items():
            filled[name] = piece
        return filled
    return type(batch)(*pieces) if hasattr(batch, "_fields") else type(batch)(pieces)


def _kind(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
