"""trial: every arm from the same snapshot on the same batches, and advice that keeps its promise."""

import math
import random

import numpy
import pytest
import torch
from torch import nn

import rectified
from rectified.probe import Probe, TrialRun, Verdict, trial, watch
from rectified.probe.probe_verdict import SHARE, SHORT
from rectified.probe.snapshot import Snapshot
from rectified.probe.trial import _batches, _lengths, _scaled_lr, _train, _without_own_warmup
from rectified.probe.trial_result import AS_IS, Arm, difference, result_of
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
    assert probe.history[-1].step == 32
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
    with _without_own_warmup(inner):
        for x in data(0, 1):
            run.optimizer.zero_grad()
            loss(run.model, x).backward()
            before = [p.detach().clone() for p in run.model.parameters()]
            with _scaled_lr(inner, 0.25):
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


@pytest.mark.parametrize("name", KINDS)
def test_a_smaller_lr_stays_the_same_share(name):
    """Also around rectify, which scales the lr in the step."""
    torch.manual_seed(0)
    run = make(kind=KINDS[name])(0)
    inner = getattr(run.optimizer, "optimizer", run.optimizer)
    for x in data(0, 12):
        loss(run.model, x).backward()
        with _scaled_lr(inner, 1 / 3):
            run.optimizer.step()
        assert float(inner.param_groups[0]["lr"]) == pytest.approx(0.01)


@pytest.mark.parametrize("scheduled", [False, True])
def test_the_smaller_lr_in_the_advice_is_of_the_runs_lr(scheduled):
    def make_run(seed):
        run = make()(seed)
        if scheduled:
            run.scheduler = torch.optim.lr_scheduler.LambdaLR(run.optimizer, lambda step: 1 - step / 20)
        return run

    lines = [arm.line for arm in trial(make_run, steps=20, seeds=(0,)).arms]
    assert "lr=0.00333 instead of 0.01" in lines


@pytest.mark.parametrize("at", [10, 70])
def test_an_error_in_any_arm_leaves_everything_as_it_was(at):
    made, calls = [], [0]

    def failing(model, x):
        calls[0] += 1
        if calls[0] == at:
            raise KeyboardInterrupt
        return loss(model, x)

    def make_run(seed):
        run = make()(seed)
        made.append((run, [p.detach().clone() for p in run.model.parameters()]))
        run.loss = failing
        return run

    state, own = torch.get_rng_state(), random.getstate()
    with pytest.raises(KeyboardInterrupt):
        trial(make_run, steps=20, seeds=(0,))
    ((run, before),) = made
    assert all(map(torch.equal, before, run.model.parameters()))
    assert not run.optimizer.state
    assert not run.optimizer._optimizer_step_pre_hooks
    assert not run.optimizer._optimizer_step_post_hooks
    assert torch.equal(state, torch.get_rng_state())
    assert own == random.getstate()


def test_generators_are_as_before_a_trial():
    state = torch.get_rng_state()
    trial(make(), steps=10, seeds=(5,))
    assert torch.equal(state, torch.get_rng_state())


class Averaging(nn.Module):
    """Replaces its buffer instead of writing to it, and draws from numpy's and Python's generators."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(5, 1)
        self.frozen = nn.BatchNorm1d(5).eval()
        self.register_buffer("average", torch.zeros(()))

    def forward(self, x):
        y = self.inner(self.frozen(x)) * (1 + 0.1 * numpy.random.rand() + 0.1 * random.random())
        self.average = 0.9 * self.average + 0.1 * y.detach().mean()
        return y + self.average


def test_every_arm_starts_from_the_same_state():
    """Parameters outside the model, replaced buffers, foreign generators, frozen normalization, batches with parts."""
    seen = []

    def make_run(seed):
        model, temperature = Averaging(), nn.Parameter(torch.ones(()))
        lr = torch.tensor(0.01)
        optimizer = torch.optim.Adam([{"params": model.parameters()}, {"params": [temperature]}], lr=lr)

        def of(model, batch):
            x = batch.pop("x")
            found = (temperature * model(x) - x.sum(1, keepdim=True)).square().mean()
            assert not model.frozen.training
            return found

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / 20)
        return TrialRun(model, optimizer, [{"x": x} for x in data(seed, 20)], of, scheduler=scheduler)

    torch.manual_seed(0)
    run = make_run(0)
    lr = run.optimizer.param_groups[0]["lr"]
    start, batches = Snapshot(run.model, run.optimizer, [run.scheduler]), _batches(run, 20)
    for probe in (None, Probe(run.optimizer, run.model), None):
        seen.append(_train(run, AS_IS, batches, probe))
        start.restore()
        if probe is not None:
            probe.close()
        assert run.optimizer.param_groups[0]["lr"] is lr
        assert run.optimizer.param_groups[1]["lr"] is lr
        assert lr == torch.tensor(0.01)
    assert seen[0] == seen[1] == seen[2]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_losses_that_are_not_finite_from_the_start_are_named(value):
    with pytest.raises(ValueError, match=f"evaluate gives {value} before training"):
        trial(make(evaluate=lambda model: value), steps=10)
    run = make()(0)
    run.loss = lambda model, x: loss(model, x) * value
    with pytest.raises(ValueError, match=f"the loss of the first batch is {value}"):
        trial(lambda seed: run, steps=10)


def test_a_scheduler_that_needs_a_loss_is_refused():
    def make_run(seed):
        run = make()(seed)
        run.scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(run.optimizer)
        return run

    with pytest.raises(TypeError, match="ReduceLROnPlateau"):
        trial(make_run, steps=10)


def test_batches_leave_shared_memory():
    shared = torch.ones(3).share_memory_()
    run = make()(0)
    run.batches = [{"x": shared, "more": [shared, (shared, "text")]}]
    (batch,) = _batches(run, 1)
    assert not batch["x"].is_shared()
    assert not batch["more"][0].is_shared()
    assert not batch["more"][1][0].is_shared()
    assert batch["more"][1][1] == "text"
