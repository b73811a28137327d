"""A warmup begun anew."""

import pytest
import torch

import rectified
from roster import every_method
from trajectories import numbers, parameters, train


@every_method
@pytest.mark.parametrize("capturable", [False, True])
def test_a_rewarmed_optimizer_is_a_new_one(method, capturable):
    params = parameters()
    optimizer = method.optimizer(params, capturable=capturable)
    train(optimizer, params, range(1, 12))
    fresh = [torch.nn.Parameter(p.detach().clone()) for p in params]
    other = method.optimizer(fresh, capturable=capturable)
    optimizer.restart_warmup()
    train(optimizer, params, range(12, 30))
    train(other, fresh, range(12, 30))
    for p, q in zip(params, fresh, strict=True):
        assert (numbers(p) == numbers(q)).all()


@pytest.mark.parametrize("capturable", [False, True])
def test_kahans_compensation_is_part_of_the_weight_and_stays(capturable):
    params = parameters(torch.bfloat16)
    optimizer = rectified.RAdam(params, lr=1e-3, rounding="kahan", capturable=capturable)
    train(optimizer, params, range(1, 12))
    weights = [numbers(p) + numbers(optimizer.state[p]["compensation"]) for p in params]
    assert any((numbers(p) != w).any() for p, w in zip(params, weights, strict=True))
    optimizer.restart_warmup()
    for p, w in zip(params, weights, strict=True):
        entry = optimizer.state[p]
        assert (numbers(p) + numbers(entry["compensation"]) == w).all()
        assert not any(entry[name].any() for name in ("step", "exp_avg", "exp_avg_sq"))


def test_one_group_alone():
    one, two = parameters(shapes=((3,), (4,)))
    optimizer = rectified.RAdam([{"params": [one]}, {"params": [two]}])
    train(optimizer, [one, two], range(1, 10))
    optimizer.restart_warmup(group=1)
    assert optimizer.state[one]["step"] == 9
    assert optimizer.state[two]["step"] == 0
    train(optimizer, [one, two], range(10, 12))
    assert [explanation.t for explanation in rectified.explain(optimizer)] == [12, 3]
    with pytest.raises(IndexError):
        optimizer.restart_warmup(group=2)


def test_before_the_first_step_there_is_nothing_to_do():
    optimizer = rectified.RAdam(parameters())
    optimizer.restart_warmup()
    assert not optimizer.state
