"""explain() tells what the next step will be, as the textbook would count it."""

import copy

import numpy as np
import pytest
import torch

import rectified
from rectified.warmup import Rectified, UntunedLinear
from roster import BY_NAME, OwnMomentum, every_method
from trajectories import comes_and_goes, parameters, train


@every_method
@pytest.mark.parametrize("taken", [0, 4, 12])
def test_every_number_is_the_textbooks(method, taken):
    params = parameters()
    optimizer = method.optimizer(params, lr=0.02, betas=(0.9, 0.97))
    train(optimizer, params, range(1, taken + 1))
    twin = method.textbook(np.ones(1), lr=0.02, betas=(0.9, 0.97))
    omega = [twin.omega(t, 0.97) for t in range(taken + 1, taken + 400)]
    (told,) = rectified.explain(optimizer)
    assert (told.group, told.parameters, told.t, told.lr) == (0, len(params), taken + 1, 0.02)
    assert told.omega == pytest.approx(omega[0], rel=1e-12, abs=0)
    in_start = omega[0] == 0
    twin.t = taken
    twin.step(np.ones(1))
    moves = bool(twin.theta != 1)
    assert told.effective_lr == pytest.approx(0.02 if in_start and moves else 0.02 * omega[0])
    start = "start: momentum" if moves else "start: hold"
    assert told.phase == (start if in_start else "full" if omega[0] == 1 else "warmup")
    assert told.start_left == next(i for i, x in enumerate(omega) if x > 0)
    assert told.until_09 == next((i for i, x in enumerate(omega) if x >= 0.9), None)


@every_method
def test_explaining_changes_nothing(method):
    params = parameters()
    optimizer = method.optimizer(params)
    rectified.explain(optimizer)
    assert not optimizer.state
    train(optimizer, params, range(1, 3))
    before = copy.deepcopy(optimizer.state_dict())
    rectified.explain(optimizer)
    assert repr(optimizer.state_dict()) == repr(before)


def test_each_group_and_each_clock_is_told_apart():
    params, late = parameters(), parameters(shapes=((3,),))
    optimizer = rectified.RAdam(params, lr=0.01)
    train(optimizer, params, range(1, 8), comes_and_goes)
    optimizer.add_param_group({"params": late, "lr": torch.tensor(0.5), "warmup": UntunedLinear()})
    told = rectified.explain(optimizer)
    assert [(e.group, e.parameters, e.t) for e in told] == [(0, 2, 8), (0, 1, 6), (0, 1, 4), (0, 1, 3), (1, 1, 1)]
    assert [e.phase for e in told] == ["warmup", "warmup", "start: momentum", "start: momentum", "warmup"]
    assert [e.start_left for e in told] == [0, 0, 2, 3, 0]
    assert told[-1].lr == 0.5
    assert told[-1].effective_lr == pytest.approx(0.5 * 0.0005)
    assert told[-1].until_09 == 1799


def test_it_reads_what_is_set_now():
    params = parameters()
    optimizer = rectified.Adam(params, lr=1.0)
    assert rectified.explain(optimizer)[0].phase == "full"
    optimizer.param_groups[0].update(lr=0.5, warmup=Rectified(start="hold"), betas=(0.9, 0.9))
    (told,) = rectified.explain(optimizer)
    assert (told.phase, told.lr, told.effective_lr) == ("start: hold", 0.5, 0.0)


def test_it_goes_on_from_a_loaded_state():
    params = parameters()
    theirs = torch.optim.RAdam(params)
    train(theirs, params, range(1, 7))
    ours = rectified.RAdam(params)
    ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
    assert rectified.explain(ours)[0].t == 7


@pytest.mark.parametrize(
    ("name", "taken", "words"),
    [
        ("radam", 0, ["no step taken", "start: momentum", "5 steps of start left", "ends in 8335 steps, at step 8336"]),
        ("radam-hold", 4, ["step 5", "start: hold", "1 step"]),
        ("radam", 6, ["step 7", "warmup", "lr 0.001 * omega 0.032"]),
        ("adam", 3, ["step 4", "full", "omega 1"]),
        ("adam+own-momentum", 5, ["never reaches 0.9"]),
        ("adam+own-momentum", 1, ["start: hold", "3 steps of start left"]),
        ("adam+own-momentum", 2, ["start: momentum", "2 steps of start left"]),
    ],
)
def test_its_line_can_be_read(name, taken, words):
    params = parameters()
    optimizer = BY_NAME[name].optimizer(params)
    train(optimizer, params, range(1, taken + 1))
    line = str(rectified.explain(optimizer)[0])
    assert all(word in line for word in words), line
    assert "\n" not in line


def test_an_omega_that_stays_below_is_said_not_to_arrive():
    (told,) = rectified.explain(rectified.Adam(parameters(), warmup=OwnMomentum()))
    assert told.until_09 is None


def test_other_optimizers_are_refused():
    with pytest.raises(TypeError, match="SGD"):
        rectified.explain(torch.optim.SGD(parameters()))


@pytest.mark.parametrize("taken", [0, 3, 8])
@pytest.mark.parametrize("on_zero", ["hold", "skip"])
def test_others_that_are_warmed_up_here_are_explained(taken, on_zero):
    wrapped, beside = parameters(), parameters()
    first = rectified.rectify(torch.optim.NAdam(wrapped, lr=0.02), on_zero=on_zero)
    second = torch.optim.NAdam(beside, lr=0.02)
    rectified.WarmupLR(second, on_zero=on_zero)
    train(first, wrapped, range(1, taken + 1))
    train(second, beside, range(1, taken + 1))
    for told in (rectified.explain(first), rectified.explain(second)):
        (entry,) = told
        t = taken + 1 + 5 * (on_zero == "skip")
        omega = rectified.warmup.Rectified().omega(t, 0.999)
        assert (entry.t, entry.parameters, entry.lr, entry.omega) == (taken + 1, len(wrapped), 0.02, omega)
        assert entry.phase == ("start: hold" if t <= 5 else "warmup")
        assert entry.start_left == max(0, 6 - t)
        assert entry.effective_lr == 0.02 * omega


def test_members_of_the_family_are_explained_by_their_own_clocks():
    params = parameters()
    optimizer = rectified.RMSprop(params, lr=0.02, alpha=0.9, warmup=Rectified())
    train(optimizer, params, range(1, 8), comes_and_goes)
    told = rectified.explain(optimizer)
    assert [entry.t for entry in told] == sorted({int(x["step"]) + 1 for x in optimizer.state.values()}, reverse=True)
    for entry in told:
        expected = Rectified().omega(entry.t, 0.9) * (1 - 0.9**entry.t) ** 0.5
        assert entry.omega == pytest.approx(expected, rel=1e-12)
        assert entry.phase == ("warmup" if expected else "start: hold")
