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

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .._torch import TensorList
from ..step.chunking import columns_of, like_moments
from ..step.kernels import Kernel, Tensors, name_of
from .dtensor import has_whole_rows, is_sharded, local, local_of, sharded_like
from .low_precision import Rounding, write_back

LEAST = 4096
"""Elements of the smallest parameter whose moments have 8 bits."""

LANE = 128
"""Elements that share a scale."""

_LEAST_ROW = 32

M_LEVELS, V_LEVELS = 127, 255

NEARLY_1 = 1 - 2.0**-20
"""The share of its lane's largest from which an element counts as that: it keeps its value, and the lane its scale."""

LARGEST_ROOT = 2.0**63.5
"""The largest root of a v that is stored: an infinite one would leave the others of its lane without a share."""

BY_ELEMENT, BY_STEP = 3242174889, 2447445414
"""The steps of a sequence in two dimensions, element and t, that is spread evenly in both (R2, by M. Roberts), times
2^32."""

_PART, _PART_ELSEWHERE = 2**18, 2**24  # elements that are decoded together: on a CPU they fit into its cache
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_MOMENTS = {"exp_avg": torch.int8, "exp_avg_sq": torch.uint8}


def is_coded(p: Tensor) -> bool:
    """Whether a parameter's moments have 8 bits, where that is asked for.

    It needs 4,096 elements in rows of at least 32: biases, gains of norms and other small tensors are few, and often
    sensitive, and the scale of a shorter row would take what the codes save. Of a DTensor, every rank must hold whole
    rows (replicated, or sharded along the first dimension).

    >>> is_coded(torch.ones(64, 64)), is_coded(torch.ones(4096)), is_coded(torch.ones(999, 9))
    (True, False, False)
    """
    return (
        p.ndim > 1
        and p.numel() >= LEAST
        and p.shape[1:].numel() >= _LEAST_ROW
        and p.dtype in _DTYPES
        and has_whole_rows(p)
    )


def codes_of(name: str) -> str:
    """The name of the state with a moment's codes: not the moment's own, since other readers know nothing of codes."""
    return f"{name}_codes"


def scale_of(name: str) -> str:
    """The name of the state with a moment's scales."""
    return f"{name}_scale"


def shape_of_scales(p: Tensor) -> torch.Size:
    """The shape of a parameter's scales: one for each lane of each row.

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
    {'exp_avg_codes': (torch.int8, (10, 300)), 'exp_avg_scale': (torch.float32, (10, 3)),
     'exp_avg_sq_codes': (torch.uint8, (10, 300)), 'exp_avg_sq_scale': (torch.float32, (10, 3))}
    """
    for name, dtype in _MOMENTS.items():
        own = codes_of(name), scale_of(name)
        if own[0] in entry:
            for part in own:
                entry[part] = entry[part].to(p.device).contiguous()
            continue
        entry[own[0]] = torch.zeros_like(p, dtype=dtype, memory_format=torch.contiguous_format)
        entry[own[1]] = new_scale(p)
        if name in entry:
            encode(entry.pop(name).to(p.device), entry, name)


def encode(x: Tensor, entry: Mapping[str, Any], name: str) -> None:
    """Store a moment of any dtype in the codes and scales of a state, in place."""
    x, codes, scale = (local_of(y) for y in (x, entry[codes_of(name)], entry[scale_of(name)]))
    if name == "exp_avg":
        encode_m(x.float(), codes, scale)
    else:
        encode_v(x.float(), codes, scale, t=0)


def to_floats(entry: dict[str, Any]) -> None:
    """Bring moments of 8 bits into float32, and leave others."""
    for name in _MOMENTS:
        if codes_of(name) in entry:
            entry[name] = moment(entry, name)
            del entry[codes_of(name)], entry[scale_of(name)]


def has_moment(entry: Mapping[str, Any], name: str) -> bool:
    """Whether a state has this moment, in floating point or in 8 bits."""
    return isinstance(entry.get(name), Tensor) or codes_of(name) in entry


def moment(entry: Mapping[str, Any], name: str) -> Tensor:
    """A moment from a state, decoded if it has 8 bits."""
    if codes_of(name) not in entry:
        x: Tensor = entry[name]
        return x
    codes, scale = entry[codes_of(name)], entry[scale_of(name)]
    decode = decode_m if name == "exp_avg" else decode_v
    return sharded_like(codes, decode(local(codes), local(scale))) if is_sharded(codes) else decode(codes, scale)


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
    z = _over_top(_lanes(v).sqrt().clamp_(max=LARGEST_ROOT), scale)
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
    return (F.pad(rows, (0, missing)) if missing else rows).view(len(x), -(-rows.shape[1] // LANE), LANE)


def _over_top(magnitudes: Tensor, scale: Tensor) -> Tensor:
    """Magnitudes as a share of the largest of their lane, which is stored; 0 where that is 0."""
    torch.amax(magnitudes, 2, out=scale)
    return magnitudes * torch.where(scale > 0, 1 / scale, 0).unsqueeze(2)


def _cube_root(z: Tensor) -> Tensor:
    return z.log2().mul_(1 / 3).exp2_()  # a fifth of the time of pow


def _decode(codes: Tensor, scale: Tensor, levels: int) -> Tensor:
    y = _lanes(codes.float() * (1 / levels))
    values = (y * y).mul_(y).mul_(scale.unsqueeze(2))
    return values.flatten(1)[:, : codes.shape[1:].numel()].reshape(codes.shape).contiguous()


def _store(code: Tensor, codes: Tensor) -> None:
    codes.flatten(1).copy_(code.flatten(1)[:, : codes.shape[1:].numel()])


def _spread(shape: torch.Size, t: int | Tensor, first: int, device: torch.device) -> Tensor:
    """A number in [0, 1) for each element and step, spread evenly over elements and over steps (R2, by M. Roberts).

    Equal for all replicas and after a restart, and good for rounding: the mean over steps converges faster than a
    random number's.
    """
    t = t.to(torch.int64) if isinstance(t, Tensor) else t
    start = t * BY_STEP + (first * BY_ELEMENT) % 2**32
    begin = (start + 2**31) % 2**32 - 2**31
    places = torch.arange(shape.numel(), dtype=torch.int32, device=device)
    mixed = places.mul_(BY_ELEMENT - 2**32).add_(begin)
    return ((mixed >> 8) & 0xFFFFFF).float().mul_(2.0**-24).reshape(shape)


@cache
def in_eight_bit(kernel: Kernel, copy_params: bool, copy_grads: bool, rounding: Rounding) -> Kernel:
    """Wrap a kernel so that it steps on moments that are decoded, part by part, and encoded again."""

    def step(tensors: Tensors, grads: TensorList, n: Any) -> None:
        for firsts, part, some in _parts(tensors, grads):
            params, _, _, _, lost, m_codes, v_codes, m_scale, v_scale = part
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
    """Pieces of some tensors at a time, with the place of their first element."""
    columns = [column for column in (*tensors, grads) if column]
    firsts: list[int] = []
    found: list[TensorList] = []
    filled, size = 0, _PART if grads[0].is_cpu else _PART_ELSEWHERE
    for row in zip(*columns, strict=True):
        for first, piece in _cut(row, size):
            if found and filled + piece[0].numel() > size:
                yield firsts, *columns_of(found, tensors)
                firsts, found, filled = [], [], 0
            firsts.append(first)
            found.append(piece)
            filled += piece[0].numel()
    if found:
        yield firsts, *columns_of(found, tensors)


def _cut(row: TensorList, size: int) -> Iterator[tuple[int, TensorList]]:
    """Some rows of a parameter and its states at a time, or some lanes of a row that is longer, with their place."""
    width = row[0].shape[1:].numel()
    height = max(1, size // max(1, width))
    for i, piece in enumerate(zip(*(torch.split(x, height) for x in row), strict=True)):
        if width <= size or not all(x.is_contiguous() for x in piece):
            yield i * height * width, piece
            continue
        lanes = max(1, size // LANE)
        flat = [x.flatten(1) for x in piece]  # views
        cuts = [torch.split(x, lanes if x.shape[1] < width else lanes * LANE, 1) for x in flat]
        for j, part in enumerate(zip(*cuts, strict=True)):
            yield i * width + j * lanes * LANE, part


def decoded(columns: Sequence[TensorList]) -> Iterator[list[Tensor]]:
    """Codes of v and of m, other tensors, and the scales of v and of m, as flat float32 chunks without the scales."""
    for row in zip(*columns, strict=True):
        for _, (v, m, *others, v_scale, m_scale) in _cut(row, _PART if row[0].is_cpu else _PART_ELSEWHERE):
            pieces = decode_v(v, v_scale), decode_m(m, m_scale), *others
            yield [x.flatten().float() for x in pieces]
