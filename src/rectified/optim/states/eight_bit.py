r"""Moments in 8 bits: a code for each element, and a scale for every 128 elements of a row.

A row is all of a parameter's elements with the same first index. Its lanes of 128 elements never cross into the next
row, so that a shard of whole rows is coded like the whole. In a lane with the largest magnitude a, an element x of m is
stored as a signed, and the root of an element of v as an unsigned integer:

.. math::
    z = \frac{|x|}{a}, \qquad \text{code} = \pm L \sqrt[3]{z}

with L = 127 for m and 255 for the root of v. The cube root spreads the codes over six decades, as gradients are spread
in a lane with dead and live units. Codes of m are rounded to nearest. Codes of the root of v differ in two ways:

- One step at beta2 = 0.999 changes v by less than half the distance between two codes, so that rounding to nearest
  would lose most of what gradients add. They are rounded up or down such that v is right in the mean over steps.
- The smallest is 1 where v is not 0. An element that is rounded to 0 would take a step without a denominator.

Why these: ``benchmarks/eight_bit_codes.py`` compares them with those of other libraries on real moments.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .._torch import TensorList
from ..step.chunking import columns_of, like_moments
from ..step.kernels import Kernel, Tensors, name_of
from .dtensor import has_whole_rows, is_sharded, local, sharded_like
from .low_precision import Rounding, write_back

LEAST = 4096
"""Elements of the smallest parameter whose moments have 8 bits."""

LANE = 128
"""Elements that share a scale."""

M_LEVELS, V_LEVELS = 127, 255

NEARLY_1 = 1 - 2.0**-20
"""The share of its lane's largest from which an element counts as that: it keeps its value, and the lane its scale."""

BY_ELEMENT, BY_STEP = 3242174889, 2447445414
"""The steps of a sequence in two dimensions, element and t, that is spread evenly in both (R2, by M. Roberts), times
2^32."""

_PART = 2**18  # elements that are decoded together
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_MOMENTS = {"exp_avg": torch.int8, "exp_avg_sq": torch.uint8}


def is_coded(p: Tensor) -> bool:
    """Whether a parameter's moments have 8 bits, where that is asked for.

    It needs two dimensions and 4,096 elements: biases, gains of norms and other small tensors are few, and often
    sensitive. Of a DTensor, every rank must hold whole rows (replicated, or sharded along the first dimension).

    >>> is_coded(torch.ones(64, 64)), is_coded(torch.ones(4096)), is_coded(torch.ones(8, 8))
    (True, False, False)
    """
    return p.ndim > 1 and p.numel() >= LEAST and p.dtype in _DTYPES and has_whole_rows(p)


def scale_of(name: str) -> str:
    """The name of the state with a moment's scales."""
    return f"{name}_scale"


def shape_of_scales(p: Tensor) -> torch.Size:
    """
    >>> shape_of_scales(torch.ones(10, 30, 10))
    torch.Size([10, 3])
    """
    return torch.Size((p.shape[0], -(-p.shape[1:].numel() // LANE)))


def new_scale(p: Tensor) -> Tensor:
    """Scales of 0, sharded as the parameter is."""
    view = p.detach().flatten(1)[:, ::LANE]  # which has the placements of a DTensor
    return torch.zeros_like(view, dtype=torch.float32).contiguous()


def to_codes(p: Tensor, entry: dict[str, Any]) -> None:
    """Bring the moments of a state into 8 bits, and new ones to 0.

    >>> state = {"exp_avg": torch.ones(10, 300), "exp_avg_sq": torch.zeros(10, 300)}
    >>> to_codes(torch.ones(10, 300), state)
    >>> {name: (x.dtype, tuple(x.shape)) for name, x in state.items()}  # doctest: +NORMALIZE_WHITESPACE
    {'exp_avg': (torch.int8, (10, 300)), 'exp_avg_sq': (torch.uint8, (10, 300)),
     'exp_avg_scale': (torch.float32, (10, 3)), 'exp_avg_sq_scale': (torch.float32, (10, 3))}
    """
    for name, dtype in _MOMENTS.items():
        x, scale = entry.get(name), entry.get(scale_of(name))
        if x is not None and x.dtype is dtype and scale is not None:
            entry[name], entry[scale_of(name)] = x.to(p.device).contiguous(), scale.to(p.device).contiguous()
            continue
        codes = torch.zeros_like(p, dtype=dtype, memory_format=torch.contiguous_format)
        scale = new_scale(p)
        if x is not None:
            value, its_codes, its_scale = (local(y) if is_sharded(y) else y for y in (x.to(p.device), codes, scale))
            if name == "exp_avg":
                encode_m(value, its_codes, its_scale)
            else:
                encode_v(value, its_codes, its_scale, t=0)
        entry[name], entry[scale_of(name)] = codes, scale


def to_floats(entry: dict[str, Any]) -> None:
    """Bring moments of 8 bits into float32, and leave others."""
    for name in _MOMENTS:
        if isinstance(x := entry.get(name), Tensor) and not x.is_floating_point() and not x.is_complex():
            entry[name] = moment(entry, name)
            del entry[scale_of(name)]


def moment(entry: Mapping[str, Any], name: str) -> Tensor:
    """A moment from a state, decoded if it has 8 bits."""
    x: Tensor = entry[name]
    scale = entry.get(scale_of(name))
    if scale is None or x.dtype not in (torch.int8, torch.uint8):
        return x
    if not is_sharded(x):
        return decode_m(x, scale) if name == "exp_avg" else decode_v(x, scale)
    return sharded_like(x, moment({name: local(x), scale_of(name): local(scale)}, name))


def decode_m(codes: Tensor, scale: Tensor) -> Tensor:
    """The first moment in float32."""
    return _decode(codes, scale, M_LEVELS)


def decode_v(codes: Tensor, scale: Tensor) -> Tensor:
    """The second moment in float32."""
    return _decode(codes, scale, V_LEVELS).square_()


def encode_m(m: Tensor, codes: Tensor, scale: Tensor) -> None:
    """Store the first moment."""
    lanes = _lanes(m)
    z = _over_top(lanes.abs(), scale)
    code = _cube_root(z).mul_(M_LEVELS).add_(0.5).floor_().copysign_(lanes)
    _store(code, codes)


def encode_v(v: Tensor, codes: Tensor, scale: Tensor, t: int | Tensor, first: int = 0) -> None:
    """Store the second moment, rounded up or down by the element's place in the parameter and by the step.

    Args:
        t: the number of the step.
        first: the place of the first element.
    """
    z = _over_top(_lanes(v).sqrt(), scale)
    low = _cube_root(z).mul_(V_LEVELS).floor_().clamp_(1, V_LEVELS - 1)
    below = (low / V_LEVELS).pow_(6)
    gap = ((low + 1) / V_LEVELS).pow_(6).sub_(below)
    up = z.square().sub_(below) > gap.mul_(_lanes(_spread(v.shape, t, first, v.device)))
    up |= z > NEARLY_1
    _store(low.add_(up).mul_(z > 0), codes)


def _lanes(x: Tensor) -> Tensor:
    """Rows in lanes: [rows, lanes, 128], with zeros at the end of a row that does not fill its last lane."""
    rows = x.flatten(1)
    missing = -rows.shape[1] % LANE
    return (F.pad(rows, (0, missing)) if missing else rows).view(len(x), -1, LANE)


def _over_top(magnitudes: Tensor, scale: Tensor) -> Tensor:
    """Magnitudes as a share of the largest of their lane, which is stored; 0 where that is 0."""
    torch.amax(magnitudes, 2, out=scale)
    return magnitudes * torch.where(scale > 0, 1 / scale, 0).unsqueeze(2)


def _cube_root(z: Tensor) -> Tensor:
    return z.log2().mul_(1 / 3).exp2_()  # a fifth of the time of pow


def _decode(codes: Tensor, scale: Tensor, levels: int) -> Tensor:
    y = _lanes(codes.float() * (1 / levels))
    values = (y * y).mul_(y).mul_(scale.unsqueeze(2))
    return values.flatten(1)[:, : codes[:1].numel()].reshape(codes.shape).contiguous()


def _store(code: Tensor, codes: Tensor) -> None:
    codes.flatten(1).copy_(code.flatten(1)[:, : codes[:1].numel()])


def _spread(shape: torch.Size, t: int | Tensor, first: int, device: torch.device) -> Tensor:
    """A number in [0, 1) for each element and step, spread evenly over elements and over steps (R2, by M. Roberts).

    Equal on every rank and after a restart, and good for rounding: the mean over steps converges faster than a random
    number's.
    """
    start = t * BY_STEP + first * BY_ELEMENT
    if isinstance(start, Tensor):
        start = start.to(torch.int64)
    begin = (start + 2**31) % 2**32 - 2**31
    places = torch.arange(shape.numel(), dtype=torch.int32, device=device)
    mixed = places.mul_(BY_ELEMENT - 2**32).add_(begin)
    return ((mixed >> 8) & 0xFFFFFF).float().mul_(2.0**-24).reshape(shape)


@cache
def in_eight_bit(kernel: Kernel, copy_params: bool, copy_grads: bool, rounding: Rounding) -> Kernel:
    """Wrap a kernel so that it steps on moments that are decoded, part by part, and encoded again."""

    def step(tensors: Tensors, grads: TensorList, n: Any) -> None:
        for firsts, part, some in _parts(tensors, grads):
            params, m_codes, v_codes, _, lost, m_scale, v_scale = part
            m, v = list(map(decode_m, m_codes, m_scale)), list(map(decode_v, v_codes, v_scale))
            work = like_moments(m, params) if copy_params else params
            if lost:
                torch._foreach_add_(work, lost)
            kernel(Tensors(work, m, v), like_moments(m, some) if copy_grads else some, n)
            if copy_params:
                write_back(params, work, lost, rounding)
            for i, first in enumerate(firsts):
                encode_m(m[i], m_codes[i], m_scale[i])
                encode_v(v[i], v_codes[i], v_scale[i], n.t, first)

    step.__name__ = f"{name_of(kernel)} on decoded moments"
    return step


def _parts(tensors: Tensors, grads: TensorList) -> Iterator[tuple[list[int], Tensors, TensorList]]:
    """Some rows of some tensors at a time, with the place of their first element."""
    columns = [column for column in (*tensors, grads) if column]
    firsts: list[int] = []
    found: list[TensorList] = []
    filled = 0
    for row in zip(*columns, strict=True):
        size = row[0][:1].numel()
        height = max(1, _PART // max(1, size))
        for i, piece in enumerate(zip(*(torch.split(x, height) for x in row), strict=True)):
            if found and filled + piece[0].numel() > _PART:
                yield firsts, *columns_of(found, tensors)
                firsts, found, filled = [], [], 0
            firsts.append(i * height * size)
            found.append(piece)
            filled += piece[0].numel()
    if found:
        yield firsts, *columns_of(found, tensors)
