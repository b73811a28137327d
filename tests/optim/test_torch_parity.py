"""With torch's defaults we take torch's steps, and a run saved there goes on here, and back."""

import copy
import inspect
import itertools
from functools import partial

import pytest
import torch

import rectified
from saves import through_a_file
from trajectories import Race, always, comes_and_goes, numbers, parameters, set_gradients

ADAM_DECOUPLES = "decoupled_weight_decay" in inspect.signature(torch.optim.Adam).parameters


def torchs_adam(params, weight_decay=0.0, decoupled_weight_decay=False, **options):
    """torch.optim.Adam; where it takes no decoupled_weight_decay, as in torch 2.6, torch's AdamW does that step."""
    if ADAM_DECOUPLES:
        options["decoupled_weight_decay"] = decoupled_weight_decay
    kind = torch.optim.AdamW if decoupled_weight_decay and not ADAM_DECOUPLES else torch.optim.Adam
    return kind(params, weight_decay=weight_decay, **options)


PAIRS = {
    "Adam": (torchs_adam, rectified.Adam),
    "Adam-amsgrad": (partial(torchs_adam, amsgrad=True), partial(rectified.Adam, amsgrad=True)),
    "AdamW": (torch.optim.AdamW, rectified.AdamW),
    "AdamW-amsgrad": (partial(torch.optim.AdamW, amsgrad=True), partial(rectified.AdamW, amsgrad=True)),
    "RAdam": (torch.optim.RAdam, rectified.RAdam),
}
every_pair = pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS.keys())

# Gradients of 1e3 are meant to give a start that our RAdam warns of.
pytestmark = pytest.mark.filterwarnings("ignore:the first momentum step")


def clones(params):
    return [torch.nn.Parameter(p.detach().clone()) for p in params]


def step_both(optimizers, lists, race, steps, present=always, scale=1.0):
    for step in steps:
        for optimizer, params in zip(optimizers, lists, strict=True):
            set_gradients(params, step, present, scale)
            optimizer.step()
        race.check(*([numbers(p) for p in params] for params in lists))


def grid():
    """The whole grid for each class, on the fused path; amsgrad and the foreach path at one pair of betas."""
    all_betas, scales = ((0.9, 0.999), (0.9, 0.95), (0.8, 0.99)), (1e3, 1.0, 1e-4, 1e-7)
    decays = ((0.0, False), (0.0, True), (0.1, False), (0.1, True))
    for name, path, betas, decay, maximize, scale in itertools.product(
        PAIRS, ("fused", "foreach"), all_betas, decays, (False, True), scales
    ):
        if (path == "foreach" or "amsgrad" in name) and betas != (0.9, 0.95):
            continue
        if name.startswith("AdamW") and not decay[1]:
            continue  # AdamW is always decoupled
        yield pytest.param(
            PAIRS[name],
            {"foreach": True} if path == "foreach" else {},
            {"betas": betas, "weight_decay": decay[0], "maximize": maximize}
            | ({} if name.startswith("AdamW") else {"decoupled_weight_decay": decay[1]}),
            scale,
            id=f"{name}-{path}-{betas}-{decay}-{'max' if maximize else 'min'}-{scale:g}",
        )


@pytest.mark.parametrize(("pair", "path", "options", "scale"), list(grid()))
def test_the_trajectory_is_torchs(pair, path, options, scale):
    """Gradients come and go all the while, and a group with options of its own joins in the middle."""
    options = {"lr": 3e-3, **options}
    theirs, ours = parameters(), parameters()
    optimizers = [pair[0](theirs, **options), pair[1](ours, **options, **path)]
    race = Race([numbers(p) for p in theirs])
    step_both(optimizers, (theirs, ours), race, range(1, 8), comes_and_goes, scale)

    late = {"lr": 0.01, "betas": (0.85, 0.98), "eps": 1e-6, "weight_decay": 0.2, "maximize": not options["maximize"]}
    late_theirs, late_ours = parameters(shapes=((3,), (2, 2)), seed=1), parameters(shapes=((3,), (2, 2)), seed=1)
    optimizers[0].add_param_group({"params": late_theirs, **late})
    optimizers[1].add_param_group({"params": late_ours, **late})
    race.join([numbers(p) for p in late_theirs])
    both = theirs + late_theirs, ours + late_ours
    step_both(optimizers, both, race, range(8, 17), comes_and_goes, scale)

    for a, b in zip(*both, strict=True):
        expected, entry = optimizers[0].state[a], optimizers[1].state[b]
        assert list(entry) == list(expected)
        for key in expected:
            torch.testing.assert_close(entry[key], expected[key], rtol=1e-12, atol=1e-15 * scale**2)


def deepcopied(state_dict):
    return copy.deepcopy(state_dict)  # torch goes on writing into the tensors of a state_dict that it has loaded


PATHS = {"default": {}, "fused": {"fused": True}, "foreach": {"foreach": True}}


@pytest.mark.parametrize(
    ("pair", "options"),
    [
        pytest.param(pair, options, id=f"{name}-{path}")
        for (name, pair), (path, options) in itertools.product(PAIRS.items(), PATHS.items())
        if (name, path) != ("RAdam", "fused")  # torch has none
    ],
)
@pytest.mark.parametrize("carry", [deepcopied, through_a_file])
@pytest.mark.parametrize("at", [3, 9], ids=["in the start", "after it"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_checkpoint_goes_on_here_and_back_there(pair, carry, at, dtype, options):
    """torch alone, against torch -> ours -> torch: each load brings the options along, too."""
    settings = {"lr": 0.02, "betas": (0.85, 0.99), "weight_decay": 0.05, "eps": 1e-6, "maximize": True, **options}
    alone, mine = parameters(dtype), parameters(dtype)
    judge, theirs = pair[0](alone, **settings), pair[0](mine, **settings)
    narrow = dtype is torch.float32
    race = Race([numbers(p) for p in alone], *((2e-5, 2.0**-24) if narrow else ()))
    step_both((judge, theirs), (alone, mine), race, range(1, at + 1), comes_and_goes)

    mine = clones(mine)
    ours = pair[1](mine)
    ours.load_state_dict(carry(theirs.state_dict()))
    step_both((judge, ours), (alone, mine), race, range(at + 1, at + 5), comes_and_goes)

    mine = clones(mine)
    back = pair[0](mine)
    back.load_state_dict(carry(ours.state_dict()))
    step_both((judge, back), (alone, mine), race, range(at + 5, at + 10), comes_and_goes)
    for a, b in zip(alone, mine, strict=True):
        assert back.state[b]["step"] == judge.state[a]["step"]


@pytest.mark.parametrize("ours", [True, False], ids=["here", "torch"])
def test_a_save_of_adams_becomes_adamws(ours):
    """As in torch: AdamW's decay is decoupled whatever the save says."""
    if not (ours or ADAM_DECOUPLES):
        pytest.skip("this torch's AdamW has no decoupled_weight_decay in its groups")
    p = parameters(shapes=((3,),))[0]
    saved = torch.optim.Adam([p], weight_decay=0.1).state_dict()
    optimizer = (rectified if ours else torch.optim).AdamW([p])
    optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["decoupled_weight_decay"] is True
    assert optimizer.param_groups[0]["weight_decay"] == 0.1


@every_pair
def test_the_constructors_defaults_are_torchs(pair):
    p = parameters(shapes=((3,),))
    theirs, ours = pair[0](p).defaults, pair[1](p).defaults
    assert {key: ours.get(key, "missing") for key in theirs} == theirs


@pytest.mark.parametrize("name", ["Adam", "AdamW", "RAdam"])
def test_the_constructors_arguments_are_torchs_and_ours_come_behind(name):
    theirs, ours = (inspect.signature(getattr(x, name)).parameters for x in (torch.optim, rectified))
    assert [argument for argument in ours if argument in theirs] == list(theirs)
    for argument, parameter in theirs.items():
        assert (ours[argument].kind, ours[argument].default) == (parameter.kind, parameter.default)
    assert all(ours[argument].kind is inspect.Parameter.KEYWORD_ONLY for argument in ours if argument not in theirs)
