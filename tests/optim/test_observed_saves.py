"""What a warmup has observed, saved and resumed at any step, with clocks, loss scales and closures."""

import copy
import math
import pickle
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

import rectified
from observed_runs import (
    LR,
    STEPS,
    Gap,
    around,
    expected,
    gradients,
    ones,
    ours,
    parameters,
    scheduled,
    train,
)
from rectified import Adam, rectify
from rectified.optim.observe import feedback
from rectified.optim.step.options import OBSERVED
from rectified.warmup import GuardedLinear, Linear
from saves import resumed


@pytest.mark.parametrize("make", [ours, around, scheduled])
@pytest.mark.parametrize("at", [0, 1, 4, 9, 30])
def test_a_saved_run_continues_to_the_bit(make, at):
    whole, parts = parameters(), parameters()
    omegas = train(make(whole), whole, range(40))
    first = make(parts)
    found = train(first, parts, range(at))
    again = resumed(first, parts, make)
    assert found + train(again, parts, range(at, 40)) == omegas
    assert all(map(torch.equal, whole, parts))


@pytest.mark.parametrize("make", [ours, around])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"])
def test_a_copy_continues_and_leaves_the_original_alone(make, copied):
    params = parameters()
    optimizer = make(params)
    train(optimizer, params, range(4))
    twin = copied(optimizer)
    others = [p for group in twin.param_groups for p in group["params"]]
    assert train(twin, others, range(4, 20)) == train(optimizer, params, range(4, 20))


def test_a_save_without_a_memory_is_past_its_warmup_like_any_other():
    """As with Linear, a run of more steps than the warmup's that another warmup began has omega = 1."""
    params = parameters()
    plain = Adam(params, lr=LR)
    train(plain, params, range(STEPS + 1))
    guarded = Adam(params, lr=LR, warmup=GuardedLinear(STEPS))
    train(guarded, params, range(2))
    saved = plain.state_dict()
    del saved["param_groups"][0]["warmup"]  # of plain Adam, which is None
    guarded.load_state_dict(saved)
    assert train(guarded, params, range(3)) == [1.0] * 3


@pytest.mark.parametrize("make", [ours, around])
@pytest.mark.parametrize(
    "wrong",
    ["much", [3], [["1", 0.1]], *(["GuardedLinear", x] for x in (1, [1], [1, 2.0], [1.5, 0.1], [1, None], {1: 1}))],
    ids=str,
)
def test_a_save_with_another_memory_is_refused_and_changes_nothing(make, wrong):
    params = parameters()
    optimizer = make(params)
    omegas = train(optimizer, params, range(4))
    saved = copy.deepcopy(optimizer.state_dict())
    saved["param_groups"][1][OBSERVED] = wrong
    with pytest.raises(ValueError, match="has observed is"):
        optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["omega"] == omegas[-1]
    train(optimizer, params, range(4, 8))


# Clocks.


def test_a_parameter_that_begins_later_has_a_warmup_of_its_own():
    early, late = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimizer = Adam([early, late], lr=1e-3, warmup=GuardedLinear(4))
    for step in range(12):
        early.grad = torch.ones(3)
        late.grad = torch.ones(3) if step >= 6 else None
        before = late.detach().clone()
        optimizer.step()
        moved = (before - late.detach()).mean().item() / 1e-3
        assert moved == pytest.approx(min(1, (step - 5) / 4) if step >= 6 else 0, abs=1e-4)
    assert optimizer.param_groups[0]["omega"] == 1
    assert optimizer.param_groups[0][OBSERVED] == ("GuardedLinear", (0, 1.0))


def test_a_parameter_that_skips_steps_goes_on_where_it_was():
    always, sometimes = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimizer = Adam([always, sometimes], lr=1e-3, warmup=GuardedLinear(4))
    for step in range(10):
        always.grad = torch.ones(3)
        sometimes.grad = torch.ones(3) if step % 3 == 0 else None
        optimizer.step()
    counts = {row[0] for row in optimizer.param_groups[0][OBSERVED][1:]}
    assert counts <= {0, 4}, "what is remembered is bounded by the counts that there are"
    assert rectified.explain(optimizer)[-1].t == 5


def test_a_parameter_that_is_listed_twice_is_warmed_up_once():
    p = nn.Parameter(torch.ones(3))
    with pytest.warns(UserWarning, match="duplicate"):
        twice = Adam([p, p], lr=1e-3, warmup=GuardedLinear(4))
    omegas = []
    for _ in range(8):  # it takes two steps at a time, and is never observed
        p.grad = torch.ones(3)
        twice.step()
        omegas.append(twice.param_groups[0]["omega"])
    assert omegas[-1] == 1
    assert omegas == sorted(omegas)
    assert len(twice.param_groups[0][OBSERVED]) <= 3


def test_a_restarted_warmup_begins_again():
    params = parameters()
    optimizer = ours(params)
    omegas = train(optimizer, params, range(4))
    optimizer.restart_warmup(0)
    train(optimizer, params, range(1))
    assert optimizer.param_groups[0]["omega"] == omegas[0] < optimizer.param_groups[1]["omega"]


def test_a_step_at_lr_0_tells_nothing():
    params = parameters()
    optimizer = Adam(params, lr=0.0, warmup=GuardedLinear(STEPS))
    assert train(optimizer, params, range(5)) == [1 / STEPS] * 5


def test_a_gradient_that_is_not_finite_lowers_omega_and_is_forgotten():
    memory = GuardedLinear(10).observe((0.5, 1.0, 1.0), feedback.Feedback(8, 1.0, math.nan))
    assert memory == (0.5 * math.exp(-0.5), 1.0, 1.0)


# Loss scales.


@pytest.mark.parametrize("around", [False, True])
def test_a_scaler_changes_no_omega_and_a_skipped_step_is_not_observed(around):
    def made(params):
        if around:
            return rectify(torch.optim.Adam(params, lr=LR, fused=True), GuardedLinear(STEPS))
        return Adam(params, lr=LR, fused=True, warmup=GuardedLinear(STEPS))

    plain, scaled = parameters(torch.float32), parameters(torch.float32)
    omegas = train(made(plain), plain, range(20))
    optimizer, found = made(scaled), []
    for step in range(20):
        scale = 2.0 ** (step % 5)
        for p, g in zip(scaled, gradients(scaled, step), strict=True):
            p.grad = g * scale
        if step == 3:  # what GradScaler does
            kept = [p.grad for p in scaled]
            scaled[0].grad = torch.full_like(scaled[0], math.inf)
            optimizer.grad_scale, optimizer.found_inf = torch.tensor(scale), torch.tensor(1.0)
            optimizer.step()
            for p, g in zip(scaled, kept, strict=True):
                p.grad = g
        optimizer.grad_scale, optimizer.found_inf = torch.tensor(scale), torch.tensor(0.0)
        optimizer.step()
        found.append(optimizer.param_groups[0]["omega"])
    np.testing.assert_allclose(found, omegas, rtol=1e-4)


# Begun in the middle of a run, or with another's memory.


@pytest.mark.parametrize("around", [False, True])
def test_begun_in_the_middle_it_guards_from_there(around):
    params = parameters()
    inner = (torch.optim.Adam if around else Adam)(params, lr=LR)
    train_plain(inner, params, range(3))
    if around:
        optimizer = rectify(inner, GuardedLinear(20))
    else:
        optimizer = inner
        optimizer.param_groups[0]["warmup"] = GuardedLinear(20)
    assert rectified.explain(optimizer)[0].observes
    omegas = train(optimizer, params, range(3, 40))
    assert omegas[0] == 4 / 20
    assert any(b < a for a, b in pairwise(omegas))


def train_plain(optimizer, params, steps):
    for step in steps:
        for p, g in zip(params, gradients(params, step), strict=True):
            p.grad = g
        optimizer.step()


def test_a_scheduler_alone_is_enough_to_resume():
    whole, parts = parameters(), parameters()
    omegas = train(scheduled(whole), whole, range(20))
    first = scheduled(parts)
    train(first, parts, range(8))
    inner = torch.optim.Adam(parts, lr=LR)
    states = copy.deepcopy(first.state_dict())
    states["param_groups"] = [dict(inner.state_dict()["param_groups"][0], params=[0, 1, 2, 3])]
    inner.load_state_dict(states)
    again = rectified.WarmupLR(inner, GuardedLinear(STEPS))
    saved = first.kept.state_dict()
    again.load_state_dict({**saved, "counts": saved["counts"][:1], "observed": saved["observed"][:1]})
    assert train(inner, parts, range(8, 20)) == pytest.approx(omegas[8:], rel=1e-9)


def test_a_scheduler_refuses_anothers_save_and_keeps_what_its_own_lacks():
    params = parameters()
    optimizer = scheduled(params)
    train(optimizer, params, range(5))
    saved, before = optimizer.kept.state_dict(), [dict(group) for group in optimizer.param_groups]
    for wrong in ([()], "much", [(), ["GuardedLinear", [1]]]):
        with pytest.raises(ValueError, match=r"observations|observed"):
            optimizer.kept.load_state_dict({**saved, "counts": [1, 1], "observed": wrong})
        assert [dict(group) for group in optimizer.param_groups] == before
    optimizer.kept.load_state_dict({name: x for name, x in saved.items() if name != "observed"})
    assert [group[OBSERVED] for group in optimizer.param_groups] == [group[OBSERVED] for group in before]


def test_set_in_the_middle_where_it_cannot_be_it_is_refused_at_the_next_step():
    for optimizer in (
        rectified.RMSprop([nn.Parameter(torch.ones(2))]),
        Adam([nn.Parameter(torch.ones(2))], capturable=True),
    ):
        (group,) = optimizer.param_groups
        (p,) = group["params"]
        p.grad = torch.ones(2)
        group["warmup"] = GuardedLinear(3)
        with pytest.raises(ValueError, match="observes"):
            optimizer.step()
        assert torch.equal(p, torch.ones(2))


def test_the_memory_of_another_warmup_is_no_memory():
    p = nn.Parameter(torch.ones(2))
    optimizer = Adam([p], warmup=Gap())
    for loss in (8.0, 7.0):
        p.grad = torch.ones(2)
        optimizer.observe_loss(loss)
        optimizer.step()
    saved = optimizer.state_dict()
    guarded = Adam([p], warmup=GuardedLinear(20))
    guarded.load_state_dict(saved)
    p.grad = torch.ones(2)
    guarded.step()
    assert guarded.param_groups[0]["omega"] == 3 / 20


def test_a_frozen_parameters_memory_is_not_anothers():
    """b begins when a stops; when b has as many steps as a, it has its own omega."""
    alone, after_a = [], []
    for omegas, steps_of_a in ((alone, 0), (after_a, 6)):
        a, b = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
        optimizer = Adam([a, b], warmup=GuardedLinear(20))
        for step in range(steps_of_a + 10):
            first = step < steps_of_a
            a.grad = torch.ones(3) if first else None
            b.grad = None if first else (-3.0) ** (step - steps_of_a) * torch.ones(3)
            optimizer.step()
            if not first:
                omegas.append(optimizer.param_groups[0]["omega"])
    assert after_a == alone


@pytest.mark.parametrize("steps", [1, 3, 6, 7, 10, 49, 1000])
def test_the_numbers_are_linears(steps):
    p, q = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    guarded = train(Adam([p], warmup=GuardedLinear(steps)), [p], range(steps + 2), ones)
    assert guarded == train(Adam([q], warmup=Linear(steps)), [q], range(steps + 2), ones)


# Closures.


@pytest.mark.parametrize("hooked", [False, True])
def test_around_an_optimizer_that_gets_a_closure_it_observes_the_closures_gradients(hooked):
    def closed(optimizer, params):
        for step in range(20):

            def closure(step=step):
                for p, g in zip(params, gradients(params, step), strict=True):
                    p.grad = g

            for p in params:
                p.grad = None
            optimizer.step(closure)
            yield optimizer.param_groups[0]["omega"]

    params = parameters()
    optimizer = around(params)
    if hooked:
        optimizer.register_step_pre_hook(lambda *_: None)
    assert list(closed(optimizer, params)) == pytest.approx(expected(20)[0], rel=1e-9)
    assert optimizer.param_groups[0]["lr"] == LR
