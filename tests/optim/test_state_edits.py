"""What users write into `optimizer.state` between steps counts from the next step."""

import pytest
import torch

from roster import BY_NAME, both_paths
from trajectories import numbers, parameters, race


def step_in_place(optimizer, params, twins):
    for i, value in ((0, 40), (1, 1)):
        optimizer.state[params[i]]["step"].fill_(value)
        twins[i].t = value


def step_of_one_without_gradient(optimizer, params, twins):
    optimizer.state[params[3]]["step"].fill_(30)
    twins[3].t = 30


def step_replaced(optimizer, params, twins):
    for i, value in ((0, torch.tensor(9.0)), (1, 11)):
        optimizer.state[params[i]]["step"] = value
        twins[i].t = int(value)


def moments_in_place(optimizer, params, twins):
    optimizer.state[params[0]]["exp_avg"].mul_(-2)
    optimizer.state[params[1]]["exp_avg_sq"].add_(1)
    twins[0].m, twins[1].v = -2 * twins[0].m, twins[1].v + 1


def moments_replaced(optimizer, params, twins):
    for i in range(3):
        optimizer.state[params[i]]["exp_avg"] = torch.ones_like(params[i]).detach()
        twins[i].m = 1 + 0 * twins[i].m


def whole_state_replaced(optimizer, params, twins):
    names = [name for name in optimizer.state[params[0]] if name != "step"]
    values = dict(zip(("exp_avg", "exp_avg_sq", "max_exp_avg_sq"), (0.1, 0.2, 0.3), strict=True))
    moments = {name: torch.full_like(params[0], values[name]).detach() for name in names}
    optimizer.state[params[0]] = {"step": torch.tensor(7.0), **moments}
    twins[0].t, twins[0].m, twins[0].v, twins[0].v_max = 7, *(x + 0 * twins[0].m for x in values.values())


def all_cleared(optimizer, params, twins):
    optimizer.state.clear()
    for twin in twins:
        _begin_afresh(twin)


def one_deleted(optimizer, params, twins):
    del optimizer.state[params[1]]
    _begin_afresh(twins[1])


def handed_to_another(optimizer, params, twins):
    optimizer.state[params[1]] = optimizer.state.pop(params[0])
    twins[1].t, twins[1].m, twins[1].v, twins[1].v_max = twins[0].t, twins[0].m, twins[0].v, twins[0].v_max
    _begin_afresh(twins[0])


def two_exchanged(optimizer, params, twins):
    a, b = params[:2]
    optimizer.state[a], optimizer.state[b] = optimizer.state[b], optimizer.state[a]
    for name in ("t", "m", "v", "v_max"):
        ours, theirs = getattr(twins[0], name), getattr(twins[1], name)
        setattr(twins[0], name, theirs)
        setattr(twins[1], name, ours)


def _begin_afresh(twin):
    zero = 0 * twin.theta
    twin.t, twin.m, twin.v, twin.v_max = 0, zero, zero, zero


def parameters_reordered(optimizer, params, twins):
    optimizer.param_groups[0]["params"].reverse()


EDITS = [
    step_in_place,
    step_of_one_without_gradient,
    step_replaced,
    moments_in_place,
    moments_replaced,
    whole_state_replaced,
    all_cleared,
    one_deleted,
    handed_to_another,
    two_exchanged,
    parameters_reordered,
]


@pytest.mark.parametrize("name", ["radam", "adam-2k", "adamw-amsgrad"])
@both_paths
@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_what_is_written_into_the_state_counts_from_the_next_step(name, path, edit):
    method = BY_NAME[name]
    params = parameters(shapes=((3, 4), (3, 4), (5,), (2,)))
    options = {"lr": 0.01, "betas": (0.9, 0.99)}
    optimizer = method.optimizer(params, **options, **path)
    twins = [method.textbook(numbers(p), **options) for p in params]

    def present(i, step):
        return not (i == 1 and step == 2) and not (i == 3 and 4 <= step <= 7)

    so_far = race(optimizer, params, twins, range(1, 6), present)
    edit(optimizer, params, twins)
    race(optimizer, params, twins, range(6, 12), present, so_far=so_far)


@both_paths
def test_another_parameter_put_in_the_place_of_one_begins_afresh(path):
    params = parameters(shapes=((3, 4), (3, 4)))
    optimizer = BY_NAME["radam"].optimizer(params, lr=0.01, **path)
    twins = [BY_NAME["radam"].textbook(numbers(p), lr=0.01) for p in params]
    race(optimizer, params, twins, range(1, 8))
    params[0] = optimizer.param_groups[0]["params"][0] = parameters(shapes=((3, 4),), seed=1)[0]
    twins[0] = BY_NAME["radam"].textbook(numbers(params[0]), lr=0.01)
    race(optimizer, params, twins, range(8, 16))
    assert [int(optimizer.state[p]["step"]) for p in params] == [8, 15]
