"""Many tensors as flat chunks of bounded size: small ones together, large ones in pieces."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .._torch import TensorList, flattened

_CHUNK = 2**16  # elements per chunk on a CPU: a few MB of temporary tensors
_CHUNK_ELSEWHERE = 2**22

Pack = tuple[list[int], list[int], list[Tensor]]


def packs(columns: Sequence[TensorList]) -> Iterator[Pack]:
    """Columns of equally many tensors, such as gradients and both moments, in chunks.

    Args:
        columns: lists of tensors on one device; the i-th tensors of all lists have one shape.

    Yields:
        The indexes of the tensors in a chunk, the number of elements of each, and one flat chunk for each column, in
        float32 or float64. A chunk may be a view: it must not be modified.

    >>> gradients, moments = [torch.ones(2), torch.ones(3)], [torch.zeros(2), torch.zeros(3)]
    >>> [(whose, sizes, [len(chunk) for chunk in chunks]) for whose, sizes, chunks in packs([gradients, moments])]
    [([0, 1], [2, 3], [5, 5])]
    """
    if not columns[0]:
        return
    dtype = torch.float64 if any(x.dtype in (torch.float64, torch.complex128) for x in columns[0]) else torch.float32
    columns = [[x if x.dtype is dtype else real_and_flat(x).to(dtype) for x in column] for column in columns]
    size = _CHUNK if columns[0][0].is_cpu else _CHUNK_ELSEWHERE
    whose: list[int] = []
    sizes: list[int] = []
    for index, count in enumerate(map(Tensor.numel, columns[0])):
        if whose and sum(sizes) + count > size:
            yield whose, sizes, _together(columns, whose)
            whose, sizes = [], []
        if count > size:
            flat = [column[index].flatten() for column in columns]
            for begin in range(0, count, size):
                pieces = [x[begin : begin + size] for x in flat]
                yield [index], [pieces[0].numel()], pieces
        elif count:
            whose.append(index)
            sizes.append(count)
    if whose:
        yield whose, sizes, _together(columns, whose)


def _together(columns: Sequence[TensorList], whose: list[int]) -> list[Tensor]:
    if len(whose) == 1:
        return [column[whose[0]].flatten() for column in columns]
    return [flattened([column[index] for index in whose]) for column in columns]


def real_and_flat(x: Tensor) -> Tensor:
    """A tensor without dimensions; complex numbers as pairs of reals, which torch's Adam averages separately."""
    return (torch.view_as_real(x.resolve_conj()) if x.is_complex() else x).flatten()
