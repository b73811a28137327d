"""Probe: its signals are those of a naive computation, and a run with it is equal bit for bit to one without."""

import copy
import math
import random
from dataclasses import fields, replace

import numpy
import pytest
import torch
from short_run import batches, net, train
from torch import nn

import rectified
from rectified import Probe
from rectified.probe.signals import StepSums, signals
from rectified.probe.watch import is_observed
from rectified.warmup import Linear, SecondMomentOnly

OPTIMIZERS = {
    "torch Adam": lambda params: torch.optim.Adam(params, lr=0.01),
    "torch Adam, fused": lambda params: torch.optim.Adam(params, lr=0.01, fused=True),
    "torch Adam, amsgrad": lambda params: torch.optim.Adam(params, lr=0.01, amsgrad=True),
    "torch Adam, tensor lr": lambda params: torch.optim.Adam(params, lr=torch.tensor(0.01)),
    "torch AdamW": lambda params: torch.optim.AdamW(params, lr=0.01, weight_decay=0.3),
    "torch RAdam": lambda params: torch.optim.RAdam(params, lr=0.01),
    "Adam": lambda params: rectified.Adam(params, lr=0.01),
    "Adam, warmup": lambda params: rectified.Adam(params, lr=0.01, warmup=Linear(10)),
    "Adam, only v first": lambda params: rectified.Adam(params, lr=0.01, warmup=SecondMomentOnly(4)),
    "torch RAdam, never out of its start": lambda params: torch.optim.RAdam(params, lr=0.01, betas=(0.5, 0.6)),
    "AdamW": lambda params: rectified.AdamW(params, lr=0.01, weight_decay=0.3),
    "AdamW, amsgrad": lambda params: rectified.AdamW(params, lr=0.01, amsgrad=True),
    "RAdam": lambda params: rectified.RAdam(params, lr=0.01),
    "RAdam, hold": lambda params: rectified.RAdam(params, lr=0.01, start="hold"),
    "AdamW, large decay": lambda params: rectified.AdamW(params, lr=0.03, weight_decay=10.0),
    "Adam, L2": lambda params: torch.optim.Adam(params, lr=0.01, weight_decay=0.3),
    "Adam, maximize": lambda params: torch.optim.Adam(params, lr=0.01, maximize=True),
    "groups": lambda params: torch.optim.AdamW(_groups(params), weight_decay=0.1),
    "rectify": lambda params: rectified.rectify(torch.optim.AdamW(params, lr=0.01), Linear(10)),
    "WarmupLR": lambda params: _with_scheduler(torch.optim.AdamW(params, lr=0.01)),
}


def _with_scheduler(optimizer):
    optimizer.kept = rectified.WarmupLR(optimizer, Linear(10))
    return optimizer


def _groups(params):
    """Different lr and decay for every parameter, and one that does not move."""
    return [{"params": [p], "lr": 0.03 * k, "weight_decay": 0.5 / (k + 1)} for k, p in enumerate(params)]


def flat(tensors):
    return torch.cat([x.detach().flatten() for x in tensors]).double()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_run_does_not_change(name):
    plain, watched = net(), net()
    train(plain, OPTIMIZERS[name](plain.parameters()), batches(40))
    optimizer = OPTIMIZERS[name](watched.parameters())
    state = torch.get_rng_state()
    train(watched, optimizer, batches(40), Probe(optimizer), again=True)
    assert all(map(torch.equal, plain.parameters(), watched.parameters()))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_signals_are_those_of_a_naive_computation(name):
    """Everything from copies of the weights, in float64."""
    model = net(torch.float64)
    optimizer = OPTIMIZERS[name](model.parameters())
    inner = getattr(optimizer, "optimizer", optimizer)
    probe = Probe(optimizer, every=lambda step: True)
    thetas, gradients, v_hats, losses, again = [flat(model.parameters())], [], [], [], []
    for x in batches(12, torch.float64):
        loss = model(x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        probe.observe(loss, again=lambda x=x: model(x).square().mean())
        thetas.append(flat(model.parameters()))
        gradients.append(flat(p.grad for p in model.parameters()))
        states = [inner.state[p] for p in model.parameters()]
        t = len(gradients)
        v = flat(s.get("max_exp_avg_sq", s["exp_avg_sq"]) for s in states)
        v_hats.append(v / (1 - inner.param_groups[0]["betas"][1] ** t))
        losses.append(loss.item())
        again.append(model(x).square().mean().item())
    assert [o.step for o in probe.history] == list(range(1, 12))
    for o in probe.history:
        t, s = o.step, o.model
        u, before, g = thetas[t] - thetas[t - 1], thetas[t - 1], gradients[t - 1]
        assert s.loss == losses[t - 1]
        assert s.grad_norm == pytest.approx(g.norm().item())
        assert s.size == pytest.approx((u.norm() / thetas[t].norm()).item(), rel=1e-3, abs=1e-12)
        if not u.norm():
            assert s.lr == 0
            continue
        cosine = (before @ thetas[t]) / before.norm() / thetas[t].norm()
        assert s.angle == pytest.approx(torch.acos(cosine.clamp(max=1)).item(), rel=1e-3)
        assert s.gain_left == pytest.approx(((gradients[t] @ u) / (g @ u)).item(), rel=1e-3)
        assert s.gain_ratio == pytest.approx((again[t - 1] - losses[t - 1]) / (g @ u).item(), rel=1e-3)
        if not any(group["weight_decay"] for group in inner.param_groups):
            assert s.update_rms * s.lr == pytest.approx((u.norm() / len(u) ** 0.5).item(), rel=1e-3)
        spread = (-v_hats[t - 1].log() / 2).std(correction=0)
        assert s.spread == pytest.approx(spread.item(), rel=1e-6)
        if t > 1:
            assert s.surprise == pytest.approx((g.square() / v_hats[t - 2]).max().item(), rel=1e-6)


def test_gain_ratio_of_a_quadratic_is_one_minus_lr_over_its_edge():
    p = nn.Parameter(torch.full((4,), 3.0, dtype=torch.float64))
    curvature = 2.0
    optimizer = torch.optim.Adam([p], lr=0.5)
    probe = Probe(optimizer)
    for _ in range(2):
        loss = (curvature / 2 * p.square()).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        probe.observe(loss, again=lambda: (curvature / 2 * p.square()).sum())
    # theta 3 moves by lr = 0.5 along the sign of its gradient 6; along that line the loss is level again after 6.
    assert probe.history[0].model.gain_ratio == pytest.approx(1 - 0.5 / 6)
    assert probe.history[0].model.gain_left == pytest.approx(2.5 / 3)


def test_groups_and_tensors_add_up():
    model = net()
    optimizer = torch.optim.AdamW(
        [
            {"params": list(model[0].named_parameters(prefix="0")), "lr": 0.1},
            {"params": list(model[2].named_parameters(prefix="2"))},
        ],
        lr=0.01,
    )
    probe = Probe(optimizer)
    train(model, optimizer, batches(9), probe)
    last = probe.history[-1]
    assert sorted(last.tensors) == ["0.bias", "0.weight", "2.bias", "2.weight"]
    assert last.groups[0].lr == pytest.approx(0.1)
    assert last.groups[1].lr == pytest.approx(0.01)
    squares = sum(s.grad_norm**2 for s in last.tensors.values())
    assert last.model.grad_norm**2 == pytest.approx(squares)
    assert last.model.surprise == max(s.surprise for s in last.tensors.values())


def test_a_large_tensor_is_read_in_pieces():
    torch.manual_seed(0)
    whole, parts = nn.Parameter(torch.randn(700, 300)), [nn.Parameter(torch.empty(100, 300)) for _ in range(7)]
    with torch.no_grad():
        for part, piece in zip(parts, whole.split(100), strict=True):
            part.copy_(piece)
    found = []
    for params in ([whole], parts):
        optimizer = torch.optim.Adam(params, lr=0.01)
        probe = Probe(optimizer)
        for _ in range(4):
            optimizer.zero_grad()
            loss = torch.cat(list(params)).sin().sum()
            loss.backward()
            optimizer.step()
            probe.observe(loss)
        found.append(probe.metrics())
    assert found[0] == pytest.approx(found[1], rel=1e-4, nan_ok=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_parameters(dtype):
    model = net(torch.bfloat16).to(dtype)
    optimizer = rectified.AdamW(model.parameters(), lr=0.01)
    probe = Probe(optimizer)
    train(model, optimizer, batches(9, dtype), probe)
    metrics = probe.metrics()
    assert math.isfinite(metrics["probe/size"])
    assert metrics["probe/update_rms"] == pytest.approx(1, abs=0.7)


def test_a_closure_is_looked_at_after_it_has_made_the_gradients():
    """As Lightning steps."""
    expected, given = net(), net()
    optimizer = torch.optim.Adam(expected.parameters(), lr=0.01)
    probe = Probe(optimizer)
    train(expected, optimizer, batches(9), probe)
    optimizer = torch.optim.Adam(given.parameters(), lr=0.01)
    by_closure = Probe(optimizer)
    for k, x in enumerate(batches(9)):

        def closure(x=x):
            optimizer.zero_grad()
            loss = given(x).square().mean()
            loss.backward()
            return loss

        loss = optimizer.step(closure) if k % 2 else optimizer.step(closure=closure)
        by_closure.observe(loss)
    assert by_closure.metrics() == pytest.approx(probe.metrics(), nan_ok=True)


@pytest.mark.parametrize("kind", [torch.optim.Adam, rectified.Adam])
@pytest.mark.parametrize("fused", [False, True])
def test_a_grad_scaler_changes_no_signal(kind, fused):
    expected, scaled = net(), net()
    optimizer = kind(expected.parameters(), lr=0.01, fused=fused)
    probe = Probe(optimizer)
    train(expected, optimizer, batches(9), probe)
    optimizer = kind(scaled.parameters(), lr=0.01, fused=fused)
    with_scaler = Probe(optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for k, x in enumerate(batches(9)):
        if k == 4:  # a step that is skipped
            optimizer.zero_grad()
            scaler.scale(scaled(x).square().mean() * math.inf).backward()
            scaler.step(optimizer)
            scaler.update(new_scale=1024.0)
        loss = scaled(x).square().mean()
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update(new_scale=1024.0)
        with_scaler.observe(loss)
    assert [o.step for o in with_scaler.history] == [o.step for o in probe.history]
    assert with_scaler.metrics() == pytest.approx(probe.metrics(), rel=1e-4, nan_ok=True)


def test_a_resumed_run_goes_on_with_its_steps():
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    train(model, optimizer, batches(60))
    resumed = torch.optim.Adam(model.parameters(), lr=0.01)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    probe = Probe(resumed)
    train(model, resumed, batches(6), probe)
    assert [o.step for o in probe.history] == [64]


def test_parameters_without_a_gradient_are_left_out():
    model = net()
    model[0].requires_grad_(False)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    probe = Probe(optimizer)
    train(model, optimizer, batches(5), probe)
    assert list(probe.history[0].tensors) == ["0.2", "0.3"]


def test_closed_probes_watch_no_more():
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    with Probe(optimizer) as probe:
        train(model, optimizer, batches(5), probe)
    seen = len(probe.history)
    train(model, optimizer, batches(5))
    assert len(probe.history) == seen
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks


def test_without_a_step_there_are_no_metrics():
    assert Probe(torch.optim.Adam(net().parameters())).metrics() == {}


def test_the_schedule_is_logarithmic():
    assert sum(map(is_observed, range(1, 100_001))) < 90
    assert all(map(is_observed, range(1, 9)))


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adagrad, rectified.RMSprop])
def test_other_optimizers_are_refused(optimizer):
    with pytest.raises(TypeError, match=f"{optimizer.__name__} has no betas"):
        Probe(optimizer(net().parameters(), lr=0.1))


def test_no_optimizer_is_refused():
    with pytest.raises(TypeError, match=r"it must be a torch\.optim\.Optimizer"):
        Probe(net())


def test_tensors_of_two_groups_may_have_the_same_names():
    """As torch allows: without it, one of them would be missing from the sums."""
    first, last = nn.Linear(5, 7), nn.Linear(7, 3)
    groups = [{"params": list(layer.named_parameters())} for layer in (first, last)]
    optimizer = torch.optim.Adam(groups, lr=0.01)
    probe = Probe(optimizer)
    train(nn.Sequential(first, last), optimizer, batches(5), probe)
    o = probe.history[-1]
    assert list(o.tensors) == ["weight", "bias", "1.0", "1.1"]
    assert o.model.grad_norm**2 == pytest.approx(sum(s.grad_norm**2 for s in o.tensors.values()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("lr", [1e3, 1e10, 1e20, 1e37])
def test_a_run_that_diverges_is_watched_to_its_end(lr, dtype):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 7), nn.Linear(7, 3)).to(dtype)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    probe = Probe(optimizer)
    train(model, optimizer, batches(20, dtype), probe, again=True)
    assert [o.step for o in probe.history] == [step for step in range(1, 20) if is_observed(step)]


SUMS = StepSums(**{f.name: 1.0 for f in fields(StepSums)} | {"decay": 0.0})


def test_infinities_of_both_signs_add_up_to_nan():
    several = [replace(SUMS, g_d=math.inf), replace(SUMS, g_d=-math.inf), SUMS]
    assert math.isnan(signals(several, step=1, loss=1.0, loss_after=0.5).gain_ratio)
    assert signals(several, step=1).update_rms == 1
    assert signals([replace(SUMS, d2=math.inf), SUMS], step=1).update_rms == math.inf


def test_signals_of_huge_sums_are_not_finite_and_raise_nothing():
    huge = replace(SUMS, **{f.name: 1e300 for f in fields(StepSums)} | {"decay": 0.5})
    found = signals([replace(huge, elements=4.0, theta2=1.0, next_g_d=math.nan, surprise=math.inf)], step=1)
    assert not math.isfinite(found.size)


@pytest.mark.parametrize(
    "warm", [lambda o: rectified.rectify(o, Linear(10)), lambda o: rectified.WarmupLR(o, Linear(10))]
)
@pytest.mark.parametrize("first", [True, False])
def test_a_warmup_counts_once_whether_it_came_before_or_after(warm, first):
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    early = Probe(optimizer) if first else None
    kept = warm(optimizer)
    probe = early or Probe(optimizer)
    train(model, optimizer, batches(6), probe)
    assert [o.model.lr for o in probe.history] == pytest.approx([0.01, 0.02, 0.03, 0.04, 0.05])
    assert kept is not None


def test_the_lr_that_a_schedule_has_yet_to_reach_counts():
    """In the first steps of a schedule's warmup, the run must not look as if it needed none."""
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (step + 1) / 1000)
    probe = Probe(optimizer)
    for x in batches(20):
        train(model, optimizer, [x], probe, again=True)
        schedule.step()
    assert probe.full_lr == 0.1
    assert probe.verdict().reach > 0.1


def test_a_run_that_ends_in_its_first_step_is_observed():
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e30)
    probe = Probe(optimizer)
    train(model, optimizer, batches(1), probe, again=True)
    assert probe.verdict().reach == math.inf
    assert probe.history[0].model.gain_ratio == -math.inf


def test_a_second_loss_leaves_buffers_and_all_generators():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Linear(7, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    probe = Probe(optimizer, model)

    def again(x):
        random.random(), numpy.random.rand(), torch.rand(1)
        return model(x).square().mean()

    for x in batches(3):
        loss = model(x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        before = [b.clone() for b in model.buffers()]
        states = random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        probe.observe(loss, again=lambda x=x: again(x))
        assert states == (random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
        assert all(map(torch.equal, before, model.buffers()))


def test_a_loss_observed_before_its_step_gives_no_reach():
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    probe = Probe(optimizer)
    for x in batches(9):
        loss = model(x).square().mean()
        probe.observe(loss, again=lambda x=x: model(x).square().mean())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert math.isnan(probe.verdict().reach)


@pytest.mark.parametrize(
    ("options", "error", "says"), [({"steps": -5}, ValueError, "steps is -5"), ({"every": 5}, TypeError, "every is 5")]
)
def test_wrong_options_are_refused_at_once(options, error, says):
    with pytest.raises(error, match=says):
        Probe(torch.optim.Adam(net().parameters()), **options)
