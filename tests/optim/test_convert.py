"""A run begun with another RAdam, and saved to a file, goes on here with the steps it would have taken there."""

import copy
from functools import partial

import pytest
import torch

import rectified
from going_on import STEPS, AuthorsRAdam, both_go_on, from_a_file, gone_on, start
from rectified.optim import convert
from rectified.warmup import Rectified
from trajectories import comes_and_goes, parameters, train

optimi = pytest.importorskip("optimi")
pytorch_optimizer = pytest.importorskip("pytorch_optimizer")
RADAM64 = partial(AuthorsRAdam, dtype=torch.float64)
PO = pytorch_optimizer.RAdam
DECAY = {"weight_decay": 0.1}

# How a run was made there, and how its state is converted.
RUNS = {
    "radam": (partial(RADAM64, **DECAY), convert.from_radam),
    "radam-degenerated": (
        partial(RADAM64, **DECAY, degenerated_to_sgd=True),
        partial(convert.from_radam, degenerated_to_sgd=True),
    ),
    "radam-plain": (partial(RADAM64, buffered=False), convert.from_radam),
    "radam-plain-degenerated": (
        partial(RADAM64, degenerated_to_sgd=True, buffered=False),
        partial(convert.from_radam, degenerated_to_sgd=True),
    ),
    "pytorch_optimizer": (partial(PO, **DECAY), convert.from_pytorch_optimizer),
    "pytorch_optimizer-degenerated": (
        partial(PO, **DECAY, degenerated_to_sgd=True),
        partial(convert.from_pytorch_optimizer, degenerated_to_sgd=True),
    ),
    "pytorch_optimizer-threshold-4": (
        partial(PO, n_sma_threshold=4),
        partial(convert.from_pytorch_optimizer, n_sma_threshold=4),
    ),
    "pytorch_optimizer-maximize": (
        partial(PO, **DECAY, maximize=True, foreach=False),
        partial(convert.from_pytorch_optimizer, maximize=True),
    ),
    "optimi": (optimi.RAdam, convert.from_optimi),
    "optimi-l2": (partial(optimi.RAdam, **DECAY), convert.from_optimi),
    "optimi-decoupled": (partial(optimi.RAdam, **DECAY, decouple_wd=True), convert.from_optimi),
    "optimi-fully-decoupled": (
        partial(optimi.RAdam, weight_decay=5e-4, decouple_lr=True, max_lr=0.1),
        convert.from_optimi,
    ),
    "optimi-adam": (partial(optimi.Adam, **DECAY), partial(convert.from_optimi, optimizer="Adam")),
    "optimi-adamw": (partial(optimi.AdamW, **DECAY), partial(convert.from_optimi, optimizer="AdamW")),
}
every_run = pytest.mark.parametrize(("make", "converted"), RUNS.values(), ids=RUNS)
COUNTED_BY_GROUP = [name for name in RUNS if not name.startswith("radam")]


@every_run
@pytest.mark.parametrize("at", [0, 1, 3, 4, 5, 6, 7, 20])
def test_a_run_goes_on_from_any_phase(make, converted, at):
    theirs, params = start(make)
    train(theirs, params, range(1, at + 1))
    ours, fresh = gone_on(theirs, params, converted)
    assert [int(ours.state[p]["step"]) for p in fresh if p in ours.state] == [at] * (len(fresh) if at else 0)
    both_go_on(theirs, params, ours, fresh, range(at + 1, at + STEPS))


@every_run
def test_the_options_come_from_the_save_whatever_the_loading_optimizer_has(make, converted):
    theirs, params = start(make)
    train(theirs, params, range(1, 4))
    ours, fresh = gone_on(theirs, params, converted, rectified.Adam, amsgrad=True, maximize=True, foreach=True)
    both_go_on(theirs, params, ours, fresh, range(4, STEPS))
    assert ours.param_groups[0]["foreach"], "the path stays its own"


@pytest.mark.parametrize("at", [3, 6, 12])
def test_the_authors_counts_are_the_parameters_own(at):
    make, converted = RUNS["radam"]
    theirs, params = start(make)
    train(theirs, params, range(1, at + 1), comes_and_goes)
    both_go_on(theirs, params, *gone_on(theirs, params, converted), range(at + 1, at + STEPS), comes_and_goes)


@pytest.mark.parametrize("name", COUNTED_BY_GROUP)
def test_a_parameter_that_has_missed_steps_goes_on_with_its_groups_count(name):
    make, converted = RUNS[name]
    theirs, params = start(make)
    train(theirs, params, range(1, 12), comes_and_goes)
    ours, fresh = gone_on(theirs, params, converted)
    assert {int(ours.state[p]["step"]) for p in fresh} == {11}
    both_go_on(theirs, params, ours, fresh, range(12, 12 + STEPS))


@every_run
def test_a_parameter_that_has_not_begun_has_no_state(make, converted):
    theirs, params = start(make)
    train(theirs, params, range(1, 4), comes_and_goes)
    saved = converted(from_a_file(theirs))
    assert sorted(saved["state"]) == [0, 2, 3, 4]
    ours, fresh = gone_on(theirs, params, converted)
    train(ours, fresh, range(4, 8), comes_and_goes)
    assert int(ours.state[fresh[1]]["step"]) == 3, "it counts from its own beginning"


@pytest.mark.parametrize("at", [2, 6, 20])
@pytest.mark.parametrize("name", ["radam", "pytorch_optimizer", "optimi"])
def test_in_float32_too(name, at):
    make, converted = RUNS[name]
    if name == "radam":
        make = partial(AuthorsRAdam, **DECAY)
    theirs, params = start(make, torch.float32)
    train(theirs, params, range(1, at + 1))
    ours, fresh = gone_on(theirs, params, converted)
    both_go_on(theirs, params, ours, fresh, range(at + 1, at + STEPS), relative=1e-5, rounding=2.0**-24)


def test_complex_parameters_go_on():
    theirs, params = start(PO, torch.complex128)
    train(theirs, params, range(1, 9))
    both_go_on(theirs, params, *gone_on(theirs, params, convert.from_pytorch_optimizer), range(9, STEPS))


@every_run
def test_what_is_given_stays_as_it_was(make, converted):
    theirs, params = start(make)
    train(theirs, params, range(1, 4))
    saved = from_a_file(theirs)
    before = copy.deepcopy(saved)
    ours = rectified.RAdam([{"params": params[:3]}, {"params": params[3:]}])
    ours.load_state_dict(converted(saved))
    train(ours, params, range(4, 8))
    assert str(saved) == str(before)  # every number of these small tensors is in it


class Released(optimi.RAdam):
    """Steps as backward's hooks make it step with gradient release: each parameter by itself."""

    def __init__(self, params, **options):
        super().__init__(params, gradient_release=True, **options)

    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    super().step(param=p)


@pytest.mark.parametrize("at", [3, 12])
def test_with_gradient_release_the_counts_are_the_parameters_own(at):
    """The state of every parameter then has its whole group, parameters and all."""
    theirs, params = start(partial(Released, **DECAY), shapes=((3, 4), (5,), (2, 2), (3,)))
    train(theirs, params, range(1, at + 1), comes_and_goes)
    ours, fresh = gone_on(theirs, params, convert.from_optimi)
    both_go_on(theirs, params, ours, fresh, range(at + 1, at + STEPS), comes_and_goes)


@pytest.mark.parametrize("optimizer", [PO, AuthorsRAdam, optimi.RAdam])
def test_sixteen_bits_go_on_with_moments_of_thirty_two(optimizer):
    converted = {PO: convert.from_pytorch_optimizer, AuthorsRAdam: convert.from_radam}
    theirs, params = start(optimizer, torch.bfloat16)
    train(theirs, params, range(1, 9))
    ours, fresh = gone_on(theirs, params, converted.get(optimizer, convert.from_optimi))
    train(ours, fresh, [9])
    assert {ours.state[p]["exp_avg_sq"].dtype for p in fresh} == {torch.float32}


def buffered_run(steps, **options):
    params = parameters()
    theirs = AuthorsRAdam(params, **options)
    train(theirs, params, range(1, steps + 1))
    return theirs.state_dict()


@pytest.mark.parametrize(
    ("degenerated", "steps", "told", "start"),
    [
        (True, 1, None, "momentum"),
        (True, 12, None, "momentum"),  # the rows of steps 3 to 5 are still there
        (True, 15, None, "hold"),  # none is: the class's default
        (True, 15, True, "momentum"),
        (False, 1, None, "hold"),
        (False, 15, None, "hold"),
        (False, 1, True, "momentum"),
        (True, 1, False, "hold"),
    ],
)
def test_the_buffer_shows_how_the_authors_run_starts(degenerated, steps, told, start):
    saved = convert.from_radam(buffered_run(steps, degenerated_to_sgd=degenerated), degenerated_to_sgd=told)
    optimizer = rectified.RAdam(parameters())
    optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["warmup"] == Rectified(start=start)


def test_what_schedulers_have_written_into_a_group_is_kept_and_one_of_your_own_can_be():
    params = parameters()
    theirs = optimi.RAdam(params, lr=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(theirs, max_lr=0.1, total_steps=20, cycle_momentum=False)
    train(theirs, params, [1])
    schedule.step()
    saved = from_a_file(theirs)
    theirs.param_groups[0]["depth"] = 3
    with pytest.raises(ValueError, match=r"group 0 has depth. If you added that key, remove it"):
        convert.from_optimi(theirs.state_dict())
    ours = rectified.RAdam([{"params": parameters(), "depth": 3}])
    ours.load_state_dict(convert.from_optimi(saved))
    [group] = ours.param_groups
    assert group["depth"] == 3
    names = ("lr", "initial_lr", "max_lr", "min_lr")
    assert [group[name] for name in names] == [saved["param_groups"][0][name] for name in names]
