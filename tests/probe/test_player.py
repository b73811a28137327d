"""Playing a scheduler: any way to play it gives the same lrs."""

import pytest
import torch
from torch import nn
from torch.optim import SGD
from torch.optim import lr_scheduler as schedules
from torch.optim.lr_scheduler import LambdaLR

from rectified.probe.play.curve import Decay, decay_of, first_at_peak, warmup_length
from rectified.probe.play.player import AffinePlayer, FactorPlayer, Player, player_of
from rectified.probe.play.schedule_tree import FunctionSchedule

HALVES = lambda t: 0.5**t  # noqa: E731
RAMP = lambda t: torch.tensor((t + 1) / 10)  # noqa: E731


def ends_at_7(step):
    if step >= 7:
        raise ValueError("over")
    return 1.0 + step


def optimizer_of(groups, lr=0.1):
    return SGD(
        [{"params": [nn.Parameter(torch.ones(1))], "lr": lr * (i + 1)} for i in range(groups)], lr=lr, momentum=0.9
    )


@pytest.mark.filterwarnings("ignore:Detected call of")
@pytest.mark.parametrize("taken", [0, 2])
@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("functions", [[HALVES], [HALVES, HALVES], [RAMP, HALVES], [HALVES, ends_at_7]])
def test_a_function_of_the_step_is_played_as_torch_steps_it(functions, every, repeats, taken):
    optimizer = optimizer_of(len(functions))
    scheduler = LambdaLR(optimizer, functions)
    for _ in range(taken):
        scheduler.step()
    slow, fast = (kind(optimizer, [scheduler], every, repeats, None) for kind in (Player, FactorPlayer))
    for player in (slow, fast):
        player.play(11)
        player.play(9)
    # After a refusal no lr is certain; the slow one also takes the step after the last lr.
    usable = 20 if slow.refusal is None else slow.refusal[0] - 1
    for a, b in zip(slow.lrs, fast.lrs, strict=True):
        assert len(a) == len(b) == 20
        assert list(a[:usable]) == pytest.approx(list(b[:usable]), rel=1e-6)
    assert slow.refusal == fast.refusal or usable == 20


AFFINE = {
    "cosine": lambda o: schedules.CosineAnnealingLR(o, 8, eta_min=0.05),
    "linear": lambda o: schedules.LinearLR(o, 0.1, total_iters=6),
    "steps": lambda o: schedules.StepLR(o, 3),
    "milestones": lambda o: schedules.MultiStepLR(o, [3, 9]),
    "exponential": lambda o: schedules.ExponentialLR(o, 0.9),
    "one cycle": lambda o: schedules.OneCycleLR(o, 0.1, 50),
    "one cycle per group": lambda o: schedules.OneCycleLR(o, [0.1, 0.2, 0.3, 0.4, 0.5], 50),
    "polynomial": lambda o: schedules.PolynomialLR(o, 15, 2.0),
    "sequential": lambda o: schedules.SequentialLR(
        o, [schedules.LinearLR(o, 0.1, total_iters=5), schedules.CosineAnnealingLR(o, 12, eta_min=0.05)], [5]
    ),
    "chained": lambda o: schedules.ChainedScheduler(
        [schedules.LinearLR(o, 0.1, total_iters=5), schedules.ExponentialLR(o, 0.9)]
    ),
    "none": lambda o: None,
}


@pytest.mark.filterwarnings("ignore:Detected call of")
@pytest.mark.parametrize("by_hand", [False, True])
@pytest.mark.parametrize("lr", [0.1, 0.0])
@pytest.mark.parametrize("taken", [0, 2])
@pytest.mark.parametrize("name", AFFINE)
def test_many_groups_are_played_as_torch_steps_them(name, taken, lr, by_hand):
    optimizer = optimizer_of(5, lr)
    scheduler = AFFINE[name](optimizer)
    for _ in range(taken if scheduler else 0):
        scheduler.step()
    if by_hand:
        optimizer.param_groups[2]["lr"] = 7.0
    several = [scheduler] if scheduler else []
    fast, slow = player_of(optimizer, several, 2, 1, None), Player(optimizer, several, 2, 1, None)
    assert isinstance(fast, AffinePlayer) is not (by_hand and scheduler is not None)
    for player in (slow, fast):
        player.play(25)
        player.play(15)
    for a, b in zip(slow.lrs, fast.lrs, strict=True):
        assert list(a) == pytest.approx(list(b), rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("make", [lambda o: schedules.CosineAnnealingWarmRestarts(o, 5), lambda o: LambdaLR(o, HALVES)])
def test_other_schedulers_are_played_for_every_group(make):
    optimizer = optimizer_of(5)
    assert not isinstance(player_of(optimizer, [make(optimizer)], 1, 1, None), AffinePlayer)


def test_an_lr_that_was_set_by_hand_is_that_of_the_first_step():
    optimizer = optimizer_of(1)
    scheduler = LambdaLR(optimizer, HALVES)
    optimizer.param_groups[0]["lr"] = 7.0
    player = FactorPlayer(optimizer, [scheduler], 1, 1, None)
    player.play(3)
    assert list(player.lrs[0]) == pytest.approx([7.0, 0.05, 0.025])


@pytest.mark.parametrize("repeats", [1, 2])
def test_a_sample_is_every_stride_th_step(repeats):
    optimizer = optimizer_of(2)
    schedule = FunctionSchedule(optimizer, HALVES)
    whole = Player(optimizer, [schedule], 1, repeats, None)
    whole.play(20)
    far = FactorPlayer(optimizer, [schedule], 1, repeats, None).sample(20, samples=7)
    assert far.stride == 3
    assert list(far.lrs[1]) == pytest.approx(list(whole.lrs[1])[::3])
    assert Player(optimizer, [schedule], 1, 1, None).sample(20, samples=7) is None


@pytest.mark.parametrize("peak", [1.0, 1 + 1e-12, 1 - 1e-12])
def test_a_peak_that_drifts_by_rounding_is_where_it_was_first(peak):
    assert first_at_peak([0.5, 1.0, 0.2, peak, 0.1]) == 1


@pytest.mark.parametrize(
    ("lrs", "length"),
    [
        ([(t + 1) / 50 for t in range(50)] + [1.0] * 50, 50),
        ([t / 50 for t in range(51)] + [1.0] * 50, 50),
        ([0.1 + 0.9 * t / 50 for t in range(51)] + [1.0] * 50, 50),
        ([1 - 0.9**t for t in range(300)], 22),
        ([1.0] * 50, 0),
        ([0.95] * 10 + [1.0] * 10, 0),
        ([0.0] * 10, 0),
        ([1.0], 0),
    ],
)
def test_the_length_of_a_warmup_is_the_one_that_was_set(lrs, length):
    assert warmup_length(lrs) == length


@pytest.mark.parametrize(
    ("lrs", "end", "by_milestones"),
    [
        ([1 - t / 50 for t in range(50)] + [0.0] * 50, 51, False),
        ([1.0] * 30 + [0.1] * 30 + [0.01] * 40, 61, True),
        ([1.0] * 30 + [0.01] * 70, 31, True),
        ([1.0] * 50 + [1 - t / 10 for t in range(10)] + [0.0] * 40, 61, False),
        ([0.5**t for t in range(100)], 0, False),
        ([1 / (t + 1) ** 0.5 for t in range(100)], 0, False),
        ([1.0] * 100, 0, False),
        ([0.0] * 100, 0, False),
    ],
)
def test_the_end_of_a_decay(lrs, end, by_milestones):
    decay = decay_of(lrs)
    assert (decay.end, decay.by_milestones) == (end, by_milestones)
    assert decay_of(lrs[::2], stride=2).end == pytest.approx(end, abs=2)
    assert end or decay == Decay()
