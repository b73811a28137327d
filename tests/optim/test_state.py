"""What every method's state does: it is true at any moment, saved whole, and read back bit for bit."""

import copy
import pickle

import pytest
import torch

import rectified
import saves
from rectified.warmup import Linear
from roster import BY_NAME, both_paths, representatives
from trajectories import comes_and_goes, gradient, numbers, parameters, race, train


def through_state_dict(method, path, optimizer, params):
    fresh = [torch.nn.Parameter(p.detach().clone()) for p in params]
    again = method.optimizer(fresh, **path)
    again.load_state_dict(optimizer.state_dict())
    return again, fresh


def through_a_file(method, path, optimizer, params):
    saved = saves.through_a_file({"optimizer": optimizer.state_dict(), "params": [p.detach() for p in params]})
    fresh = [torch.nn.Parameter(x) for x in saved["params"]]
    again = method.optimizer(fresh, **path)
    again.load_state_dict(saved["optimizer"])
    return again, fresh


def into_one_that_has_stepped(method, path, optimizer, params):
    fresh = parameters(params[0].dtype, seed=5)
    again = method.optimizer(fresh, **path)
    train(again, fresh, range(1, 9))
    with torch.no_grad():
        for p, x in zip(fresh, params, strict=True):
            p.copy_(x)
    again.load_state_dict(optimizer.state_dict())
    return again, fresh


def through_pickle(method, path, optimizer, params):
    again, fresh = pickle.loads(pickle.dumps((optimizer, params)))
    return again, fresh


def through_deepcopy(method, path, optimizer, params):
    return copy.deepcopy((optimizer, params))


CARRIERS = [through_state_dict, through_a_file, into_one_that_has_stepped, through_pickle, through_deepcopy]


def same_bits(ours, theirs):
    return all(
        torch.equal(a.contiguous().flatten().view(torch.uint8), b.contiguous().flatten().view(torch.uint8))
        for a, b in zip(ours, theirs, strict=True)
    )


PATHS = {"fused": {}, "foreach": {"foreach": True}, "capturable": {"capturable": True, "betas": (0.9, 0.95)}}


@representatives
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
@pytest.mark.parametrize("carry", CARRIERS, ids=lambda carry: carry.__name__)
def test_continues_bit_for_bit(method, path, carry):
    for dtype, at in ((torch.float32, 2), (torch.float64, 8)):  # in the start, with clocks apart; and after it
        params = parameters(dtype)
        optimizer = method.optimizer(params, **path)
        train(optimizer, params, range(1, at + 1), comes_and_goes)
        again, fresh = carry(method, path, optimizer, params)
        train(optimizer, params, range(at + 1, 16), comes_and_goes)  # first the one that was saved: it must not lend
        train(again, fresh, range(at + 1, 16), comes_and_goes)
        assert same_bits(params, fresh)
        for p, q in zip(params, fresh, strict=True):
            assert optimizer.state[p].keys() == again.state[q].keys()
            assert same_bits(optimizer.state[p].values(), again.state[q].values())
        assert optimizer.param_groups[0]["omega"] == again.param_groups[0]["omega"]


@representatives
@both_paths
def test_every_step_count_is_true_at_any_moment_and_owns_its_memory_when_saved(method, path):
    params = parameters()
    optimizer = method.optimizer(params, **path)
    for step in range(1, 13):
        train(optimizer, params, [step], comes_and_goes)
        counts = [sum(comes_and_goes(i, s) for s in range(1, step + 1)) for i in range(len(params))]
        assert [int(optimizer.state[p]["step"]) if p in optimizer.state else 0 for p in params] == counts
        saved = [entry["step"] for _, entry in sorted(optimizer.state_dict()["state"].items())]
        assert [s.item() for s in saved] == [n for n in counts if n]
        assert len({s.untyped_storage().data_ptr() for s in saved}) == len(saved)
        assert all(s.untyped_storage().nbytes() == s.element_size() for s in saved)
        live = {optimizer.state[p]["step"].untyped_storage().data_ptr() for p in params if p in optimizer.state}
        assert not live & {s.untyped_storage().data_ptr() for s in saved}


@representatives
def test_what_is_saved_is_plain(method):
    params = parameters()
    optimizer = method.optimizer(params)
    train(optimizer, params, range(1, 8))
    saved = optimizer.state_dict()
    for entry in saved["state"].values():
        assert list(entry) == ["step", "exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * ("amsgrad" in method.name)
    plain = (int, float, bool, str, type(None))
    group = saved["param_groups"][0]
    assert all(isinstance(x, plain) for x in (group.get("warmup") or {}).values()), "no object of ours"
    assert isinstance(group["omega"], float)
    warmup = optimizer.param_groups[0]["warmup"]
    has_warmup = warmup is not None
    assert (isinstance(group.get("warmup"), dict)) == (has_warmup and method.saves_its_warmup)
    assert ("warmup" in group) == method.saves_its_warmup, "a warmup of the user's own is left to the constructor"
    assert optimizer.param_groups[0]["warmup"] is warmup, "saving does not change the optimizer"


def test_saving_does_not_tie_the_save_to_the_run_that_goes_on():
    params = parameters()
    optimizer = BY_NAME["radam"].optimizer(params)
    train(optimizer, params, range(1, 4))
    saved = optimizer.state_dict()
    again = BY_NAME["radam"].optimizer([p.detach().clone().requires_grad_() for p in params])
    again.load_state_dict(saved)
    before = copy.deepcopy(saved["state"])
    fresh = again.param_groups[0]["params"]
    train(again, fresh, range(4, 8))
    for key, entry in saved["state"].items():
        assert same_bits(entry.values(), before[key].values()), "loading copies: stepping must not write into the save"


@pytest.mark.parametrize("kind", [int, float, torch.tensor], ids=lambda kind: kind.__name__)
def test_a_step_count_may_be_loaded_as_a_plain_number(kind):
    """As the authors' code and older torch save it; it is a tensor from then on."""
    method = BY_NAME["radam"]
    params = parameters()
    optimizer = method.optimizer(params)
    twins = [method.textbook(numbers(p)) for p in params]
    so_far = race(optimizer, params, twins, range(1, 4))
    saved = optimizer.state_dict()
    for entry in saved["state"].values():
        entry["step"] = kind(entry["step"].item())
    optimizer.load_state_dict(saved)
    saved = optimizer.state_dict()
    assert [float(entry["step"]) for entry in saved["state"].values()] == [3.0] * len(params)
    race(optimizer, params, twins, range(4, 9), so_far=so_far)


def test_a_load_keeps_what_the_save_lacks():
    p = parameters(shapes=((3,),))[0]
    optimizer = BY_NAME["adam"].optimizer([p], warmup=Linear(5), eps_hat=True)
    torchs = torch.optim.Adam([p], lr=0.5)
    p.grad = gradient(p, 0, 1)
    torchs.step()
    optimizer.load_state_dict(copy.deepcopy(torchs.state_dict()))
    group = optimizer.param_groups[0]
    assert (group["lr"], group["warmup"], group["eps_hat"]) == (0.5, Linear(5), True)


def test_a_users_warmup_stays_the_constructors_through_a_load():
    method = BY_NAME["adam+own"]
    params = parameters()
    optimizer = method.optimizer(params)
    train(optimizer, params, [1])
    own = optimizer.param_groups[0]["warmup"]
    optimizer.load_state_dict(optimizer.state_dict())
    assert optimizer.param_groups[0]["warmup"] is own


def test_a_saved_warmup_replaces_the_constructors():
    params = parameters()
    saved = BY_NAME["adam+linear"].optimizer(params).state_dict()
    optimizer = BY_NAME["adam"].optimizer(params, warmup=Linear(99))
    optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["warmup"] == Linear(7)


def test_neither_a_pickle_nor_a_copy_holds_the_plan():
    params = parameters()
    optimizer = BY_NAME["radam"].optimizer(params)
    train(optimizer, params, range(1, 3))
    for again in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert optimizer._plans
        assert not again._plans
    optimizer.load_state_dict(optimizer.state_dict())
    assert not optimizer._plans


@pytest.mark.parametrize("other", [torch.optim.SGD, torch.optim.Adagrad], ids=lambda kind: kind.__name__)
def test_another_optimizers_state_is_refused_and_nothing_changed(other):
    p = torch.nn.Parameter(torch.ones(3))
    theirs, ours = other([p], lr=0.1, **({"momentum": 0.9} if other is torch.optim.SGD else {})), rectified.Adam([p])
    for optimizer in (theirs, ours):
        p.grad = torch.ones(3)
        optimizer.step()
    with pytest.raises(ValueError, match="not all of step, exp_avg and exp_avg_sq"):
        ours.load_state_dict(theirs.state_dict())
    assert ours.state[p]["step"] == 1
