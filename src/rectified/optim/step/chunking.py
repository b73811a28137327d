"""Running a kernel on copies of unsuitable tensors, and in chunks that stay in the cache.

The moments are ours: dense, and in the dtype of the step. A parameter or gradient whose layout or dtype differs from
its moment's (a slice, other strides, 16 bits) is copied to match; the parameter is stepped there and copied back. The
step is elementwise, so large tensors are cut and small ones combined, and each pass finds the previous one's output in
the cache.
"""

from collections.abc import Iterator
from functools import cache
from math import gcd
from typing import Any

import torch
from torch import Tensor

from .._torch import TensorList
from ..states.low_precision import Rounding, write_back
from .kernels import Kernel, Tensors, name_of

# Elements per chunk, by measurement: 5 MB of float32 tensors and copies. A thread takes at least 2**15 of them.
_PART = 2**18
_OF_A_THREAD = 2**15
_ELSEWHERE = 2**24  # not for the cache: it bounds the memory of copies, and takes longer than launching its kernels
# The op rounds v differently in an incomplete vector at the end of a tensor. Cuts do not create such ends.
_VECTOR = 32


@cache
def in_parts(kernel: Kernel, copy_params: bool, copy_grads: bool, rounding: Rounding = "nearest") -> Kernel:
    """Wrap a kernel so that it runs in chunks, on copies where needed; rounding applies to narrower parameters."""

    def step(tensors: Tensors, grads: TensorList, n: Any) -> None:
        for (params, m, v, v_max, compensation, *_), some in _parts(tensors, grads):
            work = like_moments(m, params) if copy_params else params
            if compensation:
                torch._foreach_add_(work, compensation)
            kernel(Tensors(work, m, v, v_max), like_moments(m, some) if copy_grads else some, n)
            if copy_params:
                write_back(params, work, compensation, rounding)

    step.__name__ = name_of(kernel) + " on copies" * (copy_params or copy_grads)
    return step


def like_moments(moments: TensorList, some: TensorList) -> list[Tensor]:
    """Copy tensors to the moments' dtype and layout."""
    copies = list(map(torch.empty_like, moments))
    torch._foreach_copy_(copies, some)
    return copies


def _parts(tensors: Tensors, grads: TensorList) -> Iterator[tuple[Tensors, TensorList]]:
    """Cut and group tensors and their gradients into chunks; complex ones as pairs of reals, each with its own v."""
    if grads[0].is_complex():
        tensors = Tensors(*(list(map(torch.view_as_real, column)) for column in tensors))
        grads = [torch.view_as_real(g.resolve_conj()) for g in grads]
    cpu = grads[0].is_cpu
    size = max(_PART, _OF_A_THREAD * torch.get_num_threads()) if cpu else _ELSEWHERE
    if sum(map(Tensor.numel, grads)) <= size:
        yield tensors, grads
        return
    columns = [column for column in (*tensors, grads) if column]
    rows: list[TensorList] = []
    filled = 0
    for row in zip(*columns, strict=True):
        for piece in _cut(row, size):
            if rows and filled + piece[0].numel() > size:
                yield columns_of(rows, tensors)
                rows, filled = [], 0
            rows.append(piece)
            filled += piece[0].numel()
    yield columns_of(rows, tensors)


def columns_of(rows: list[TensorList], tensors: Tensors) -> tuple[Tensors, TensorList]:
    """Rows of a parameter, its states and its gradient as the columns that a kernel takes."""
    columns = map(list, zip(*rows, strict=True))
    return Tensors(*(next(columns) if column else () for column in tensors)), next(columns)


def _cut(row: TensorList, size: int) -> Iterator[TensorList]:
    """Cut a parameter with its states and gradient along the dimension in which pieces of the moments are dense."""
    m = row[1]
    if m.numel() <= size or any(type(x) not in (Tensor, torch.nn.Parameter) for x in row):
        yield row
        return
    outermost = max((stride, dim) for dim, (stride, n) in enumerate(zip(m.stride(), m.shape, strict=True)) if n > 1)[1]
    inner = m.numel() // m.shape[outermost]
    unit = _VECTOR // gcd(inner, _VECTOR)
    length = max(1, size // (unit * inner)) * unit
    if length >= m.shape[outermost]:
        yield row
        return
    for piece in zip(*(torch.split(x, length, outermost) for x in row), strict=True):
        yield from _cut(piece, size)
