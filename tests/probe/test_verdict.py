"""verdict: the rule on quadratics, where everything is known, and what it says when it knows too little."""

import math

import pytest
import torch
from torch import nn

import rectified
from rectified import Probe
from rectified.warmup import Linear


def quadratic(lr, warmup=None, steps=6, again=True, curvature=1.0):
    """Adam on curvature / 2 * theta^2 from theta = 1, in one dimension: its first steps are lr long."""
    p = nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = rectified.Adam([p], lr=lr, warmup=warmup)
    probe = Probe(optimizer)
    for _ in range(steps):
        loss = curvature / 2 * p.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        probe.observe(loss, again=(lambda: curvature / 2 * p.square().sum()) if again else None)
    return probe


@pytest.mark.parametrize(("lr", "answer"), [(0.1, "not needed"), (1.02, "needed"), (1.9, "needed"), (5.0, "needed")])
def test_a_first_step_is_too_long_beyond_the_minimum_of_its_line(lr, answer):
    """From 1 the minimum is 1 away and the edge 2. With two steps there is one observation of a complete pair."""
    found = quadratic(lr, steps=3).verdict()
    assert found.answer == answer
    assert found.reach >= lr / 2 * 0.999  # of the first step; a later one may reach further


def test_the_reach_and_the_safe_lr_of_the_first_step():
    probe = quadratic(1.6, steps=2)
    found = probe.verdict()
    assert found.answer == "cannot tell"  # only one step was measured
    assert found.reach == pytest.approx(0.8)
    assert found.safe_lr == pytest.approx(1.0)  # which ends at the minimum


def test_curvature_does_not_matter_for_the_reach():
    assert quadratic(1.6, curvature=7.0).verdict().reach == pytest.approx(quadratic(1.6).verdict().reach)


def test_a_warmup_that_the_run_has_is_seen_and_kept():
    found = quadratic(1.2, Linear(100), steps=7).verdict()
    assert found.answer == "needed"
    assert found.covered
    assert found.length == 0
    assert "own warmup" in found.why


def test_without_a_second_loss_only_a_gradient_that_points_back_decides():
    assert quadratic(0.1, again=False).verdict().answer == "cannot tell"
    found = quadratic(5.0, again=False).verdict()
    assert found.answer == "needed"
    assert math.isnan(found.reach)


def test_without_the_first_steps_it_cannot_tell():
    assert quadratic(1.0, steps=0).verdict().answer == "cannot tell"
    probe = quadratic(0.01, steps=40)
    probe.history = [o for o in probe.history if o.step > 20]
    assert "the first observed step is 23" in probe.verdict().why


def test_a_verdict_is_plain_values():
    assert quadratic(1.0, steps=0).verdict().as_dict()["reach"] is None
