"""Whose memory it is: what is replaced, moved or dropped is freed at once; copies behave as what they are copies of."""

import copy
import gc
import pickle
import weakref

import pytest
import torch
from torch import nn

import rectified
from everyone import EVERYONE, everyone, others
from rectified.warmup import Linear, Rectified
from trajectories import parameters, set_gradients, train


def stepped(make, steps=3):
    torch.manual_seed(0)
    params = parameters()
    optimizer = make(params)
    train(optimizer, params, range(1, steps + 1))
    return optimizer, params


@everyone
def test_a_cleared_state_is_freed_at_once(make):
    optimizer, _ = stepped(make)
    gc.disable()
    try:
        watched = [weakref.ref(x) for entry in optimizer.state.values() for x in entry.values()]
        assert len(watched) >= 10
        optimizer.state.clear()
        assert not any(x() is not None for x in watched)
    finally:
        gc.enable()


@everyone
def test_a_moment_that_is_replaced_is_freed_at_once_and_the_new_one_counts(make):
    optimizer, params = stepped(make)
    other, twins = stepped(make)
    gc.disable()
    try:
        for p in params:
            for name in list(optimizer.state[p]):
                watched = weakref.ref(optimizer.state[p][name])
                optimizer.state[p][name] = optimizer.state[p][name].clone()
                assert watched() is None, name
    finally:
        gc.enable()
    train(optimizer, params, range(4, 8))
    train(other, twins, range(4, 8))
    assert all(torch.equal(p, q) for p, q in zip(params, twins, strict=True))


@everyone
def test_parameters_that_leave_are_freed_at_once(make):
    optimizer, params = stepped(make)
    gc.disable()
    try:
        watched = [weakref.ref(p) for p in params]
        optimizer.state.clear()
        optimizer.param_groups[0]["params"] = parameters()
        for p in params:
            p.grad = None
        params.clear()
        del p
        assert not any(x() is not None for x in watched)
    finally:
        gc.enable()


def scheduled(make, params):
    optimizer = make(params)
    return optimizer, rectified.WarmupLR(optimizer, Linear(6))


def wrapped(make, params):
    optimizer = rectified.rectify(make(params), Linear(6))
    return optimizer, None


@others
@pytest.mark.parametrize("around", [scheduled, wrapped])
def test_model_optimizer_and_scheduler_are_freed_without_the_collector(make, around):
    model = nn.Linear(3, 2)
    optimizer, scheduler = around(make, model.parameters())
    for _ in range(3):
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    watched = [weakref.ref(x) for x in (model, optimizer, *model.parameters())]
    gc.collect()
    gc.disable()
    try:
        del model, optimizer, scheduler
        assert [type(x()) for x in watched if x() is not None] == []
    finally:
        gc.enable()


@everyone
def test_an_optimizer_is_freed_without_the_collector(make):
    optimizer, _ = stepped(make)
    watched = weakref.ref(optimizer)
    gc.disable()
    try:
        del optimizer
        assert watched() is None
    finally:
        gc.enable()


def through_pickle(things):
    return pickle.loads(pickle.dumps(things))


carriers = pytest.mark.parametrize("carry", [copy.deepcopy, through_pickle])


@carriers
@others
@pytest.mark.parametrize("around", [scheduled, wrapped])
@pytest.mark.parametrize("first", ["optimizer", "scheduler"])
def test_a_copy_goes_on_with_its_warmup(make, around, carry, first):
    """Whichever of them the copy meets first."""
    params = parameters()
    optimizer, scheduler = around(make, params)
    train(optimizer, params, [1, 2])
    things = (params, optimizer, scheduler) if first == "optimizer" else (scheduler, params, optimizer)
    copied = carry(things)
    fresh, again = (copied[0], copied[1]) if first == "optimizer" else (copied[1], copied[2])
    for step in range(3, 9):
        train(optimizer, params, [step])
        train(again, fresh, [step])
        for p, q in zip(params, fresh, strict=True):
            assert torch.equal(p, q), step
    assert [group["warmup_clock"] for group in again.param_groups] == [8]
    assert again.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"] == 0.1


@carriers
@everyone
def test_a_copy_of_an_optimizer_takes_the_same_steps(make, carry):
    optimizer, params = stepped(make)
    fresh, again = carry((params, optimizer))
    train(optimizer, params, range(4, 8))
    train(again, fresh, range(4, 8))
    assert all(torch.equal(p, q) for p, q in zip(params, fresh, strict=True))
    assert again.defaults.keys() == optimizer.defaults.keys()
    again.add_param_group({"params": parameters(seed=3)})  # with the constructor's options
    assert again.param_groups[1].keys() == again.param_groups[0].keys()


def test_a_schedulers_warmup_lasts_though_nobody_keeps_the_scheduler():
    params = parameters()
    optimizer = torch.optim.SGD(params, lr=0.4)
    rectified.WarmupLR(optimizer, Linear(4))
    gc.collect()
    before = [p.detach().clone() for p in params]
    set_gradients(params, 1)
    optimizer.step()
    for p, x in zip(params, before, strict=True):
        torch.testing.assert_close(p.detach(), x - 0.1 * p.grad)


def test_a_wrapper_that_is_gone_warms_up_no_more():
    params = parameters()
    inner = torch.optim.SGD(params, lr=0.4)
    rectified.rectify(inner, Linear(4))
    before = [p.detach().clone() for p in params]
    set_gradients(params, 1)
    inner.step()
    for p, x in zip(params, before, strict=True):
        torch.testing.assert_close(p.detach(), x - 0.4 * p.grad)


@everyone
def test_its_defaults_are_its_constructors_arguments(make):
    """So that trainers and ZeroRedundancyOptimizer can make another one."""
    optimizer, params = stepped(make)
    twins = parameters()
    again = type(optimizer)(twins, **optimizer.defaults)
    torch.manual_seed(0)
    one = make(params := parameters())
    torch.manual_seed(0)
    train(one, params, range(1, 8))
    torch.manual_seed(0)
    train(again, twins, range(1, 8))
    assert all(torch.equal(p, q) for p, q in zip(params, twins, strict=True))


@pytest.mark.parametrize("name", EVERYONE)
def test_entries_of_the_state_that_are_no_parameters_stay(name):
    optimizer, params = stepped(EVERYONE[name])
    optimizer.state["epoch"] = 3
    optimizer.state["seen"] = {"examples": 7}
    saved = optimizer.state_dict()
    assert saved["state"]["epoch"] == 3
    fresh, again = copy.deepcopy((params, optimizer))
    assert again.state["epoch"] == 3
    again.load_state_dict(saved)
    assert (again.state["epoch"], again.state["seen"]) == (3, {"examples": 7})
    train(optimizer, params, [4])
    train(again, fresh, [4])
    assert all(torch.equal(p, q) for p, q in zip(params, fresh, strict=True))


def test_no_attribute_is_hidden_on_others_objects():
    params = parameters()
    for around in (rectified.rectify, rectified.WarmupLR):
        inner = torch.optim.NAdam(params, lr=0.1)
        before = set(vars(inner))
        kept = around(inner, Rectified())
        assert set(vars(inner)) - before <= {"_opt_called", "step"}, kept  # torch's schedulers' own
