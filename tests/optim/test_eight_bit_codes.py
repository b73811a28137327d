"""Moments of 8 bits: what a code keeps, an average that does not stall, and which states are codes."""

import copy

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from coded_parameters import CODED, parameters
from hypothesis import given

import rectified
from rectified.optim import GIAdam
from rectified.optim.states.eight_bit import (
    LANE,
    _spread,
    decode_m,
    decode_v,
    encode_m,
    encode_v,
    is_coded,
    moment,
    new_scale,
)
from trajectories import numbers, train

DTYPES = {
    "exp_avg_codes": torch.int8,
    "exp_avg_scale": torch.float32,
    "exp_avg_sq_codes": torch.uint8,
    "exp_avg_sq_scale": torch.float32,
}


def stored_m(m):
    codes, scale = torch.empty(m.shape, dtype=torch.int8), new_scale(m)
    encode_m(m, codes, scale)
    return codes, scale


def stored_v(v, t=1, first=0):
    codes, scale = torch.empty(v.shape, dtype=torch.uint8), new_scale(v)
    encode_v(v, codes, scale, t, first)
    return codes, scale


def of_lanes(x):
    """The largest magnitude of each element's lane, one row at a time."""
    rows = numbers(x).reshape(len(x), -1)
    tops = np.zeros_like(rows)
    for begin in range(0, rows.shape[1], LANE):
        lane = slice(begin, begin + LANE)
        tops[:, lane] = np.abs(rows[:, lane]).max(1, keepdims=True)
    return tops.reshape(x.shape)


# A code is near its moment.


@given(st.integers(0, 2**30), st.integers(1, 4), st.integers(1, 300), st.floats(0, 12))
def test_m_is_off_by_half_a_code_at_most(seed, rows, width, spread):
    generator = torch.Generator().manual_seed(seed)
    decades = torch.exp(-spread * torch.rand(rows, width, generator=generator))
    m = torch.randn(rows, width, generator=generator) * decades
    found, tops = numbers(decode_m(*stored_m(m))), of_lanes(m)
    y = np.cbrt(np.abs(numbers(m)) / tops)
    half = 0.5001 / 127
    below, above = np.maximum(0, y - half) ** 3 * tops, np.minimum(1, y + half) ** 3 * tops
    assert (np.abs(found) >= below * (1 - 1e-5)).all()
    assert (np.abs(found) <= above * (1 + 1e-5)).all()
    assert (found * numbers(m) >= 0).all()


@given(st.integers(0, 2**30), st.integers(1, 4), st.integers(1, 300), st.floats(0, 12), st.integers(1, 10**6))
def test_the_root_of_v_is_off_by_a_code_at_most_and_no_v_becomes_0(seed, rows, width, spread, t):
    generator = torch.Generator().manual_seed(seed)
    decades = torch.exp(-spread * torch.rand(rows, width, generator=generator))
    v = (torch.randn(rows, width, generator=generator) * decades) ** 2
    codes, scale = stored_v(v, t)
    found, tops = numbers(decode_v(codes, scale)), of_lanes(v)
    y = (numbers(v) / tops) ** (1 / 6)
    below, above = np.maximum(1 / 255, y - 1.001 / 255) ** 6 * tops, (np.maximum(y, 1e-9) + 1.001 / 255) ** 6 * tops
    assert (codes[v > 0] >= 1).all()
    assert (found >= np.where(y < 1 / 255, 0, below * (1 - 1e-4))).all()
    assert (found <= np.maximum(above, (1.001 / 255) ** 6 * tops) * (1 + 1e-4)).all()


def test_zeros_stay_zeros():
    zeros = torch.zeros(3, 200)
    assert not stored_m(zeros)[0].any()
    assert not stored_v(zeros)[0].any()
    assert not decode_v(*stored_v(zeros)).any()


# A row is coded by itself.


def test_a_lane_ends_with_its_row():
    m = torch.ones(2, 200)
    m[1] *= 1e-9
    found = decode_m(*stored_m(m))
    torch.testing.assert_close(found, m)
    assert stored_m(m)[1].shape == (2, 2)


def test_rows_are_coded_alike_wherever_they_are():
    v = torch.rand(10, 300)
    codes, scale = stored_v(v, t=7)
    below, below_scale = stored_v(v[6:], t=7, first=6 * 300)
    assert torch.equal(codes[6:], below)
    assert torch.equal(scale[6:], below_scale)


def test_a_shard_without_rows_is_coded_too():
    nothing = torch.empty(0, 512)
    assert decode_m(*stored_m(nothing)).shape == decode_v(*stored_v(nothing)).shape == (0, 512)


# v is right in the mean.


def test_v_is_right_in_the_mean_over_steps():
    """The mean of what is stored over n steps differs from v by less than a code over n, times a logarithm."""
    v = torch.rand(4, 128, dtype=torch.float32) ** 4
    steps = 400
    total = sum(numbers(decode_v(*stored_v(v, t))) for t in range(1, steps + 1)) / steps
    y = (numbers(v) / of_lanes(v)) ** (1 / 6)
    gap = ((y + 1 / 255) ** 6 - np.maximum(0, y - 1 / 255) ** 6) * of_lanes(v)
    inside = y > 1 / 255
    assert (np.abs(total - numbers(v)) <= 20 * gap / steps)[inside].all()


def test_the_rounding_of_v_is_even_over_elements():
    """One step, many elements with the same v: the share that is rounded up is what makes the mean right."""
    v = torch.full((100, 128), 0.30)
    v[:, 0] = 1.0
    found = decode_v(*stored_v(v, t=3))[:, 1:]
    assert found.unique().numel() == 2
    assert found.mean().item() == pytest.approx(0.30, rel=1e-3)


@pytest.mark.parametrize("t", [1, 1000, 3_000_001, 2**24])
@pytest.mark.parametrize("first", [0, 2**22, 2**24, 2**33 + 5])
def test_a_count_on_the_device_rounds_as_one_on_the_host(t, first):
    here, there = (_spread(torch.Size((3, 5)), x, first, torch.device("cpu")) for x in (t, torch.tensor(float(t))))
    assert torch.equal(here, there)


def test_an_average_of_squares_follows_and_does_not_stall():
    """3,000 gradients, half of which grow tenfold in the middle: rounded to nearest, v would stay at a twentieth."""
    p = torch.nn.Parameter(torch.zeros(64, 64))
    q = copy.deepcopy(p)
    coded, floats = rectified.Adam([p], state_dtype="8bit"), rectified.Adam([q])
    generator = torch.Generator().manual_seed(0)
    size = torch.rand(64, 64, generator=generator) + 0.1
    for step in range(3000):
        g = size * torch.randn(64, 64, generator=generator)
        g[:, ::2] *= 1 + 9 * (step > 1500)
        p.grad, q.grad = g, g.clone()
        coded.step()
        floats.step()
    found, right = moment(coded.state[p], "exp_avg_sq"), floats.state[q]["exp_avg_sq"]
    ratio = found / right
    for half in (ratio[:, ::2], ratio[:, 1::2]):
        assert half.mean().item() == pytest.approx(1, abs=0.02), "no bias"
        assert half.std() < 0.25


# States are codes where that saves memory, and plain tensors.


def test_which_parameters_are_coded():
    assert tuple(map(is_coded, parameters())) == CODED
    assert not is_coded(torch.ones(64, 64, dtype=torch.float64))
    assert not is_coded(torch.ones(64, 64, dtype=torch.complex64))
    assert not is_coded(torch.ones(1 << 20))


@pytest.mark.parametrize("make", [rectified.Adam, rectified.AdamW, rectified.RAdam])
def test_states_are_plain_tensors_of_two_bytes(make):
    params = parameters()
    optimizer = make(params, state_dtype="8bit")
    train(optimizer, params, range(2))
    for p, coded in zip(params, CODED, strict=True):
        state = optimizer.state[p]
        dtypes = {name: x.dtype for name, x in state.items() if name != "step"}
        assert dtypes == (DTYPES if coded else dict.fromkeys(("exp_avg", "exp_avg_sq"), torch.float32))
        assert all(type(x) is torch.Tensor for x in state.values())
    p = params[0]
    assert sum(x.nbytes for name, x in optimizer.state[p].items() if name != "step") == (2 + 8 / LANE) * p.numel()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_moments_of_any_dtype_become_codes(dtype):
    p = torch.nn.Parameter(torch.ones(64, 64, dtype=dtype))
    theirs = torch.optim.AdamW([p])
    p.grad = torch.rand_like(p)
    theirs.step()
    q = torch.nn.Parameter(torch.ones(64, 64, dtype=torch.bfloat16))
    ours = rectified.AdamW([q], state_dtype="8bit")
    ours.load_state_dict({**theirs.state_dict(), "param_groups": ours.state_dict()["param_groups"]})
    q.grad = p.grad.bfloat16()
    ours.step()
    expected = 0.9 * theirs.state[p]["exp_avg"].float() + 0.1 * q.grad.float()
    assert (moment(ours.state[q], "exp_avg") - expected).norm() < 0.02 * expected.norm()


def test_a_restarted_warmup_begins_with_codes_of_0():
    params = parameters()
    optimizer = rectified.RAdam(params, state_dtype="8bit")
    train(optimizer, params, range(3))
    optimizer.restart_warmup()
    assert not any(x.any() for state in optimizer.state.values() for x in state.values())
    train(optimizer, params, range(2))


def test_a_restart_begins_from_the_first_v_of_its_method():
    p = torch.nn.Parameter(torch.zeros(64, 64))
    optimizer = GIAdam([{"params": [p], "state_dtype": "8bit"}], lr=1.0)
    for _ in range(2):
        p.grad = torch.rand(64, 64) + 0.5
        optimizer.step()
    optimizer.restart_warmup()
    assert (moment(optimizer.state[p], "exp_avg_sq") / p.grad**2 - 1).abs().max() < 0.06
