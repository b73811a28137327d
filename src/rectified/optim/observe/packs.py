"""Many tensors as flat chunks of bounded size: small ones together, large ones in pieces."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from ..step.dtensor import is_sharded, local

_CHUNK = 2**16  # elements per chunk on a CPU: a few MB of temporary tensors
_CHUNK_ELSEWHERE = 2**22

Pack = tuple[list[int], list[int], list[Tensor]]


def packs(rows: Iterable[Sequence[Tensor]]) -> Iterator[Pack]:
    """Rows of equally long flat tensors, such as a gradient and its moments, in chunks.

    Yields:
        The indexes of the rows in a chunk, the number of elements of each, and one chunk for each column, in float32 or
        float64. A chunk may be a view: it must not be modified.

    >>> rows = [[torch.ones(2), torch.zeros(2)], [torch.ones(3), torch.zeros(3)]]
    >>> [(whose, sizes, [len(column) for column in columns]) for whose, sizes, columns in packs(rows)]
    [([0, 1], [2, 3], [5, 5])]
    """
    whose: list[int] = []
    pieces: list[list[Tensor]] = []
    filled = 0
    for index, columns in enumerate(rows):
        size = _CHUNK if columns[0].is_cpu else _CHUNK_ELSEWHERE
        for begin in range(0, columns[0].numel(), size):
            piece = [x[begin : begin + size] for x in columns]
            if whose and filled + piece[0].numel() > size:
                yield _packed(whose, pieces)
                whose, pieces, filled = [], [], 0
            whose.append(index)
            pieces.append(piece)
            filled += piece[0].numel()
    if whose:
        yield _packed(whose, pieces)


def _packed(whose: list[int], pieces: list[list[Tensor]]) -> Pack:
    dtype = torch.float64 if any(piece[0].dtype is torch.float64 for piece in pieces) else torch.float32
    columns = [
        torch.cat([x.to(dtype) for x in column]) if len(column) > 1 else column[0].to(dtype)
        for column in zip(*pieces, strict=True)
    ]
    return whose, [piece[0].numel() for piece in pieces], columns


def real_and_flat(x: Tensor) -> Tensor:
    """A tensor without dimensions; complex numbers as pairs of reals, which torch's Adam averages separately."""
    return (torch.view_as_real(x.resolve_conj()) if x.is_complex() else x).flatten()


def local_of(x: Tensor) -> Tensor:
    """This rank's part of a tensor."""
    return local(x) if is_sharded(x) else x
