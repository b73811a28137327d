"""Steps with moments of 8 bits: near float32's, saved and resumed, seen by warmups, probes and scalers."""

import copy

import pytest
import torch
from coded_parameters import CODED, parameters

import rectified
from rectified.optim import StableAdamW
from rectified.optim.states import eight_bit
from rectified.warmup import GuardedLinear, Linear, SecondMomentOnly
from saves import resumed
from trajectories import set_gradients, train

# Steps are near those of float32 moments.


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


# A save goes on, and nobody misreads it.


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


# What does not go together is refused, at first and later.


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


# Warmups, probes and scalers work as with float32 moments.


def test_a_warmup_and_a_probe_observe_decoded_moments():
    params = parameters()
    optimizer = rectified.AdamW(params, lr=0.01, state_dtype="8bit", warmup=GuardedLinear(8))
    probe = rectified.Probe(optimizer)
    for step in range(20):
        set_gradients(params, step)
        optimizer.step()
        probe.observe(torch.tensor(1.0))
    assert optimizer.param_groups[0]["omega"] == 1.0


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
