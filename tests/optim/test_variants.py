"""RMSprop, NAdam, Adadelta and LAMB: their twins' steps under every warmup, torch's own steps without."""

import copy
import pickle
from functools import partial

import numpy as np
import pytest
import torch

import reference
import reference_variants as twins
from messages import says
from rectified import LAMB, Adadelta, NAdam, RAdam, RMSprop
from rectified.warmup import Constant, Linear, Rectified, SecondMomentOnly, UntunedLinear
from roster import OwnWarmup
from trajectories import Race, closure, comes_and_goes, numbers, parameters, set_gradients, train

MEMBERS = {
    "RMSprop": (RMSprop, twins.RMSprop, {}),
    "RMSprop centered": (RMSprop, twins.RMSprop, {"centered": True, "alpha": 0.9}),
    "RMSprop with momentum": (RMSprop, twins.RMSprop, {"momentum": 0.9}),
    "RMSprop with both": (RMSprop, twins.RMSprop, {"momentum": 0.5, "centered": True, "eps": 1e-3}),
    "NAdam": (NAdam, twins.NAdam, {}),
    "NAdam decoupled": (NAdam, twins.NAdam, {"decoupled_weight_decay": True, "weight_decay": 0.1}),
    "Adadelta": (Adadelta, twins.Adadelta, {}),
    "LAMB": (LAMB, twins.LAMB, {}),
}
WARMUPS = {
    "none": (None, reference.constant),
    "constant": (Constant(), reference.constant),
    "rectified": (Rectified(), reference.rectified),
    "exact": (Rectified("exact"), reference.rectified_exactly),
    "untuned-linear": (UntunedLinear(), reference.untuned_linear),
    "linear": (Linear(7), partial(reference.linear, steps=7)),
    "hold": (SecondMomentOnly(3), partial(reference.hold, steps=3)),
    "own": (OwnWarmup(), OwnWarmup().omega),
}
every_member = pytest.mark.parametrize(("kind", "twin", "options"), MEMBERS.values(), ids=MEMBERS.keys())
every_warmup = pytest.mark.parametrize(("warmup", "omega"), WARMUPS.values(), ids=WARMUPS.keys())


def judges(twin, params, omega, warmup=None, **options):
    if twin in (twins.RMSprop, twins.Adadelta):
        options["rectifies"] = isinstance(warmup, Rectified)
    if "decoupled_weight_decay" in options:
        options["decoupled"] = options.pop("decoupled_weight_decay")
    return [twin(numbers(p), omega=omega, **options) for p in params]


def race(optimizer, params, judges, steps, present=lambda i, step: True, so_far=None):
    so_far = so_far or Race([judge.theta for judge in judges])
    for step in steps:
        set_gradients(params, step, present)
        for p, judge in zip(params, judges, strict=True):
            judge.step(numbers(p.grad))
        optimizer.step()
        so_far.check([numbers(p) for p in params], [judge.theta for judge in judges])
    for p, judge in zip(params, judges, strict=True):
        assert optimizer.state.get(p, {}).get("step", 0) == judge.t
    return so_far


@every_member
@every_warmup
@pytest.mark.parametrize(
    "more", [{}, {"weight_decay": 0.1, "maximize": True, "lr": 0.02}], ids=["plain", "L2, maximize"]
)
def test_takes_its_twins_steps(kind, twin, options, warmup, omega, more):
    params = parameters()
    options = {**options, **more}
    optimizer = kind(params, warmup=warmup, **options)
    race(optimizer, params, judges(twin, params, omega, warmup, **options), range(1, 15))


@every_member
@every_warmup
def test_each_parameter_has_its_own_clock(kind, twin, options, warmup, omega):
    params = parameters()
    optimizer = kind(params, warmup=warmup, **options)
    race(optimizer, params, judges(twin, params, omega, warmup, **options), range(1, 15), comes_and_goes)


@every_member
def test_complex_numbers_step_as_pairs_of_reals(kind, twin, options):
    params = parameters(torch.complex128, shapes=((3, 2), (), (0,)))
    optimizer = kind(params, warmup=Rectified(), **options)
    race(optimizer, params, judges(twin, params, reference.rectified, Rectified(), **options), range(1, 13))


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("shape", [(2,), (0,)], ids=["all have a length", "one is empty"])
@pytest.mark.parametrize("zero", ["none", "theta", "gradient", "both"])
def test_lamb_where_a_norm_is_0(zero, shape, weight_decay):
    params = parameters(shapes=((3, 4), (5,), shape))
    if zero in ("theta", "both"):
        params[0].data.zero_()
    optimizer = LAMB(params, weight_decay=weight_decay, lr=0.02)
    others = judges(twins.LAMB, params, reference.constant, weight_decay=weight_decay, lr=0.02)
    for step in range(1, 8):
        set_gradients(params, step)
        if zero in ("gradient", "both"):
            params[0].grad.zero_()
        for p, judge in zip(params, others, strict=True):
            judge.step(numbers(p.grad))
        optimizer.step()
        for p, judge in zip(params, others, strict=True):
            np.testing.assert_allclose(numbers(p), judge.theta, rtol=1e-12, atol=1e-15)


@every_member
def test_options_changed_between_steps_count_from_the_next(kind, twin, options):
    params = parameters()
    optimizer = kind(params, lr=0.01, **options)
    others = judges(twin, params, reference.constant, lr=0.01, **options)
    so_far = race(optimizer, params, others, range(1, 5))
    optimizer.param_groups[0].update(lr=0.002, weight_decay=0.3, eps=1e-4, maximize=True)
    for judge in others:
        judge.lr, judge.weight_decay, judge.eps, judge.maximize = 0.002, 0.3, 1e-4, True
    race(optimizer, params, others, range(5, 11), so_far=so_far)


TORCHS = [
    (RMSprop, torch.optim.RMSprop, {}),
    (RMSprop, torch.optim.RMSprop, {"centered": True, "momentum": 0.9, "weight_decay": 0.1, "alpha": 0.9}),
    (NAdam, torch.optim.NAdam, {}),
    (NAdam, torch.optim.NAdam, {"weight_decay": 0.1, "decoupled_weight_decay": True, "betas": (0.8, 0.95)}),
    (Adadelta, torch.optim.Adadelta, {}),
    (Adadelta, torch.optim.Adadelta, {"weight_decay": 0.1, "rho": 0.8}),
]
every_torch = pytest.mark.parametrize(("kind", "theirs", "options"), TORCHS)


@every_torch
def test_without_a_warmup_it_is_torchs(kind, theirs, options):
    params, others = parameters(), parameters()
    ours, torchs = kind(params, **options), theirs(others, **options)
    assert ours.param_groups[0]["lr"] == torchs.param_groups[0]["lr"]
    for step in range(1, 30):
        train(ours, params, [step], comes_and_goes)
        train(torchs, others, [step], comes_and_goes)
        for a, b in zip(params, others, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)  # torch's NAdam has a product in float32


@every_torch
def test_it_goes_on_from_torchs_save_and_torch_from_its(kind, theirs, options):
    params, others = parameters(), parameters()
    torchs = theirs(others, **options)
    train(torchs, others, range(1, 6), comes_and_goes)
    ours = kind(params, **options)
    with torch.no_grad():
        for p, q in zip(params, others, strict=True):
            p.copy_(q)
    ours.load_state_dict(copy.deepcopy(torchs.state_dict()))
    again = theirs([torch.nn.Parameter(q.detach().clone()) for q in others], **options)
    for optimizer, mine in ((torchs, others), (ours, params)):
        train(optimizer, mine, range(6, 12), comes_and_goes)
    for a, b in zip(params, others, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)
    again.load_state_dict(copy.deepcopy(ours.state_dict()))
    train(again, again.param_groups[0]["params"], range(12, 14))


@pytest.mark.parametrize("variance", ["first-order", "exact"])
def test_rmsprop_rectified_is_radam_without_momentum(variance):
    params, others = parameters(), parameters()
    train(RMSprop(params, lr=0.01, alpha=0.95, warmup=Rectified(variance)), params, range(1, 20))
    train(RAdam(others, lr=0.01, betas=(0, 0.95), start="hold", variance=variance), others, range(1, 20))
    for a, b in zip(params, others, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)


def test_centered_rmsprop_stays_finite_where_torchs_does_not():
    p, q = (torch.nn.Parameter(torch.ones(1000, dtype=torch.float32)) for _ in range(2))
    g = torch.linspace(0.1, 3, 1000)
    ours, theirs = RMSprop([p], centered=True), torch.optim.RMSprop([q], centered=True)
    for _ in range(3000):
        p.grad, q.grad = g.clone(), g.clone()
        ours.step()
        theirs.step()
    assert p.isfinite().all()
    assert q.isnan().any(), "torch has mended it: the docstring says that it has not"


@every_member
def test_a_hold_moves_averages_and_no_parameter(kind, twin, options):
    params = parameters()
    optimizer = kind(params, warmup=Rectified(), **{**options, "weight_decay": 0.1})
    before = copy.deepcopy(params)
    train(optimizer, params, range(1, 6))
    assert all(torch.equal(a, b) for a, b in zip(params, before, strict=True))
    assert optimizer.param_groups[0]["omega"] == 0
    second = kind.STATES[1] if kind in (NAdam, LAMB) else "square_avg"
    assert optimizer.state[params[0]][second].abs().sum() > 0
    train(optimizer, params, [6])
    assert not torch.equal(params[0], before[0])


@every_member
@pytest.mark.parametrize("copied", ["load", "deepcopy", "pickle"])
def test_goes_on_from_its_save_to_the_bit(kind, twin, options, copied):
    params = parameters()
    optimizer = kind(params, warmup=Linear(9), **options)
    train(optimizer, params, range(1, 6), comes_and_goes)
    if copied == "load":
        others = [torch.nn.Parameter(p.detach().clone()) for p in params]
        other = kind(others)
        other.load_state_dict(optimizer.state_dict())
    else:
        other = copy.deepcopy(optimizer) if copied == "deepcopy" else pickle.loads(pickle.dumps(optimizer))
        others = other.param_groups[0]["params"]
    assert other.param_groups[0]["warmup"] == Linear(9)
    for o, mine in ((optimizer, params), (other, others)):
        train(o, mine, range(6, 12), comes_and_goes)
    assert all(torch.equal(a, b) for a, b in zip(params, others, strict=True))


@every_member
def test_a_save_is_plain_values_and_leaves_out_a_warmup_of_the_users(kind, twin, options, tmp_path):
    params = parameters()
    optimizer = kind(params, warmup=UntunedLinear(), **options)
    train(optimizer, params, [1])
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    assert optimizer.param_groups[0]["warmup"] == UntunedLinear()
    optimizer.load_state_dict(torch.load(tmp_path / "optimizer.pt", weights_only=True))
    assert optimizer.param_groups[0]["warmup"] == UntunedLinear()
    own = kind(parameters(), warmup=OwnWarmup(), **options)
    assert "warmup" not in own.state_dict()["param_groups"][0]
    own.load_state_dict(own.state_dict())
    assert own.param_groups[0]["warmup"] == OwnWarmup()


@every_member
def test_a_closure_is_called_once_with_gradients_on_and_its_loss_returned(kind, twin, options):
    p = parameters(shapes=((4,),))[0]
    optimizer = kind([p], **options)
    calls = []
    with torch.no_grad():
        assert optimizer.step(closure(optimizer, p, calls)).item() == float((parameters(shapes=((4,),))[0] ** 2).sum())
    assert calls == [True]


@every_member
def test_hooks_and_layouts(kind, twin, options):
    base = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    p = torch.nn.Parameter(base.clone().t()[:, 1:3])
    q = torch.nn.Parameter(base.clone().t()[:, 1:3].contiguous())
    calls = []
    for x in (p, q):
        optimizer = kind([x], warmup=Linear(3), **options)
        optimizer.register_step_post_hook(lambda *_: calls.append(1))
        for step in range(1, 6):
            x.grad = torch.full_like(x, step / 7)
            optimizer.step()
    assert len(calls) == 10
    torch.testing.assert_close(p, q, rtol=1e-13, atol=1e-13)


@every_member
def test_a_tensor_lr_and_a_float32_model(kind, twin, options):
    params, others = parameters(torch.float32), parameters(torch.float32)
    train(kind(params, lr=torch.tensor(0.01), **options), params, range(1, 9))
    train(kind(others, lr=0.01, **options), others, range(1, 9))
    for a, b in zip(params, others, strict=True):
        torch.testing.assert_close(a, b)


REFUSED = [
    (RMSprop, {"lr": -1.0}, ["learning rate", "-1.0", "0 or more"]),
    (RMSprop, {"alpha": 1.0}, ["alpha", "1.0", "[0, 1)"]),
    (RMSprop, {"momentum": -0.1}, ["momentum", "-0.1", "0 or more"]),
    (RMSprop, {"alpha": 0.5, "warmup": Rectified()}, ["0.5", "never leave", "above 0.6667"]),
    (NAdam, {"betas": (0.9, 1.0)}, ["index 1", "1.0"]),
    (NAdam, {"momentum_decay": -1}, ["momentum_decay", "-1"]),
    (Adadelta, {"rho": -0.1}, ["rho", "-0.1"]),
    (Adadelta, {"eps": -1}, ["epsilon", "-1"]),
    (LAMB, {"betas": (0.9,)}, ["betas", "two"]),
    (LAMB, {"weight_decay": -1}, ["weight_decay", "-1"]),
]


@pytest.mark.parametrize(("kind", "options", "fragments"), REFUSED)
def test_options_out_of_range_are_refused_and_nothing_changes(kind, options, fragments):
    with pytest.raises(ValueError, match=says(fragments)):
        kind(parameters(), **options)
    optimizer = kind(parameters())
    saved = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(ValueError, match=says(fragments)):
        optimizer.add_param_group({"params": parameters(seed=1), **options})
    saved["param_groups"][0].update(options)
    with pytest.raises(ValueError, match=says(fragments)):
        optimizer.load_state_dict(saved)
    assert len(optimizer.param_groups) == 1
    assert optimizer.param_groups[0]["lr"] >= 0


@every_member
def test_what_is_no_warmup(kind, twin, options):
    with pytest.raises(TypeError, match=says(["warmup is", "omega(t, beta2)"])):
        kind(parameters(), warmup="linear")


@every_member
def test_a_sparse_gradient_is_refused_before_anything_moves(kind, twin, options):
    table = torch.nn.Embedding(5, 3, sparse=True)
    p = torch.nn.Parameter(torch.ones(2))
    p.grad = torch.ones(2)
    optimizer = kind([p, table.weight], **options)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match=says(["parameter 1", "(5, 3)", "sparse=False"])):
        optimizer.step()
    assert torch.equal(p, torch.ones(2))


@every_member
def test_another_models_state_is_refused(kind, twin, options):
    optimizer, other = kind(parameters(), **options), kind(parameters(shapes=((4, 3), (5,), (), (0,), (2, 3, 1, 2))))
    train(optimizer, optimizer.param_groups[0]["params"], [1])
    with pytest.raises(ValueError, match=says(["(3, 4)", "(4, 3)", "another model"])):
        other.load_state_dict(optimizer.state_dict())
    assert not other.state
