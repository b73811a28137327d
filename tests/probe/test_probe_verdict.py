"""verdict: the rule on quadratics, where everything is known, and what it says when it knows too little."""

import math

import pytest
import torch
from torch import nn

import rectified
from rectified import Probe
from rectified.probe.probe_verdict import SHARE, SHORT
from rectified.warmup import Linear

EVEN, UNEVEN = torch.ones(8, dtype=torch.float64), torch.logspace(-3, 3, 8, dtype=torch.float64)


def quadratic(lr, warmup=None, steps=6, again=True, curvature=EVEN, run=None):
    """Adam on sum curvature / 2 * theta^2 from theta = 1: its first step is lr long in every element."""
    p = nn.Parameter(torch.ones(8, dtype=torch.float64))
    optimizer = rectified.Adam([p], lr=lr, warmup=warmup)
    probe = Probe(optimizer, steps=run)

    def loss_of():
        return (curvature / 2 * p.square()).sum()

    for _ in range(steps):
        loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        probe.observe(loss, again=loss_of if again else None)
    return probe


@pytest.mark.parametrize("curvature", [EVEN, UNEVEN, 7 * EVEN])
@pytest.mark.parametrize("lr", [0.1, 1.02, 1.9, 5.0])
def test_a_first_step_is_too_long_beyond_the_minimum_of_its_line(lr, curvature):
    """From 1 the minimum is 1 away and the edge 2."""
    found = quadratic(lr, steps=3, curvature=curvature).verdict()
    assert found.reach >= lr / 2 * 0.999  # that of the first step; a later one may reach further
    assert (found.answer == "not needed") == (lr < 1)
    assert (found.share > 0) == (lr > 1)


def test_with_even_gradients_a_smaller_lr_may_do_as_well():
    assert quadratic(1.9, curvature=EVEN).verdict().answer == "cannot tell"
    assert quadratic(1.9, curvature=UNEVEN).verdict().answer == "needed"


def test_the_length_follows_the_reach_and_the_gradients():
    assert quadratic(1.1, steps=3, curvature=UNEVEN).verdict().share == SHARE
    little = quadratic(1.02, steps=3).verdict()
    assert little.share == (SHORT if little.reach <= 0.8 else SHARE)
    assert quadratic(1.9).verdict().share == SHARE
    assert quadratic(1.9, run=1000).verdict().length == 1000 * SHARE
    assert quadratic(1.9).verdict().length == 0  # the run's length is unknown
    assert quadratic(0.1, run=1000).verdict().length == 0


def test_the_reach_and_the_safe_lr_of_the_first_step():
    found = quadratic(1.6, steps=2).verdict()
    assert found.why == "only one step was measured"
    assert found.reach == pytest.approx(0.8)
    assert found.safe_lr == pytest.approx(1.0)  # which ends at the minimum


def test_curvature_does_not_matter_for_the_reach():
    assert quadratic(1.6, curvature=7 * EVEN).verdict().reach == pytest.approx(quadratic(1.6).verdict().reach)


def test_a_warmup_that_the_run_has_is_seen_and_kept():
    found = quadratic(1.2, Linear(100), steps=7, curvature=UNEVEN).verdict()
    assert found.answer == "needed"
    assert found.covered
    assert found.share == 0
    assert "own warmup" in found.why


def test_without_a_second_loss_it_cannot_tell_unless_a_gradient_points_back():
    assert quadratic(0.1, again=False).verdict().answer == "cannot tell"
    assert "no second loss" in quadratic(0.1, again=False).verdict().why
    found = quadratic(5.0, again=False, curvature=UNEVEN).verdict()
    assert found.answer == "needed"
    assert math.isnan(found.reach)


def test_a_second_loss_that_is_not_finite_is_beyond_every_edge():
    probe = quadratic(0.1, steps=1)
    probe.optimizer.param_groups[0]["params"][0].data.fill_(1.0)
    p = probe.optimizer.param_groups[0]["params"][0]
    for _ in range(3):
        loss = (UNEVEN / 2 * p.square()).sum()
        probe.optimizer.zero_grad()
        loss.backward()
        probe.optimizer.step()
        probe.observe(loss, again=lambda: math.nan)
    assert probe.verdict().reach == math.inf
    assert "not finite" in probe.verdict().why


def test_without_the_first_steps_it_cannot_tell():
    assert quadratic(1.0, steps=0).verdict().answer == "cannot tell"
    probe = quadratic(0.01, steps=40)
    probe.history = [o for o in probe.history if o.step > 20]
    assert "the first observed step is 23" in probe.verdict().why


def test_a_verdict_is_plain_values():
    assert quadratic(1.0, steps=0).verdict().as_dict()["reach"] is None
