"""trial: every arm from the same snapshot on the same batches, and advice that keeps its promise."""

import math
import random

import pytest
import torch
from torch import nn

import rectified
from rectified.probe import TrialRun, Verdict, trial, watch
from rectified.probe.trial import _batches, _changed, _lengths, _train
from rectified.probe.trial_result import AS_IS, Arm, difference, result_of
from rectified.probe.verdict import SHARE, SHORT
from rectified.warmup import Linear, UntunedLinear


def data(seed, steps=200):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(16, 5, generator=generator) for _ in range(steps)]


def loss(model, x):
    return (model(x) - x.sum(1, keepdim=True)).square().mean()


def make(lr=0.01, kind=torch.optim.Adam, **options):
    def make_run(seed):
        model = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Dropout(0.1), nn.BatchNorm1d(16), nn.Linear(16, 1))
        return TrialRun(model, kind(model.parameters(), lr=lr), data(seed), loss, **options)

    return make_run


def by_hand(make_run, steps, warmup=None, factor=1.0, clip=math.inf):
    """The same training as a plain loop."""
    torch.manual_seed(0)
    run = make_run(0)
    for step, x in enumerate(data(0, steps)):
        run.optimizer.zero_grad()
        loss(run.model, x).backward()
        if clip < math.inf:
            nn.utils.clip_grad_norm_(run.model.parameters(), clip)
        for group in run.optimizer.param_groups:
            group["lr"] = 0.01 * factor * (min(1.0, (step + 1) / warmup) if warmup else 1.0)
        run.optimizer.step()
    return [p.detach() for p in (*run.model.parameters(), *run.model.buffers())]


@pytest.mark.parametrize(
    ("arm", "options"),
    [
        (AS_IS, {}),
        (Arm("", warmup=7), {"warmup": 7}),
        (Arm("", factor=1 / 3), {"factor": 1 / 3}),
        (Arm("", clip=0.1), {"clip": 0.1}),
    ],
)
def test_an_arm_is_what_a_plain_loop_does(arm, options):
    torch.manual_seed(0)
    run = make()(0)
    _train(run, arm, _batches(run, 30), None)
    ours = [p.detach() for p in (*run.model.parameters(), *run.model.buffers())]
    for a, b in zip(ours, by_hand(make(), 30, **options), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_watching_changes_nothing_and_goes_back():
    torch.manual_seed(0)
    run = make()(0)
    before = [p.detach().clone() for p in (*run.model.parameters(), *run.model.buffers())]
    state, own = torch.get_rng_state(), random.getstate()
    probe = watch(run, 40)
    assert all(map(torch.equal, before, [*run.model.parameters(), *run.model.buffers()]))
    assert torch.equal(state, torch.get_rng_state())
    assert own == random.getstate()
    assert not run.optimizer.state
    assert probe.history[-1].step == 38
    _train(run, AS_IS, _batches(run, 30), None)
    for a, b in zip([*run.model.parameters(), *run.model.buffers()], by_hand(make(), 30), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_dropout_is_the_same_in_the_second_loss():
    """Otherwise the gain ratio of a tiny step would be noise instead of 1."""
    torch.manual_seed(0)
    probe = watch(make(lr=1e-5)(0), 12)
    for o in probe.history:
        assert o.model.gain_ratio == pytest.approx(1, abs=0.05)


KINDS = {
    "Adam": torch.optim.Adam,
    "rectified, own warmup": lambda params, lr: rectified.AdamW(params, lr=lr, warmup=Linear(9)),
    "RAdam": rectified.RAdam,
    "rectify": lambda params, lr: rectified.rectify(torch.optim.AdamW(params, lr=lr), UntunedLinear()),
    "tensor lr": lambda params, lr: torch.optim.Adam(params, lr=torch.tensor(lr)),
}


@pytest.mark.parametrize("name", KINDS)
def test_arms_leave_no_trace(name):
    """The unchanged arm gives the same loss before and after all others."""
    torch.manual_seed(0)
    run = make(kind=KINDS[name])(0)
    from rectified.probe.snapshot import Snapshot

    start, batches = Snapshot(run.model, run.optimizer), _batches(run, 20)
    first = _train(run, AS_IS, batches, None)
    arms = [Arm("", warmup=5), Arm("", factor=0.3), Arm("", clip=0.1)]
    for arm in arms if name in ("Adam", "tensor lr") else [*arms, Arm("", warmup=0)]:
        start.restore()
        assert _train(run, arm, batches, None) != first
    start.restore()
    assert _train(run, AS_IS, batches, None) == first


@pytest.mark.parametrize("name", KINDS)
def test_a_warmup_replaces_the_runs_own(name):
    run = make(kind=KINDS[name])(0)
    inner = getattr(run.optimizer, "optimizer", run.optimizer)
    seen = []
    with _changed(inner, Arm("", warmup=4)):
        for x in data(0, 6):
            run.optimizer.zero_grad()
            loss(run.model, x).backward()
            before = [p.detach().clone() for p in run.model.parameters()]
            run.optimizer.step()
            pairs = zip(run.model.parameters(), before, strict=True)
            seen.append(max((p.detach() - b).abs().max().item() for p, b in pairs))
    assert seen[0] == pytest.approx(0.01 / 4, rel=0.05)


NEEDED, NOT_NEEDED = Verdict("needed", "", length=8), Verdict("not needed", "")
ARMS = [AS_IS, Arm("Linear(8)", warmup=8), Arm("lr / 3", factor=1 / 3)]


@pytest.mark.parametrize(
    ("warmup", "smaller", "found", "best", "contradicts"),
    [
        ([1.0, 1.1, 0.9], [2.0, 2.1, 1.9], NEEDED, "Linear(8)", False),
        ([1.0, 1.1, 0.9], [2.0, 2.1, 1.9], NOT_NEEDED, "Linear(8)", True),
        ([1.0, 1.1, 0.9], [0.5, 0.6, 0.4], NEEDED, "lr / 3", False),  # both help, and the smaller lr helps more
        ([2.0, 2.1, 1.9], [0.5, 0.6, 0.4], NEEDED, "lr / 3", True),
        ([2.0, 2.1, 1.9], [2.0, 2.1, 1.9], NEEDED, "as is", True),
        ([2.0, 2.1, 1.9], [2.0, 2.1, 1.9], NOT_NEEDED, "as is", False),
        ([1.9, 2.2, 1.6], [2.0, 2.1, 1.9], NOT_NEEDED, "as is", False),  # better, but within the noise
        ([3.0, 3.1, 2.9], [3.0, 3.1, 2.9], NOT_NEEDED, "as is", False),
    ],
)
def test_what_is_advised(warmup, smaller, found, best, contradicts):
    result = result_of(ARMS, [[2.0, 2.1, 1.9], warmup, smaller], found, None, 1, 1.0)
    assert result.best.name == best
    assert result.contradicts == contradicts


def test_the_advice_is_a_line_for_the_script():
    torch.manual_seed(0)
    names = {arm.name: arm.line for arm in trial(make(), steps=20, seeds=(0, 1)).arms}
    assert names["as is"].startswith("nothing")
    assert "rectified.rectify(optimizer, rectified.warmup.Linear(" in names["warmup 20%"]
    assert names["lr / 3"] == "lr=0.00333 instead of 0.01"
    own = {arm.name: arm.line for arm in trial(make(kind=KINDS["RAdam"]), steps=20, seeds=(0, 1)).arms}
    assert own["warmup 20%"] == "warmup=rectified.warmup.Linear(4) in rectified.RAdam"
    assert own["no warmup"] == "remove the warmup"


def test_progress_and_cost():
    seen = []
    result = trial(make(), steps=20, seeds=(0, 1), on_progress=seen.append)
    assert [p.done for p in seen] == list(range(len(result.arms) * 2))
    assert seen[-1].total == len(seen)
    assert result.steps == 20 * len(seen)
    assert math.isnan(seen[0].seconds_left)
    assert seen[-1].seconds_left >= 0


@pytest.mark.parametrize(("share", "lengths"), [(0.0, [10, 40, 160]), (SHORT, [20, 40, 160]), (SHARE, [10, 40, 160])])
def test_the_advised_length_is_tried(share, lengths):
    assert _lengths(Verdict("cannot tell", "", share=share), 200) == lengths


def test_lengths_of_my_own():
    result = trial(make(), steps=20, seeds=(0,), lengths=(3, 6))
    assert [arm.warmup for arm in result.arms if arm.warmup] == [3, 6]
    assert result.best is AS_IS or result.best == result.arms[0]  # one seed has no interval, so no advice


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"steps": 7}, "steps is 7; it must be a whole number, 8 or more"),
        ({"steps": 20.0}, "steps is 20.0"),
        ({"seeds": ()}, "seeds is empty"),
        ({"seeds": (0, 1, 0)}, r"seeds is \[0, 1, 0\]; each must appear once"),
        ({"lengths": (0,)}, "lengths has 0; each must be a whole number from 1 to the 200 steps"),
        ({"lengths": (5, 300)}, "lengths has 300"),
        ({"steps": 500}, "the run has 200 batches, and steps is 500"),
    ],
)
def test_wrong_arguments(options, says):
    with pytest.raises(ValueError, match=says):
        trial(make(), **options)


def test_a_run_that_diverges_counts_as_not_having_trained():
    torch.manual_seed(0)
    model, batches = nn.Linear(5, 1), data(0)

    def explodes(model, x):
        return loss(model, x) * (1 if model.weight.abs().max() < 2.5 else math.inf)

    first = explodes(model, batches[0]).item()
    run = TrialRun(model, torch.optim.Adam(model.parameters(), lr=3.0), batches, explodes)
    assert _train(run, AS_IS, batches, None) == first


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_intervals_hold_together(seeds):
    """Five arms that are no different: in at most 5 % of the trials is one called better or worse."""
    generator = random.Random(0)
    wrong, trials = 0, 4000
    for _ in range(trials):
        base = [generator.gauss(0, 1) for _ in range(seeds)]
        arms = [[generator.gauss(0, 1) for _ in range(seeds)] for _ in range(5)]
        found = [difference(arm, base, comparisons=5) for arm in arms]
        wrong += any(d.high < 0 or d.low > 0 for d in found)
    assert wrong / trials < 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)


@pytest.mark.parametrize("found", [NEEDED, NOT_NEEDED])
def test_one_seed_contradicts_nothing(found):
    result = result_of(ARMS, [[2.0], [1.0], [2.5]], found, None, 1, 1.0)
    assert result.best.name == "as is"
    assert not result.contradicts


def test_watching_goes_back_also_after_an_error():
    torch.manual_seed(0)
    run = make()(0)
    before = [p.detach().clone() for p in run.model.parameters()]
    calls = []

    def fails(model, x):
        calls.append(1)
        if len(calls) > 20:
            raise KeyboardInterrupt
        return loss(model, x)

    run.loss = fails
    with pytest.raises(KeyboardInterrupt):
        watch(run, 40)
    assert all(map(torch.equal, before, run.model.parameters()))
    assert not run.optimizer._optimizer_step_post_hooks


def test_the_advice_is_for_the_whole_run():
    lines = {arm.name: arm.line for arm in trial(make(steps=5000), steps=20, seeds=(0,)).arms}
    assert "Linear(1000)" in lines["warmup 20%"]
    probe = watch(make(steps=5000, lr=30.0)(0), 20)
    assert probe.verdict().length == 4000
