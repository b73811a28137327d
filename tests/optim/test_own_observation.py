"""Warmups of one's own that observe the run, and the optimizers that refuse to be observed."""

import inspect
import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import rectified
from everyone import EVERYONE
from observed_runs import LR, STEPS, Gap, expected, ours, parameters, train
from rectified import Adam, rectify
from rectified.optim import contrib
from rectified.warmup import GuardedLinear, Linear, Warmup

# Who may have one.

OTHER_STEPS = (rectified.RMSprop, rectified.NAdam, rectified.Adadelta, rectified.LAMB, contrib.StableAdamW)


@pytest.mark.parametrize("make", OTHER_STEPS)
def test_optimizers_with_other_steps_refuse_it(make):
    with pytest.raises(ValueError, match="observes Adam's steps"):
        make([nn.Parameter(torch.ones(2))], warmup=GuardedLinear(3))


def test_no_other_optimizer_takes_a_warmup_without_taking_adams_steps():
    made = {getattr(make, "func", make) for make in EVERYONE.values()}
    takes = {kind for kind in made if "warmup" in inspect.signature(kind).parameters}
    assert {kind for kind in takes if not kind.OBSERVABLE} == set(OTHER_STEPS)


@pytest.mark.parametrize("kind", ["SGD", "NAdam", "Adagrad", "Adamax", "RMSprop", "Adadelta"])
def test_around_optimizers_with_other_steps_it_is_refused(kind):
    with pytest.raises(ValueError, match="observes Adam's steps"):
        rectify(getattr(torch.optim, kind)([nn.Parameter(torch.ones(2))], lr=0.1), GuardedLinear(3))


@pytest.mark.parametrize("make", [rectified.NAdam, rectified.RMSprop, rectified.LAMB, contrib.StableAdamW])
def test_around_ours_with_other_steps_it_is_refused(make):
    with pytest.raises(ValueError, match="observes Adam's steps"):
        rectify(make([nn.Parameter(torch.ones(2))], lr=0.1), GuardedLinear(3))


class Halved(torch.optim.Adam):
    """Adam by its class, with moments that cannot be read."""

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.data.sub_(group["lr"] * p.grad)
                self.state[p]["exp_avg"] = torch.zeros(1)


def test_around_an_optimizer_with_other_states_it_is_an_error_before_the_second_step():
    p = nn.Parameter(torch.ones(2))
    optimizer = rectify(Halved([p], lr=0.1), GuardedLinear(3))
    p.grad = torch.ones(2)
    optimizer.step()
    before = p.detach().clone()
    with pytest.raises(RuntimeError, match="no exp_avg"):
        optimizer.step()
    assert torch.equal(p, before)
    assert optimizer.param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize("changed", [{"capturable": True}])
def test_on_the_device_it_is_refused_with_the_reason(changed):
    with pytest.raises(ValueError, match="host reads at every step"):
        Adam([nn.Parameter(torch.ones(2))], warmup=GuardedLinear(3), **changed)


@pytest.mark.parametrize("around", [False, True])
def test_flattened_parameters_of_the_first_fsdp_are_refused(around):
    p = nn.Parameter(torch.ones(4))
    p._fsdp_flattened = True  # as FullyShardedDataParallel marks them
    p.grad = torch.ones(4)
    make = rectify(torch.optim.Adam([p]), GuardedLinear(3)) if around else Adam([p], warmup=GuardedLinear(3))
    if around:
        make.step()
    with pytest.raises(RuntimeError, match="FSDP2"):
        make.step()


def test_in_backward_it_is_refused():
    with pytest.raises(ValueError, match="before a step"):
        rectified.optim.StepInBackward(Adam([nn.Parameter(torch.ones(2))], warmup=GuardedLinear(3)))


def test_a_differentiable_step_has_the_same_omegas():
    params = parameters()
    roots = [p.detach().clone() for p in params]
    optimizer = Adam(roots, lr=LR, differentiable=True, warmup=GuardedLinear(STEPS))
    np.testing.assert_allclose(train(optimizer, roots, range(20)), expected(20)[0], rtol=1e-9)


@pytest.mark.parametrize("around", [False, True])
def test_an_own_warmup_observes_the_loss(around):
    p = nn.Parameter(torch.ones(2))
    optimizer = rectify(torch.optim.SGD([p], lr=0.1), Gap(), beta2=0.999) if around else Adam([p], lr=0.1, warmup=Gap())
    omegas = []
    for loss in (8.0, torch.tensor(6.0), 5.0, 4.0, 9.0):
        p.grad = torch.ones(2)
        optimizer.observe_loss(loss)
        optimizer.step()
        omegas.append(optimizer.param_groups[0]["omega"])
    assert omegas == pytest.approx([0.5, 4 / 6, 0.8, 1.0, 1.0])


def test_a_closure_is_enough_and_no_loss_is_an_error():
    p = nn.Parameter(torch.ones(2))
    optimizer = Adam([p], lr=0.1, warmup=Gap())
    p.grad = torch.ones(2)
    before = p.detach().clone()
    with pytest.raises(RuntimeError, match=r"observe_loss\(loss\)"):
        optimizer.step()
    assert torch.equal(p, before)
    optimizer.step(lambda: torch.tensor(8.0))
    assert optimizer.param_groups[0]["omega"] == 0.5
    assert optimizer.observed_loss is None, "it would keep the graph"


class Fast(Linear):
    """omega in quarters, whatever happens."""

    observes = ("slopes",)

    def observe(self, memory, feedback):
        return (min(1.0, (memory[0] if memory else 0.0) + 0.25),)


@pytest.mark.parametrize("around", [False, True])
def test_once_omega_is_1_it_stays_1(around):
    p = nn.Parameter(torch.ones(3))
    optimizer = rectify(torch.optim.Adam([p]), Fast(100)) if around else Adam([p], warmup=Fast(100))
    found = train(optimizer, [p], range(7), lambda params, step: [torch.ones(3)])
    assert found == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0]


def own(observes=("slopes",), returned=None):
    class Own:
        def omega(self, t, beta2):
            return 1.0

    Own.observes = observes
    if returned is not None:
        Own.observe = lambda self, memory, feedback: returned
    return Own()


@pytest.mark.parametrize("kind", [Warmup, object], ids=["a subclass", "an object"])
def test_a_warmup_that_does_not_say_what_it_makes_of_it_is_refused(kind):
    class Nothing(kind):
        observes = ("slopes",)

        def omega(self, t, beta2):
            return 1.0

    with pytest.raises(TypeError, match=r"Nothing.* has no observe\(memory, feedback\)"):
        Adam([nn.Parameter(torch.ones(2))], warmup=Nothing())


@pytest.mark.parametrize("observes", [("loses",), "loss", ("slopes", 3)], ids=str)
def test_what_cannot_be_observed_is_refused(observes):
    with pytest.raises(ValueError, match="it must be a tuple of 'slopes' and 'loss'"):
        Adam([nn.Parameter(torch.ones(2))], warmup=own(observes, (1.0,)))


@pytest.mark.parametrize("around", [False, True])
@pytest.mark.parametrize(
    ("returned", "error"),
    [((2.0,), ValueError), ((math.nan, 1.0), ValueError), ((), ValueError), (0.5, TypeError), (("much",), TypeError)],
    ids=str,
)
def test_an_omega_that_is_none_changes_nothing(returned, error, around):
    p = nn.Parameter(torch.ones(2))
    warmup = own(("slopes",), returned)
    optimizer = rectify(torch.optim.Adam([p]), warmup) if around else Adam([p], warmup=warmup)
    p.grad = torch.ones(2)
    for _ in range(2):
        with pytest.raises(error, match=r"Own object"):
            optimizer.step()
    assert torch.equal(p, torch.ones(2))
    type(warmup).observe = lambda self, memory, feedback: (0.5,)
    optimizer.step()
    assert optimizer.param_groups[0]["omega"] == 0.5


@pytest.mark.parametrize("around", [False, True])
def test_a_step_that_fails_is_observed_once(around):
    """A hook that raises, in the middle of a run; the step is then taken again."""

    def made(params):
        return rectify(torch.optim.Adam(params, lr=LR), GuardedLinear(STEPS)) if around else ours(params)

    params, others = parameters(), parameters()
    omegas = train(made(params), params, range(12))
    optimizer = made(others)
    found = train(optimizer, others, range(6))
    kept = others[0].data
    others[0].grad = torch.ones(5, 3, dtype=torch.float64).to_sparse()
    with pytest.raises(RuntimeError, match=r"sparse|Sparse"):
        optimizer.step()
    others[0].data = kept
    assert found + train(optimizer, others, range(6, 12)) == omegas


def test_other_optimizers_observe_the_loss():
    for make in (*OTHER_STEPS, partial(torch.optim.SGD, lr=0.1)):
        p = nn.Parameter(torch.ones(2))
        is_ours = make in OTHER_STEPS
        optimizer = make([p], warmup=Gap()) if is_ours else rectify(make([p]), Gap())
        for loss, omega in ((8.0, 0.5), (5.0, 0.8), (4.0, 1.0), (None, 1.0)):
            p.grad = torch.ones(2)
            if loss is not None:
                optimizer.observe_loss(loss)
            optimizer.step()
            assert optimizer.param_groups[0]["omega"] == omega


def test_a_scheduler_passes_the_loss_on():
    p = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([p], lr=0.1)
    scheduler = rectified.WarmupLR(optimizer, Gap())
    for loss, omega in ((8.0, 0.5), (5.0, 0.8)):
        p.grad = torch.ones(2)
        scheduler.observe_loss(loss)
        optimizer.step()
        assert optimizer.param_groups[0]["omega"] == omega
