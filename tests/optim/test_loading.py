"""A save is loaded whole or not at all, whatever is wrong with it; and what was loaded can step."""

import copy
import io
import math
import random
from functools import partial

import numpy as np
import pytest
import torch

import rectified
from everyone import EVERYONE, everyone, has_lr
from rectified.optim.base import BaseOptimizer
from rectified.warmup import Linear, Rectified, SecondMomentOnly
from saves import through_a_file
from trajectories import parameters, train


def stepped(make, steps=3, **options):
    params = parameters()
    torch.manual_seed(0)
    optimizer = make(params, **options)
    train(optimizer, params, range(1, steps + 1))
    return optimizer, params


def picture(optimizer):
    """All that a refused load must leave as it was."""
    groups = [
        sorted((repr(name), repr(x)) for name, x in g.items() if name != "params") for g in optimizer.param_groups
    ]
    params = [id(p) for g in optimizer.param_groups for p in g["params"]]
    state = {
        key if isinstance(key, str) else id(key): {
            name: x.tolist() if isinstance(x, torch.Tensor) else x for name, x in entry.items()
        }
        for key, entry in optimizer.state.items()
    }
    return repr((groups, params, state, optimizer.defaults))


WRAPS = {
    "itself": lambda make, params: make(params),
    "rectify": lambda make, params: rectified.rectify(make(params, lr=0.1), Linear(5)),
}
LOADERS = {
    **{f"{name}": partial(WRAPS["itself"], make) for name, make in EVERYONE.items()},
    "rectify(SGD)": partial(WRAPS["rectify"], partial(torch.optim.SGD, momentum=0.9)),
    "rectify(torch Adam)": partial(WRAPS["rectify"], torch.optim.Adam),
    "rectify(torch NAdam)": partial(WRAPS["rectify"], torch.optim.NAdam),
    "rectify(rectified.NAdam)": partial(WRAPS["rectify"], rectified.NAdam),
}
every_loader = pytest.mark.parametrize("make", LOADERS.values(), ids=LOADERS.keys())

VALUES = [
    None,
    -1,
    -5.0,
    math.nan,
    math.inf,
    "text",
    [],
    {},
    (),
    {"name": "Linear"},
    object(),
    True,
    10**30,
    2.5,
    torch.tensor(-3.0),
    torch.tensor(math.nan),
    torch.ones(2),
    torch.ones(2, 2).to_sparse(),
    1j,
    b"bytes",
]


def places(x, path=()):
    """Every place in nested dicts, lists and tuples, by its path."""
    if path:
        yield path
    children = x.items() if isinstance(x, dict) else enumerate(x) if isinstance(x, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


def mutated(saved, rng):
    """A copy of the save with one to three of its places replaced, or taken out."""
    saved = copy.deepcopy(saved)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        *path, last = rng.choice(list(places(saved)))
        at = saved
        for key in path:
            at = at[key]
        what = rng.random()
        if what < 0.2 and isinstance(at, dict):
            del at[last]
        elif what < 0.3 and isinstance(at, dict):
            at[rng.choice(("note", "step", 0, "params", "exp_avg"))] = rng.choice(VALUES)
        else:
            at[last] = rng.choice(VALUES)
    return saved


@every_loader
def test_a_mutated_save_is_loaded_or_refused_and_changes_nothing(make):
    """Refused is a ValueError; what was loaded steps, or refuses to before anything has moved."""
    optimizer, params = stepped(make)
    saved = copy.deepcopy(optimizer.state_dict())
    rng = random.Random(0)
    weights = [p.detach().clone() for p in params]
    loaded = 0
    for _ in range(120):
        bad, before = mutated(saved, rng), picture(optimizer)
        try:
            optimizer.load_state_dict(bad)
        except ValueError:
            assert picture(optimizer) == before
            continue
        loaded += 1
        try:
            train(optimizer, params, [4])
        except Exception:
            if isinstance(optimizer, BaseOptimizer):
                assert all(torch.equal(p, x) for p, x in zip(params, weights, strict=True)), bad
        with torch.no_grad():
            for p, x in zip(params, weights, strict=True):
                p.copy_(x)
        optimizer.load_state_dict(copy.deepcopy(saved))
    assert loaded > 5
    optimizer.load_state_dict(saved)
    train(optimizer, params, [4])


class Uncopyable(torch.Tensor):
    """A tensor that cannot be cloned, as torchao's 8-bit states cannot."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is torch.Tensor.clone or func is torch.Tensor.to:
            raise NotImplementedError("no implementation of clone")
        return super().__torch_function__(func, types, args, kwargs or {})


@everyone
def test_a_moment_that_cannot_be_copied_is_named_and_nothing_is_changed(make):
    optimizer, _ = stepped(make)
    before = picture(optimizer)
    saved = copy.deepcopy(optimizer.state_dict())
    name = next(name for name, x in saved["state"][2].items() if name not in ("step", "mu_product"))
    saved["param_groups"][0]["lr"] = 0.7
    saved["state"][2][name] = saved["state"][2][name].as_subclass(Uncopyable)
    with pytest.raises(ValueError, match=f"{name} of parameter 2.*Uncopyable"):
        optimizer.load_state_dict(saved)
    assert picture(optimizer) == before


@everyone
def test_a_note_in_a_save_stays(make):
    optimizer, params = stepped(make)
    saved = optimizer.state_dict()
    saved["state"][0]["note"] = 1
    optimizer.load_state_dict(saved)
    assert optimizer.state[params[0]]["note"] == 1
    train(optimizer, params, [4])


@every_loader
@pytest.mark.parametrize("count", [-5, -5.0, math.nan, 2.5, torch.tensor(-1.0)], ids=str)
def test_a_count_that_is_none_is_refused_on_load(make, count):
    optimizer, params = stepped(make)
    before = picture(optimizer)
    saved = copy.deepcopy(optimizer.state_dict())
    if "step" in saved["state"][1]:
        saved["state"][1]["step"] = count
    else:
        saved["param_groups"][0]["warmup_clock"] = count
    with pytest.raises(ValueError, match=r"count.*whole number|count.*-5|step"):
        optimizer.load_state_dict(saved)
    assert picture(optimizer) == before
    train(optimizer, params, [4])


@everyone
def test_a_count_that_is_none_is_refused_before_anything_moves(make):
    optimizer, params = stepped(make)
    weights = [p.detach().clone() for p in params]
    optimizer.state[params[2]]["step"] = torch.tensor(-5.0)
    with pytest.raises(RuntimeError, match=r"step count of parameter 2 is -5.0.*0 or more"):
        train(optimizer, params, [4])
    assert all(torch.equal(p, x) for p, x in zip(params, weights, strict=True))


def test_a_load_beside_a_scheduler_from_before_the_warmup():
    """And a group that is added beside it: its clock begins where it is, at every way in."""
    params, late = parameters(), parameters(seed=1)
    optimizer = torch.optim.Adam(params, lr=0.1)
    train(optimizer, params, range(1, 4))
    saved = copy.deepcopy(optimizer.state_dict())
    for use in (
        lambda o, s: o.step(),
        lambda o, s: rectified.explain(o),
        lambda o, s: s.state_dict(),
        lambda o, s: s.get_last_lr(),
    ):
        again = torch.optim.Adam(parameters(), lr=0.1)
        scheduler = rectified.WarmupLR(again, Linear(10))
        again.load_state_dict(saved)
        again.add_param_group({"params": [torch.nn.Parameter(p.detach().clone()) for p in late]})
        use(again, scheduler)
        assert scheduler.state_dict()["counts"] == [3, 0]
        train(again, again.param_groups[1]["params"], [1])
        assert scheduler.state_dict()["counts"] == [3, 1]


def test_a_group_added_to_a_resumed_schedule_begins_its_own_warmup():
    optimizer = torch.optim.SGD(parameters(), lr=0.1)
    for group in optimizer.param_groups:
        group["initial_lr"] = 0.1
    scheduler = rectified.WarmupLR(optimizer, Linear(10), last_epoch=4)
    optimizer.add_param_group({"params": parameters(seed=1)})
    assert scheduler.state_dict()["counts"] == [5, 0]


@pytest.mark.parametrize("counts", [["many"], [None], [-1], [math.nan], [2.5], None, []], ids=str)
def test_a_schedules_save_with_counts_that_are_none_is_refused(counts):
    optimizer = torch.optim.SGD(parameters(), lr=0.1)
    scheduler = rectified.WarmupLR(optimizer, Linear(10))
    saved = {**scheduler.state_dict(), "counts": counts}
    with pytest.raises(ValueError, match="count"):
        scheduler.load_state_dict(saved)
    assert scheduler.state_dict()["counts"] == [0]


def test_a_param_group_beside_rectify_has_a_clock():
    optimizer = rectified.rectify(torch.optim.SGD(parameters(), lr=0.1), Linear(4))
    optimizer.optimizer.add_param_group({"params": parameters(seed=1)})  # behind its back
    train(optimizer, optimizer.param_groups[1]["params"], [1, 2])
    assert [group["warmup_clock"] for group in optimizer.param_groups] == [0, 2]
    assert len(rectified.explain(optimizer)) == 2


@pytest.mark.parametrize(
    "warmup", [Linear(5), Linear(np.int64(5)), SecondMomentOnly(np.int32(3)), Rectified(threshold=np.float64(4.0))]
)
def test_a_warmup_in_a_save_that_is_not_ours_loads_with_weights_only(warmup):
    """ZeroRedundancyOptimizer and others write the groups as they are."""
    assert through_a_file({"param_groups": [{"warmup": warmup}]})["param_groups"][0]["warmup"] == warmup
    assert all(type(x) in (int, float, str) for x in vars(warmup).values())


def test_a_warmup_that_was_saved_when_the_warmups_were_one_module_loads(monkeypatch):
    monkeypatch.setattr(Linear, "__module__", "rectified.warmup")  # as in 0.1.0
    file = io.BytesIO()
    torch.save(Linear(5), file)
    monkeypatch.undo()
    file.seek(0)
    assert b"rectified.warmup.formulas" not in file.getvalue()
    assert torch.load(file, weights_only=True) == Linear(5)


@everyone
def test_numbers_of_numpys_are_saved_as_pythons_own(make):
    numbers = {"weight_decay": np.float64(0.0)} | ({"lr": np.float32(0.01)} if has_lr(make) else {})
    params, late = parameters(), parameters(seed=1)
    optimizer = make(params, **numbers)
    optimizer.add_param_group({"params": late, **numbers})
    train(optimizer, params + late, [1, 2])
    assert through_a_file(optimizer.state_dict())["param_groups"][1]["weight_decay"] == 0.0


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # ZeroRedundancyOptimizer's module
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("RAdam", {"start": "hold"}),
        ("RAdam", {"variance": "exact", "threshold": 3}),
        ("AdamW", {"warmup": Linear(5)}),
        ("NAdam", {"warmup": Linear(5)}),
        ("Adadelta", {}),
    ],
    ids=str,
)
def test_under_zero_redundancy_optimizer(kind, options, tmp_path):
    from torch.distributed.optim import ZeroRedundancyOptimizer

    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        params, twins = parameters(), parameters()
        kind = getattr(rectified, kind)
        optimizer = ZeroRedundancyOptimizer(params, optimizer_class=kind, lr=0.01, **options)
        plain = kind(twins, lr=0.01, **options)
        train(optimizer, params, range(1, 9))
        train(plain, twins, range(1, 9))
        assert all(torch.equal(p, q) for p, q in zip(params, twins, strict=True))
        optimizer.consolidate_state_dict()
        saved = through_a_file(optimizer.state_dict())
    finally:
        torch.distributed.destroy_process_group()
    fresh = parameters()
    again = kind(fresh, lr=0.01)
    with torch.no_grad():
        for p, q in zip(fresh, twins, strict=True):
            p.copy_(q)
    again.load_state_dict(saved)
    train(again, fresh, range(9, 15))
    train(plain, twins, range(9, 15))
    assert all(torch.equal(p, q) for p, q in zip(fresh, twins, strict=True))
