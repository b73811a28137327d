"""Moments of 8 bits: what a code keeps, an average that does not stall, shards, saves, and steps like float32's."""

import copy

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

import rectified
from rectified.optim import GIAdam, StableAdamW
from rectified.optim.states import eight_bit
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
from rectified.warmup import GuardedLinear, Linear, SecondMomentOnly
from saves import resumed
from trajectories import numbers, set_gradients, train

SHAPES = ((40, 128), (33, 200), (5, 30, 7, 7), (64,), (8, 8))
DTYPES = {
    "exp_avg_codes": torch.int8,
    "exp_avg_scale": torch.float32,
    "exp_avg_sq_codes": torch.uint8,
    "exp_avg_sq_scale": torch.float32,
}
CODED = (True, True, True, False, False)


def parameters(dtype=torch.float32, layout=torch.contiguous_format):
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(shape, generator=generator).to(dtype) for shape in SHAPES]
    return [torch.nn.Parameter(x.to(memory_format=layout) if x.ndim == 4 else x) for x in made]


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


# Codes.


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


# The rule, and the states.


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


def test_it_goes_on_from_its_save_to_the_bit():
    def make(params):
        return rectified.AdamW(params, lr=0.01, state_dtype="8bit", warmup=Linear(5))

    straight = parameters()
    train(make(straight), straight, range(8))
    params = parameters()
    first = make(params)
    train(first, params, range(4))
    train(resumed(first, params, make), params, range(4, 8))
    assert all(map(torch.equal, params, straight))


@pytest.mark.parametrize(("before", "after"), [("8bit", torch.float32), (torch.float32, "8bit")])
def test_a_run_goes_on_with_the_other_kind(before, after):
    straight = parameters()
    train(rectified.AdamW(straight, lr=0.01), straight, range(8))
    params = parameters()
    first = rectified.AdamW(params, lr=0.01, state_dtype=before)
    train(first, params, range(4))
    second = rectified.AdamW(params, lr=0.01)
    second.load_state_dict(first.state_dict())
    for group in second.param_groups:
        group["state_dtype"] = after
    train(second, params, range(4, 8))
    for p, q, coded in zip(params, straight, CODED, strict=True):
        assert ("exp_avg" in second.state[p]) != (coded and after == "8bit")
        assert ("exp_avg_codes" in second.state[p]) == (coded and after == "8bit")
        assert (p - q).norm() < 0.03 * 0.01 * 8 * p.numel() ** 0.5


def test_codes_without_their_scales_are_refused():
    params = parameters()
    optimizer = rectified.Adam(params, state_dtype="8bit")
    train(optimizer, params, range(2))
    saved = optimizer.state_dict()
    del saved["state"][0]["exp_avg_scale"]
    with pytest.raises(ValueError, match="the save has exp_avg_codes of parameter 0, without exp_avg_scale"):
        rectified.Adam(parameters(), state_dtype="8bit").load_state_dict(saved)
    saved = optimizer.state_dict()
    saved["state"][0] = {**saved["state"][0], "exp_avg_scale": torch.ones(2, 2)}
    with pytest.raises(ValueError, match=r"exp_avg_scale of parameter 0 has shape \(2, 2\)"):
        rectified.Adam(parameters(), state_dtype="8bit").load_state_dict(saved)


def test_a_restarted_warmup_begins_with_codes_of_0():
    params = parameters()
    optimizer = rectified.RAdam(params, state_dtype="8bit")
    train(optimizer, params, range(3))
    optimizer.restart_warmup()
    assert not any(x.any() for state in optimizer.state.values() for x in state.values())
    train(optimizer, params, range(2))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"state_dtype": "4bit"}, TypeError, "state_dtype is '4bit'; it must be a torch.dtype"),
        ({"state_dtype": "8bit", "amsgrad": True}, ValueError, "'8bit', which does not support amsgrad"),
        ({"state_dtype": "8bit", "differentiable": True}, ValueError, "'8bit', which does not support differentiable"),
    ],
)
def test_refusals(options, error, words):
    with pytest.raises(error, match=words):
        rectified.Adam(parameters(), **options)


# Steps.


def both(options, dtype=torch.float32, steps=12):
    """The same steps with float32 moments and with 8 bits: how far they are apart, as a share of the way."""
    start, floats, eights = (parameters(dtype) for _ in range(3))
    options = {"lr": 0.01, **options}
    train(rectified.Adam(floats, **options), floats, range(steps))
    train(rectified.Adam(eights, state_dtype="8bit", **options), eights, range(steps))
    return [((p - q).norm() / (q - s).norm()).item() for p, q, s in zip(eights, floats, start, strict=True)]


PATHS = {
    "default": {},
    "foreach": {"foreach": True},
    "capturable": {"capturable": True},
    "capturable foreach": {"capturable": True, "foreach": True},
    "L2, maximize": {"weight_decay": 0.1, "maximize": True},
    "decoupled": {"weight_decay": 0.1, "decoupled_weight_decay": True},
    "delayed": {"warmup": SecondMomentOnly(3)},
    "delayed on the device": {"warmup": SecondMomentOnly(3), "capturable": True},
    "eps_hat": {"eps": 1e-3, "eps_hat": True},
}


@pytest.mark.parametrize("options", PATHS.values(), ids=PATHS)
def test_steps_are_those_of_float32_to_a_twentieth(options):
    apart = both(options)
    assert max(apart) < 0.05
    assert apart[3:] == [0.0, 0.0], "which are not coded"


@pytest.mark.parametrize("path", [{}, {"foreach": True}, {"capturable": True}], ids=str)
def test_every_path_takes_the_same_steps(path):
    params, others = parameters(), parameters()
    train(rectified.RAdam(params, lr=0.01, state_dtype="8bit"), params, range(9))
    train(rectified.RAdam(others, lr=0.01, state_dtype="8bit", **path), others, range(9))
    for p, q in zip(params, others, strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=3e-4)  # a code may be another where a number is on its border


def test_any_layout():
    params, others = parameters(), parameters(layout=torch.channels_last)
    train(rectified.RAdam(params, lr=0.01, state_dtype="8bit"), params, range(6))
    train(rectified.RAdam(others, lr=0.01, state_dtype="8bit"), others, range(6))
    assert all(map(torch.equal, params, others))


@pytest.mark.parametrize(
    ("dtype", "rounding"),
    [
        *((torch.bfloat16, rounding) for rounding in ("nearest", "kahan", "stochastic")),
        *((torch.float16, rounding) for rounding in ("nearest", "kahan")),
    ],
    ids=str,
)
def test_narrow_parameters(dtype, rounding):
    start, params, floats = parameters(dtype), parameters(dtype), parameters(dtype)
    optimizer = rectified.AdamW(params, lr=0.05, state_dtype="8bit", rounding=rounding)
    train(optimizer, params, range(12))
    train(rectified.AdamW(floats, lr=0.05), floats, range(12))
    for p, q, s in zip(params, floats, start, strict=True):
        assert (p.float() - q.float()).norm() < 0.12 * (q.float() - s.float()).norm()
    assert ("compensation" in optimizer.state[params[0]]) == (rounding == "kahan")


def test_a_thousand_updates_stay_near_those_of_float32():
    """A noisy regression: after 1,000 steps both are equally far from the solution, and near each other."""
    torch.manual_seed(0)
    truth, ends = torch.randn(64, 96), []
    for dtype in (torch.float32, "8bit"):
        p = torch.nn.Parameter(torch.zeros(64, 96))
        optimizer = rectified.AdamW([p], lr=0.01, weight_decay=0.0, state_dtype=dtype)
        generator = torch.Generator().manual_seed(1)
        for step in range(1000):
            x = torch.randn(64, 64, generator=generator)
            y = x @ truth + torch.randn(64, 96, generator=generator)
            p.grad = x.T @ (x @ p.detach() - y) / 64
            optimizer.param_groups[0]["lr"] = 0.01 * (1 - step / 1000)
            optimizer.step()
        ends.append(p.detach())
    floats, eights = (float((end - truth).norm()) for end in ends)
    assert eights == pytest.approx(floats, rel=0.03)
    assert (ends[0] - ends[1]).norm() < 0.25 * floats


def test_a_warmup_and_a_probe_observe_decoded_moments():
    params = parameters()
    optimizer = rectified.AdamW(params, lr=0.01, state_dtype="8bit", warmup=GuardedLinear(8))
    probe = rectified.Probe(optimizer)
    for step in range(20):
        set_gradients(params, step)
        optimizer.step()
        probe.observe(torch.tensor(1.0))
    assert optimizer.param_groups[0]["omega"] == 1.0


def test_a_scaler_skips_a_step_and_changes_no_code():
    params = parameters()
    optimizer = rectified.Adam(params, fused=True, state_dtype="8bit")
    train(optimizer, params, range(2))
    before = copy.deepcopy(optimizer.state_dict()["state"])
    set_gradients(params, 3)
    optimizer.grad_scale, optimizer.found_inf = torch.tensor(2.0), torch.tensor(1.0)
    optimizer.step()
    after = optimizer.state_dict()["state"]
    assert all(torch.equal(x, after[key][name]) for key, entry in before.items() for name, x in entry.items())


# Combinations that a review found wanting.


@pytest.mark.parametrize("t", [1, 1000, 3_000_001, 2**24])
@pytest.mark.parametrize("first", [0, 2**22, 2**24, 2**33 + 5])
def test_a_count_on_the_device_rounds_as_one_on_the_host(t, first):
    here, there = (_spread(torch.Size((3, 5)), x, first, torch.device("cpu")) for x in (t, torch.tensor(float(t))))
    assert torch.equal(here, there)


def test_a_shard_without_rows_is_coded_too():
    nothing = torch.empty(0, 512)
    assert decode_m(*stored_m(nothing)).shape == decode_v(*stored_v(nothing)).shape == (0, 512)


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


def test_no_other_reader_takes_codes_for_moments():
    params = parameters()
    optimizer = rectified.AdamW(params, state_dtype="8bit")
    train(optimizer, params, range(2))
    others = parameters()
    theirs = torch.optim.AdamW(others)
    theirs.load_state_dict(optimizer.state_dict())
    set_gradients(others, 0)
    with pytest.raises(KeyError, match="exp_avg"):
        theirs.step()
    with pytest.raises(ValueError, match="belongs to another optimizer"):
        StableAdamW(parameters()).load_state_dict(optimizer.state_dict())


@pytest.mark.parametrize("later", [{"amsgrad": True}, {"state_dtype": "8bit"}], ids=str)
def test_what_is_refused_at_first_is_refused_later(later):
    params = parameters()
    optimizer = rectified.Adam(params, **({"state_dtype": "8bit"} if "amsgrad" in later else {"amsgrad": True}))
    train(optimizer, params, range(2))
    before = [p.detach().clone() for p in params]
    optimizer.param_groups[0].update(later)
    with pytest.raises(ValueError, match="'8bit', which does not support amsgrad"):
        train(optimizer, params, range(2, 3))
    assert all(map(torch.equal, params, before))


def test_a_restart_begins_from_the_first_v_of_its_method():
    p = torch.nn.Parameter(torch.zeros(64, 64))
    optimizer = GIAdam([{"params": [p], "state_dtype": "8bit"}], lr=1.0)
    for _ in range(2):
        p.grad = torch.rand(64, 64) + 0.5
        optimizer.step()
    optimizer.restart_warmup()
    assert (moment(optimizer.state[p], "exp_avg_sq") / p.grad**2 - 1).abs().max() < 0.06


def test_long_rows_are_cut_into_lanes_and_that_changes_nothing(monkeypatch):
    def trained():
        generator = torch.Generator().manual_seed(0)
        p = torch.nn.Parameter(torch.randn(2, 5000, generator=generator))
        optimizer = rectified.AdamW([p], lr=0.01, state_dtype="8bit", warmup=GuardedLinear(4))
        for _ in range(5):
            p.grad = torch.randn(2, 5000, generator=generator)
            optimizer.step()
        return p.detach()

    whole = trained()
    monkeypatch.setattr(eight_bit, "_PART", 1000)
    assert torch.equal(trained(), whole)


def test_a_warmup_around_it_observes_decoded_moments():
    omegas = []
    for around in (False, True):
        p = torch.nn.Parameter(torch.ones(64, 64))
        warmup = GuardedLinear(10)
        if around:
            optimizer = rectified.rectify(rectified.AdamW([p], lr=1.0, state_dtype="8bit"), warmup)
        else:
            optimizer = rectified.AdamW([p], lr=1.0, state_dtype="8bit", warmup=warmup)
        found = []
        for _ in range(15):
            p.grad = p.detach().clone()
            optimizer.step()
            found.append(optimizer.param_groups[0]["omega"])
        omegas.append(found)
    assert min(omegas[0][8:]) < max(omegas[0][:8]), "it overshoots"
    assert omegas[1] == pytest.approx(omegas[0], rel=1e-2)


@pytest.mark.filterwarnings("error")
def test_a_probe_finds_adams_steps():
    model = torch.nn.Sequential(torch.nn.Linear(64, 64, bias=False), torch.nn.Linear(64, 64, bias=False))
    optimizer = rectified.AdamW(model.parameters(), lr=0.01, state_dtype="8bit")
    probe = rectified.Probe(optimizer)
    for _ in range(20):
        loss = model(torch.randn(16, 64)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        probe.observe(loss)
