"""What a probe assumes of a run: it measures clipping, and says where a step is not that of Adam's moments."""

import math
import warnings

import pytest
import torch
from short_run import batches, net, train
from torch import nn

import rectified
from rectified import Probe


class Lion(torch.optim.Optimizer):
    """Betas, but a single moment."""

    def __init__(self, params, lr, betas=(0.9, 0.99)):
        super().__init__(params, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("exp_avg", torch.zeros_like(p))
                p.sub_(torch.lerp(p.grad, m, group["betas"][0]).sign(), alpha=group["lr"])
                m.lerp_(p.grad, 1 - group["betas"][1])


@pytest.mark.parametrize(("optimizer", "kept"), [(torch.optim.Adamax, "exp_avg, exp_inf, step"), (Lion, "exp_avg")])
def test_optimizers_with_other_moments_are_named_once(optimizer, kept):
    """Not refused: what an optimizer keeps shows after its first step, and a probe must not end a run."""
    model = net()
    optimizer = optimizer(model.parameters(), lr=0.01)
    probe = Probe(optimizer)
    with pytest.warns(UserWarning, match=f"{type(optimizer).__name__} keeps {kept}: nothing is observed") as warned:
        train(model, optimizer, batches(5), probe, again=True)
    assert len(warned) == 1
    assert probe.verdict().answer == "cannot tell"


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("scale", [None, 2.0**16])
def test_clipping_changes_no_gain_ratio(scale, given):
    """The loss has the slope that it had before its gradient was clipped."""
    found = []
    for clip in (1e9, 0.5):
        model = net(torch.float64)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01, eps=0.0)
        probe = Probe(optimizer)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale or 1.0, enabled=scale is not None)
        for x in batches(3, torch.float64):
            loss = 100 * model(x).square().mean()
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            norm = nn.utils.clip_grad_norm_(model.parameters(), clip)
            scaler.step(optimizer)
            scaler.update()
            more = {"grad_norm": norm} if given or (scale is not None and clip < 1) else {}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore" if more else "error")
                probe.observe(loss, again=lambda x=x, m=model: 100 * m(x).square().mean(), **more)
        found.append(probe.history[0].model)
        assert norm > 0.5
    # The first step has d = sign(g), whether g was clipped or not.
    assert found[1].gain_ratio == pytest.approx(found[0].gain_ratio, rel=1e-6)


def test_clipping_under_a_grad_scaler_asks_for_the_norm():
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    probe, scaler = Probe(optimizer), torch.amp.GradScaler("cpu")

    def steps(several):
        for x in several:
            loss = 100 * model(x).square().mean()
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 0.37)
            scaler.step(optimizer)
            scaler.update()
            probe.observe(loss, again=lambda x=x: 100 * model(x).square().mean())

    with pytest.warns(UserWarning, match="grad_norm=norm") as warned:
        steps(batches(9))
    assert len(warned) == 1
    assert probe.verdict().answer == "cannot tell"


@pytest.mark.parametrize("optimizer", [torch.optim.NAdam, rectified.NAdam, rectified.LAMB])
def test_other_steps_with_adams_moments_are_named_once(optimizer):
    model = net()
    optimizer = optimizer(model.parameters(), lr=0.05)
    probe = Probe(optimizer)
    with pytest.warns(UserWarning, match=f"of {type(optimizer).__name__} is not that of Adam's moments") as warned:
        train(model, optimizer, batches(9), probe, again=True)
    assert len(warned) == 1
    last = probe.history[-1].model
    assert math.isnan(last.gain_ratio)
    assert last.grad_norm > 0
    verdict = probe.verdict()
    assert verdict.answer == "cannot tell"
    assert "not that of Adam's moments" in verdict.why


def test_sparse_gradients_are_left_out():
    sparse, dense = nn.Embedding(9, 4, sparse=True), nn.Linear(4, 1)
    optimizer = torch.optim.SparseAdam(sparse.parameters(), lr=0.01)
    probe = Probe(optimizer)
    dense(sparse(torch.tensor([1, 2]))).sum().backward()
    with pytest.warns(UserWarning, match="dense gradients"):
        optimizer.step()
    probe.observe(1.0)
    assert probe.metrics() == {}


def test_steps_in_backward_are_named():
    model = net()
    optimizer = rectified.Adam(model.parameters())
    in_backward = rectified.optim.StepInBackward(optimizer)
    probe = Probe(optimizer)
    with pytest.warns(UserWarning, match="as with steps in backward"):
        train(model, optimizer, batches(3), probe)
    in_backward.remove()
