"""warmup_metrics: explain's numbers, by name, through any wrapper."""

import pytest
import torch

import rectified
from rectified.trainers import warmup_metrics
from rectified.warmup import Linear


def parameter():
    p = torch.nn.Parameter(torch.ones(2))
    p.grad = torch.ones(2)
    return p


class Wrapper:
    def __init__(self, optimizer):
        self.optimizer = optimizer


def test_one_group_needs_no_suffix_and_wrappers_none_at_all():
    optimizer = rectified.AdamW([parameter()], lr=0.5, warmup=Linear(10))
    optimizer.step()
    assert warmup_metrics(optimizer) == {"omega": 0.2, "effective_lr": 0.1}
    assert warmup_metrics(Wrapper(Wrapper(optimizer))) == warmup_metrics(optimizer)


def test_in_a_momentum_start_the_effective_lr_is_lr():
    assert warmup_metrics(rectified.RAdam([parameter()], lr=0.5)) == {"omega": 0.0, "effective_lr": 0.5}
    assert warmup_metrics(rectified.RAdam([parameter()], lr=0.5, start="hold")) == {"omega": 0.0, "effective_lr": 0.0}


def test_groups_are_numbered_as_in_the_optimizer_and_empty_ones_left_out():
    groups = [
        {"params": [parameter()], "lr": 0.5},
        {"params": []},
        {"params": [parameter()], "warmup": Linear(4)},
    ]
    metrics = warmup_metrics(rectified.AdamW(groups, lr=1.0, warmup=Linear(10)))
    assert metrics == {
        "omega/group0": 0.1,
        "effective_lr/group0": 0.05,
        "omega/group2": 0.25,
        "effective_lr/group2": 0.25,
    }


def test_of_parameters_of_different_age_the_oldest_count():
    first, late = parameter(), parameter()
    late.grad = None
    optimizer = rectified.AdamW([late, first], lr=1.0, warmup=Linear(10))
    optimizer.step()
    assert len(rectified.explain(optimizer)) == 2
    assert warmup_metrics(optimizer)["omega"] == 0.2


def test_others_that_are_warmed_up_here_have_metrics_too():
    wrapped = rectified.rectify(torch.optim.NAdam([parameter()], lr=0.5), Linear(10))
    beside = torch.optim.SGD([parameter()], lr=0.5)
    scheduler = rectified.WarmupLR(beside, Linear(10))
    member = rectified.NAdam([parameter()], lr=0.5, warmup=Linear(10))
    for optimizer in (wrapped, beside, member):
        optimizer.step()
        assert warmup_metrics(Wrapper(optimizer)) == {"omega": 0.2, "effective_lr": 0.1}
    scheduler.remove()


@pytest.mark.parametrize("other", [torch.optim.AdamW([parameter()]), Wrapper(torch.optim.SGD([parameter()])), None])
def test_anything_else_is_refused(other):
    with pytest.raises(TypeError, match="one of rectified's optimizers"):
        warmup_metrics(other)
