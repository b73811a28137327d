"""Adam's step of many tensors in one launch, as a Triton kernel. Importing this module imports triton.

It computes :func:`rectified.optim.step.update.update` in float32, whatever the dtype of parameters, gradients and
moments, and rounds what it stores. Its tests run it without a GPU: in triton's interpreter (``TRITON_INTERPRET=1``, on
CPU tensors), and compiled to PTX for several architectures.

A program steps one chunk of one tensor. ``table`` has a row of addresses for each tensor, ``chunks`` the row and the
number of each chunk. A load behind a mask compiles to one instruction per element, so a full chunk of tensors at
addresses that are multiples of 16 takes a branch of its own, without masks.
"""

import triton
import triton.language as tl

from ..states.eight_bit import BY_ELEMENT, BY_STEP, LANE, LARGEST_ROOT, M_LEVELS, NEARLY_1, V_LEVELS
from .table_format import COLUMNS, NUMBERS

_COLUMNS = tl.constexpr(len(COLUMNS))
_NEARLY_1, _LARGEST_ROOT = tl.constexpr(NEARLY_1), tl.constexpr(LARGEST_ROOT)
_LANE, _M_LEVELS, _V_LEVELS = map(tl.constexpr, (LANE, M_LEVELS, V_LEVELS))
_P, _G, _M, _V, _V_MAX, _COMPENSATION, _M_SCALE, _V_SCALE, _SIZE, _IS_ALIGNED = map(tl.constexpr, range(len(COLUMNS)))
assert NUMBERS == ("scale", "momentum", "gain1", "gain2", "eps", "l2", "keep", "sign", "t")
_BY_ELEMENT, _BY_STEP = tl.constexpr(BY_ELEMENT), tl.constexpr(BY_STEP)


@triton.jit
def _address(row, column: tl.constexpr, kind: tl.constexpr, full: tl.constexpr):
    """A tensor's address, from the table."""
    found = tl.load(row + column).to(tl.pointer_type(kind))
    if full:
        found = tl.multiple_of(found, 16)
    return found


@triton.jit
def _load(addresses, mask, full: tl.constexpr):
    """Elements, 0 beyond the end."""
    if full:
        return tl.load(addresses)
    else:
        return tl.load(addresses, mask=mask, other=0)


@triton.jit
def _spread(at, t):
    """A number in [0, 1) for each element and step."""
    return ((at.to(tl.uint32) * _BY_ELEMENT + t.to(tl.uint32) * _BY_STEP) >> 8).to(tl.float32) * (1.0 / 16777216)


@triton.jit
def _cube_root(z):
    return tl.exp2(tl.log2(tl.maximum(z, 1e-37)) * (1.0 / 3))


@triton.jit
def _decoded(codes, tops, levels: tl.constexpr, block: tl.constexpr):
    """Values from codes, and the largest of each lane."""
    y = tl.reshape(codes.to(tl.float32), (block // _LANE, _LANE)) * (1.0 / levels)
    return tl.reshape(y * y * y * tops[:, None], (block,))


@triton.jit
def _tops(x):
    """The largest absolute value of each lane, and its inverse, 0 where all are 0; infinite where one is NaN."""
    tops = tl.max(tl.where(x == x, tl.abs(x), float("inf")), axis=1)
    return tops, tl.where(tops > 0, tl.div_rn(1.0, tl.where(tops > 0, tops, 1.0)), 0.0)


@triton.jit
def _rounded(x, seed, at, kind: tl.constexpr, stochastic: tl.constexpr):
    """A float32 in another dtype: the nearest, ties to even, or one of both neighbors at random."""
    if kind == tl.bfloat16:  # a float32 without its lower 16 bits; a cast in triton's interpreter would truncate
        bits = x.to(tl.int32, bitcast=True)
        if stochastic:
            bits += (tl.randint(seed, at) & 0xFFFF).to(tl.int32)
        else:
            bits += 0x7FFF + ((bits >> 16) & 1)
        x = tl.where(tl.abs(x) < float("inf"), (bits & -65536).to(tl.float32, bitcast=True), x)
    return x.to(kind)


@triton.jit
def _chunk(
    row,
    start,
    size,
    scale,
    momentum,
    gain1,
    gain2,
    eps,
    l2,
    keep,
    unscale,
    t,
    seed,
    full: tl.constexpr,
    param: tl.constexpr,
    grad: tl.constexpr,
    state: tl.constexpr,
    coded: tl.constexpr,
    amsgrad: tl.constexpr,
    kahan: tl.constexpr,
    stochastic: tl.constexpr,
    block: tl.constexpr,
):
    p_at = _address(row, _P, param, full)
    g_at = _address(row, _G, grad, full)
    at = start + tl.arange(0, block)
    lanes = start // _LANE + tl.arange(0, block // _LANE)
    mask = None if full else at < size
    lane_mask = lanes * _LANE < size  # a few elements: not worth a branch

    theta = _load(p_at + at, mask, full).to(tl.float32)
    g = _load(g_at + at, mask, full).to(tl.float32) * unscale
    if coded:
        m_at, v_at = _address(row, _M, tl.int8, full), _address(row, _V, tl.uint8, full)
        m_tops_at, v_tops_at = _address(row, _M_SCALE, tl.float32, False), _address(row, _V_SCALE, tl.float32, False)
        m_tops = tl.load(m_tops_at + lanes, mask=lane_mask, other=0.0)
        v_tops = tl.load(v_tops_at + lanes, mask=lane_mask, other=0.0)
        m = _decoded(_load(m_at + at, mask, full), m_tops, _M_LEVELS, block)
        root = _decoded(_load(v_at + at, mask, full), v_tops, _V_LEVELS, block)
        v = root * root
    else:
        m_at, v_at = _address(row, _M, state, full), _address(row, _V, state, full)
        m = _load(m_at + at, mask, full).to(tl.float32)
        v = _load(v_at + at, mask, full).to(tl.float32)
    if kahan:
        lost_at = _address(row, _COMPENSATION, param, full)
        theta += _load(lost_at + at, mask, full).to(tl.float32)

    g = tl.where(l2 == 0, g, tl.fma(theta, l2, g))  # 0 times an infinite weight
    theta = theta * keep
    v = tl.where(v == float("inf"), v, tl.fma(gain2, g * g - v, v))  # not infinity - infinity
    m = tl.where(gain1 == 0, m, tl.fma(gain1, g - m, m))  # an infinite g must not reach an m that stands still
    largest = v
    if amsgrad:
        v_max_at = _address(row, _V_MAX, state, full)
        largest = tl.maximum(_load(v_max_at + at, mask, full).to(tl.float32), v)
        tl.store(v_max_at + at, _rounded(largest, 0, at, state, False), mask=mask)
    theta -= scale * tl.div_rn(m, tl.sqrt_rn(largest) + eps) + momentum * m

    if coded:
        root = tl.sqrt_rn(v)
        root = tl.where(root > _LARGEST_ROOT, _LARGEST_ROOT, root)
        m_lanes, root_lanes = tl.reshape(m, (block // _LANE, _LANE)), tl.reshape(root, (block // _LANE, _LANE))
        m_tops, m_inverse = _tops(m_lanes)
        v_tops, v_inverse = _tops(root_lanes)
        code = tl.floor(_cube_root(tl.abs(m_lanes) * m_inverse[:, None]) * _M_LEVELS + 0.5)
        code = tl.where(m_lanes < 0, -code, code)
        tl.store(m_at + at, tl.reshape(code.to(tl.int32), (block,)).to(tl.int8), mask=mask)
        tl.store(m_tops_at + lanes, m_tops, mask=lane_mask)
        z = root_lanes * v_inverse[:, None]
        low = tl.minimum(tl.maximum(tl.floor(_cube_root(z) * _V_LEVELS), 1), _V_LEVELS - 1)
        below, above = low * (1.0 / _V_LEVELS), (low + 1) * (1.0 / _V_LEVELS)
        below, above = below * below * below, above * above * above
        spread = tl.reshape(_spread(at, t), (block // _LANE, _LANE))
        up = (z * z - below * below > spread * (above * above - below * below)) | (z > _NEARLY_1)
        code = tl.where(z > 0, tl.where(up, low + 1, low), 0)
        tl.store(v_at + at, tl.reshape(code.to(tl.int32), (block,)).to(tl.uint8), mask=mask)
        tl.store(v_tops_at + lanes, v_tops, mask=lane_mask)
    else:
        tl.store(m_at + at, _rounded(m, 0, at, state, False), mask=mask)
        tl.store(v_at + at, _rounded(v, 0, at, state, False), mask=mask)

    stored = _rounded(theta, seed, at, param, stochastic)
    tl.store(p_at + at, stored, mask=mask)
    if kahan:
        tl.store(lost_at + at, _rounded(theta - stored.to(tl.float32), 0, at, param, False), mask=mask)


@triton.jit(do_not_specialize=["t", "seed"])
def adam_step(
    table,
    chunks,
    numbers,
    grad_scale,
    found_inf,
    scale,
    momentum,
    gain1,
    gain2,
    eps,
    l2,
    keep,
    sign,
    t,
    seed,
    param: tl.constexpr,
    grad: tl.constexpr,
    state: tl.constexpr,
    coded: tl.constexpr,
    amsgrad: tl.constexpr,
    kahan: tl.constexpr,
    stochastic: tl.constexpr,
    block: tl.constexpr,
):
    """Step the chunk of this program.

    Args:
        table: int64 [tensors, COLUMNS], on the device.
        chunks: int32 [programs, 2]: the row and the number of each chunk.
        numbers: float32 [NUMBERS] on the device, or None for those that follow.
        grad_scale: what a GradScaler has multiplied the gradients by, or None.
        found_inf: nothing changes if it is above 0; or None.
        scale, momentum: of m / (sqrt(v) + eps), and of m alone.
        gain1, gain2: 1 - beta1, or 0 where m stands still; 1 - beta2.
        keep: 1 - decay.
        sign: -1 to maximize, else 1.
        t: the number of the step.
        seed: of stochastic rounding.
        param, grad, state: dtypes.
        coded: whether moments are 8-bit codes.
    """
    if found_inf is not None and tl.load(found_inf) > 0:
        return
    if numbers is not None:
        scale, momentum = tl.load(numbers), tl.load(numbers + 1)
        gain1, gain2, eps = tl.load(numbers + 2), tl.load(numbers + 3), tl.load(numbers + 4)
        l2, keep, sign = tl.load(numbers + 5), tl.load(numbers + 6), tl.load(numbers + 7)
        t = tl.load(numbers + 8).to(tl.int32)
    program = tl.program_id(0).to(tl.int64)
    tensor = tl.load(chunks + 2 * program)
    row = table + tensor.to(tl.int64) * _COLUMNS
    seed += t + 1000003 * tensor  # a captured step keeps its seed, and tensors may not share their noise
    start = tl.load(chunks + 2 * program + 1).to(tl.int64) * block
    size = tl.load(row + _SIZE)
    unscale = sign
    if grad_scale is not None:
        unscale = tl.div_rn(sign, tl.load(grad_scale))
    if start + block <= size and tl.load(row + _IS_ALIGNED) != 0:
        _chunk(
            row, start, size, scale, momentum, gain1, gain2, eps, l2, keep, unscale, t, seed,
            True, param, grad, state, coded, amsgrad, kahan, stochastic, block,
        )  # fmt: skip
    else:
        _chunk(
            row, start, size, scale, momentum, gain1, gain2, eps, l2, keep, unscale, t, seed,
            False, param, grad, state, coded, amsgrad, kahan, stochastic, block,
        )  # fmt: skip
