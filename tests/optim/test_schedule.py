"""WarmupLR: a warmup as a scheduler, beside any other, in any order, whoever calls whom how often."""

import copy
from functools import partial

import pytest
import torch
from torch.optim import lr_scheduler

import rectified
import reference
from messages import says
from peers import peer
from rectified.warmup import Constant, Linear, Rectified, SecondMomentOnly, UntunedExponential, UntunedLinear
from trajectories import comes_and_goes, numbers, parameters, race, set_gradients, train

WARMUPS = {
    "rectified": (None, lambda t: reference.rectified(t + 5, 0.999)),
    "exact": (Rectified("exact"), lambda t: reference.rectified_exactly(t + 2, 0.999)),
    "untuned-linear": (UntunedLinear(), lambda t: reference.untuned_linear(t, 0.999)),
    "untuned-exponential": (UntunedExponential(), lambda t: reference.untuned_exponential(t, 0.999)),
    "linear": (Linear(7), lambda t: min(1.0, t / 7)),
    "constant": (Constant(), lambda t: 1.0),
}
OTHERS = {
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda n: 1 / (1 + n)),
    "multiplicative": lambda o: lr_scheduler.MultiplicativeLR(o, lambda n: 0.9),
    "step": lambda o: lr_scheduler.StepLR(o, 3, 0.5),
    "exponential": lambda o: lr_scheduler.ExponentialLR(o, 0.8),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 10),
    "restarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 4),
    "one cycle": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=30),
}
every_warmup = pytest.mark.parametrize(("warmup", "omega"), WARMUPS.values(), ids=WARMUPS.keys())
every_other = pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS.keys())


def moved(optimizer, p):
    """How far a step of SGD with a gradient of 1 goes: its lr."""
    before, p.grad = p.item(), torch.ones_like(p)
    optimizer.step()
    return before - p.item()


def one(lr=0.4):
    p = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))
    return p, torch.optim.SGD([p], lr=lr)


@every_warmup
def test_adam_under_it_takes_the_textbooks_steps(warmup, omega):
    params = parameters()
    optimizer = torch.optim.Adam(params, lr=0.02)
    scheduler = rectified.WarmupLR(optimizer, warmup)
    twins = [reference.Textbook(numbers(p), lr=0.02, omega=lambda t, _: omega(t)) for p in params]
    so_far = None
    for step in range(1, 15):
        assert scheduler.get_last_lr() == pytest.approx([0.02 * omega(step)], rel=1e-12)
        assert scheduler.get_last_lr()[0] > 0
        so_far = race(optimizer, params, twins, [step], so_far=so_far)
        scheduler.step()


def test_hold_has_no_lr_for_its_steps_and_skip_none_of_them():
    p, optimizer = one()
    scheduler = rectified.WarmupLR(optimizer, SecondMomentOnly(2), on_zero="hold")
    assert [moved(optimizer, p) for _ in range(4)] == [0, 0, 0.4, pytest.approx(0.4)]
    scheduler.remove()
    rectified.WarmupLR(optimizer, SecondMomentOnly(2))
    assert moved(optimizer, p) == pytest.approx(0.4)


@every_other
@pytest.mark.parametrize("first", [True, False], ids=["made first", "made last"])
@pytest.mark.parametrize("ahead", [True, False], ids=["stepped first", "stepped last"])
def test_beside_any_other_scheduler_in_either_order(make, first, ahead):
    p, optimizer = one()
    other = None if first else make(optimizer)
    ours = rectified.WarmupLR(optimizer, Linear(7))
    other = other or make(optimizer)
    q, alone = one()
    unaware = make(alone)
    for step in range(1, 13):
        assert moved(optimizer, p) == pytest.approx(moved(alone, q) * min(1, step / 7), abs=1e-12)
        for scheduler in (ours, other) if ahead else (other, ours):
            scheduler.step()
        unaware.step()
        assert optimizer.param_groups[0]["lr"] == pytest.approx(alone.param_groups[0]["lr"])


@pytest.mark.parametrize("ahead", [True, False])
def test_in_a_chain(ahead):
    p, optimizer = one()
    both = [rectified.WarmupLR(optimizer, Linear(4)), lr_scheduler.ExponentialLR(optimizer, 0.5)]
    chain = lr_scheduler.ChainedScheduler(both if ahead else both[::-1])
    for step in range(6):
        assert moved(optimizer, p) == pytest.approx(0.4 * 0.5**step * min(1, (step + 1) / 4))
        chain.step()


@pytest.mark.parametrize("milestone", [2, 4, 6])
@pytest.mark.filterwarnings("ignore:The epoch parameter")
def test_in_a_sequence_whose_milestone_does_not_end_it(milestone):
    p, optimizer = one()
    parts = [rectified.WarmupLR(optimizer, Linear(4)), lr_scheduler.ExponentialLR(optimizer, 0.5)]
    sequence = lr_scheduler.SequentialLR(optimizer, parts, [milestone])
    for step in range(8):
        assert moved(optimizer, p) == pytest.approx(0.4 * 0.5 ** max(0, step - milestone) * min(1, (step + 1) / 4))
        sequence.step()


@pytest.mark.parametrize("calls", [0, 1, 3])
@pytest.mark.filterwarnings("ignore:Detected call of")
def test_it_counts_steps_of_the_optimizer_however_often_a_trainer_calls_it(calls):
    p, optimizer = one()
    scheduler = rectified.WarmupLR(optimizer, Linear(4))
    for step in range(1, 6):
        assert moved(optimizer, p) == pytest.approx(0.4 * min(1, step / 4))
        for _ in range(calls):
            scheduler.step()


def test_a_plateau_beside_it():
    p, optimizer = one()
    rectified.WarmupLR(optimizer, Linear(2))
    plateau = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
    lrs = []
    for _ in range(4):
        lrs.append(moved(optimizer, p))
        plateau.step(1.0)
    assert lrs == pytest.approx([0.2, 0.4, 0.2, 0.1])


@pytest.mark.parametrize("carried", ["both", "optimizer", "scheduler"])
def test_goes_on_from_a_save_of_either(carried):
    p, optimizer = one()
    scheduler = rectified.WarmupLR(optimizer, Linear(9))
    for _ in range(4):
        moved(optimizer, p)
        scheduler.step()
    saved = copy.deepcopy((optimizer.state_dict(), scheduler.state_dict()))
    q, again = one()
    resumed = rectified.WarmupLR(again, Linear(9))
    if carried != "scheduler":
        again.load_state_dict(saved[0])
    if carried != "optimizer":
        resumed.load_state_dict(saved[1])
    assert resumed.get_last_lr() == pytest.approx([0.4 * 5 / 9])
    assert moved(again, q) == pytest.approx(0.4 * 5 / 9)


def test_a_save_is_plain_values(tmp_path):
    _, optimizer = one()
    scheduler = rectified.WarmupLR(optimizer, Linear(9))
    torch.save(scheduler.state_dict(), tmp_path / "scheduler.pt")
    loaded = torch.load(tmp_path / "scheduler.pt", weights_only=True)
    assert loaded["counts"] == [0]
    scheduler.load_state_dict(loaded)


def test_another_schedulers_save_is_refused_and_changes_nothing():
    _, optimizer = one()
    scheduler = rectified.WarmupLR(optimizer, Linear(9))
    for saved in (
        lr_scheduler.ExponentialLR(optimizer, 0.5).state_dict(),
        {**scheduler.state_dict(), "counts": [1, 2]},
    ):
        with pytest.raises(ValueError, match=says(["counts", "1 groups", "another"])):
            scheduler.load_state_dict(saved)
    assert optimizer.param_groups[0]["warmup_clock"] == 0


def test_an_optimizer_that_was_resumed_without_its_count():
    p, optimizer = one()
    optimizer.param_groups[0]["initial_lr"] = 0.4
    rectified.WarmupLR(optimizer, Linear(9), last_epoch=3)
    assert moved(optimizer, p) == pytest.approx(0.4 * 5 / 9)


def test_an_optimizer_that_has_stepped_before_goes_on_from_its_states_count():
    params = parameters()
    optimizer = torch.optim.Adam(params)
    train(optimizer, params, range(1, 4))
    rectified.WarmupLR(optimizer, Linear(9))
    assert optimizer.param_groups[0]["warmup_clock"] == 3


def test_groups_have_clocks_of_their_own():
    params = parameters()
    optimizer = torch.optim.Adam([{"params": params[:1]}, {"params": params[1:2], "betas": (0.9, 0.9)}], lr=0.1)
    scheduler = rectified.WarmupLR(optimizer, UntunedLinear())
    for step in range(1, 8):
        set_gradients(params, step, comes_and_goes)
        optimizer.step()
        scheduler.step()
    assert [group["warmup_clock"] for group in optimizer.param_groups] == [5, 3]
    assert scheduler.get_last_lr() == pytest.approx([0.1 * 0.003, 0.1 * 0.2])


def test_a_step_that_raises_leaves_the_lr_to_a_save_as_it_was():
    params = parameters()
    optimizer = torch.optim.Adam(params, lr=0.1)
    rectified.WarmupLR(optimizer, Linear(4))

    def fail():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(fail)
    assert optimizer.state_dict()["param_groups"][0]["lr"] == 0.1
    train(optimizer, params, [1])
    assert optimizer.param_groups[0]["omega"] == 0.25


def test_a_tensor_lr():
    p, optimizer = one(torch.tensor(0.4, dtype=torch.float64))
    scheduler = rectified.WarmupLR(optimizer, Linear(4))
    assert moved(optimizer, p) == pytest.approx(0.1)
    scheduler.step()
    assert scheduler.get_last_lr()[0].item() == pytest.approx(0.2)
    assert optimizer.param_groups[0]["lr"].item() == 0.4


@pytest.mark.parametrize(
    ("make", "warmup", "fragments"),
    [
        (torch.optim.SGD, None, ["SGD", "no v", "Linear(steps)"]),
        (torch.optim.SGD, UntunedLinear(), ["UntunedLinear needs beta2", "SGD", "pass beta2="]),
        (peer("pytorch_optimizer.Lion"), None, ["Lion", "signs"]),
        (rectified.RAdam, None, ["has its own warmup"]),
        (partial(torch.optim.Adam, amsgrad=True), None, ["amsgrad=True"]),
    ],
)
def test_what_cannot_be_warmed_up_is_refused_with_the_reason(make, warmup, fragments):
    with pytest.raises(ValueError, match=says(fragments)):
        rectified.WarmupLR(make(parameters()), warmup)


def test_two_of_them_would_multiply():
    _, optimizer = one()
    scheduler = rectified.WarmupLR(optimizer, Linear(3))
    with pytest.raises(ValueError, match="already"):
        rectified.WarmupLR(optimizer, Linear(3))
    scheduler.remove()
    rectified.WarmupLR(optimizer, Linear(5))


def test_linear_scaling():
    assert rectified.linear_scaling(0.1, 8192) == pytest.approx(3.2)
    assert rectified.linear_scaling(0.1, 64, 128) == pytest.approx(0.05)
    for wrong in ((-1, 8), (0.1, 0), (0.1, 8, 0)):
        with pytest.raises(ValueError, match="must be"):
            rectified.linear_scaling(*wrong)
