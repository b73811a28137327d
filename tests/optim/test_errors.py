"""What is refused: each error names the value, the range and the way out, and leaves the optimizer as it was."""

import copy
import math
import re
import warnings
from dataclasses import dataclass

import pytest
import torch

from messages import says
from rectified import Adam, AdamW, RAdam
from rectified.warmup import Linear, Rectified, SecondMomentOnly
from roster import OwnMomentum
from trajectories import numbers, parameters, set_gradients, train

NAN = math.nan


@dataclass(frozen=True)
class Spoilt:
    """A warmup that is fine until t = at, and then says something else."""

    value: float
    at: int = 3
    start: str = "hold"

    def omega(self, t, beta2):
        return self.value if t == self.at else 1.0


# options -> what the message must contain
REFUSED = [
    ({"lr": -0.1}, ["learning rate", "-0.1", "0 or more"]),
    ({"lr": NAN}, ["learning rate", "nan", "0 or more"]),
    ({"lr": torch.tensor(-2.0)}, ["learning rate", "-2", "0 or more"]),
    ({"lr": torch.ones(2)}, ["1-element", "2"]),
    ({"eps": -1e-8}, ["epsilon", "-1e-08", "0 or more"]),
    ({"eps": NAN}, ["epsilon", "nan"]),
    ({"betas": (1.0, 0.999)}, ["index 0", "1.0", "[0, 1)"]),
    ({"betas": (-0.1, 0.999)}, ["index 0", "-0.1", "[0, 1)"]),
    ({"betas": (0.9, 1.0)}, ["index 1", "1.0", "[0, 1)"]),
    ({"betas": (0.9, NAN)}, ["index 1", "nan", "[0, 1)"]),
    ({"betas": (0.9, 0.99, 0.999)}, ["betas", "(0.9, 0.99, 0.999)", "two"]),
    ({"weight_decay": -0.01}, ["weight_decay", "-0.01", "0 or more"]),
    ({"warmup": Rectified(), "betas": (0.9, 0.5)}, ["0.5", "3", "threshold 5", "above 0.6667", "variance='exact'"]),
    ({"warmup": Rectified(threshold=4), "betas": (0.9, 0.6)}, ["0.6", "threshold 4", "above 0.6", "UntunedLinear"]),
    ({"warmup": Rectified("exact"), "betas": (0.9, 0.3)}, ["0.3", "threshold 2", "above 0.3333", "UntunedLinear"]),
    ({"warmup": Spoilt(1.0, start="sleep")}, ["start", "'sleep'", "'momentum'", "'hold'"]),
]
IN_A_GROUP = [
    ({"start": "hold"}, ["start", "warmup=Rectified(start='hold')"]),
    ({"threshold": 4}, ["threshold", "warmup=Rectified(threshold=4)"]),
]
NOT_A_WARMUP = [0.5, "linear", Rectified]


def trained(kind=Adam, **options):
    params = parameters()
    optimizer = kind(params, lr=0.01, **options)
    train(optimizer, params, range(1, 4))
    return optimizer, params


def picture(optimizer):
    """All that must stay as it was, by value."""
    state = copy.deepcopy(optimizer.state_dict())
    everything = [copy.deepcopy(optimizer.param_groups), optimizer.defaults, state["param_groups"]]
    values = [x.tolist() for entry in state["state"].values() for x in entry.values()]
    return repr(everything), values, [p.tolist() for p in optimizer.param_groups[0]["params"]]


@pytest.mark.parametrize(("options", "fragments"), REFUSED, ids=lambda x: str(x) if isinstance(x, dict) else "")
def test_the_constructor_refuses(options, fragments):
    with pytest.raises(ValueError, match=says(fragments)):
        Adam(parameters(), **options)


@pytest.mark.parametrize(
    ("options", "fragments"), REFUSED + IN_A_GROUP, ids=lambda x: str(x) if isinstance(x, dict) else ""
)
def test_add_param_group_refuses_and_changes_nothing(options, fragments):
    optimizer, _ = trained()
    before = picture(optimizer)
    with pytest.raises(ValueError, match=says(fragments)):
        optimizer.add_param_group({"params": parameters(), **options})
    assert picture(optimizer) == before


@pytest.mark.parametrize(("options", "fragments"), REFUSED, ids=lambda x: str(x) if isinstance(x, dict) else "")
def test_a_load_refuses_and_changes_nothing(options, fragments):
    optimizer, params = trained()
    before = picture(optimizer)
    saved = copy.deepcopy(optimizer.state_dict())
    for entry in saved["state"].values():
        entry["exp_avg"].fill_(9)
    saved["param_groups"][0].update(options)
    with pytest.raises(ValueError, match=says(fragments)):
        optimizer.load_state_dict(saved)
    assert picture(optimizer) == before
    train(optimizer, params, [4])


@pytest.mark.parametrize("plain", [{"name": "Sudden"}, {"name": "Linear", "length": 4}, {}], ids=str)
def test_a_load_refuses_a_warmup_it_does_not_know(plain):
    optimizer, _ = trained()
    before = picture(optimizer)
    saved = copy.deepcopy(optimizer.state_dict())
    saved["param_groups"][0]["warmup"] = plain
    with pytest.raises(ValueError, match=says(["saved warmup", repr(plain), "Linear", "Rectified"])):
        optimizer.load_state_dict(saved)
    assert picture(optimizer) == before


@pytest.mark.parametrize("warmup", NOT_A_WARMUP, ids=str)
def test_what_has_no_omega_is_no_warmup(warmup):
    with pytest.raises(TypeError, match=says(["warmup is", "omega(t, beta2)", "Rectified()"])):
        Adam(parameters(), warmup=warmup)


@pytest.mark.parametrize(
    ("make", "fragments"),
    [
        (lambda: Rectified(variance="second"), ["variance", "'second'", "'first-order'", "'exact'"]),
        (lambda: Rectified(start="jump"), ["start", "'jump'", "'momentum'", "'hold'"]),
        (lambda: Rectified(threshold=3.99), ["threshold", "3.99", "at least 4"]),
        (lambda: Rectified("exact", threshold=1.99), ["threshold", "1.99", "at least 2"]),
        (lambda: Rectified(threshold=math.inf), ["threshold", "inf"]),
        (lambda: Rectified(threshold=NAN), ["threshold", "nan"]),
        (lambda: RAdam(parameters(), variance="second"), ["variance", "'second'"]),
        (lambda: RAdam(parameters(), start="jump"), ["start", "'jump'"]),
        (lambda: RAdam(parameters(), threshold=3), ["threshold", "3", "at least 4"]),
        (lambda: RAdam(parameters(), betas=(0.9, 0.66)), ["0.66", "above 0.6667", "variance='exact'"]),
        (lambda: Linear(0), ["steps", "0", "at least 1"]),
        (lambda: Linear(NAN), ["steps", "nan"]),
        (lambda: SecondMomentOnly(-1), ["steps", "-1", "0 or more"]),
    ],
)
def test_a_rectifier_refuses_what_it_cannot_mean(make, fragments):
    with pytest.raises(ValueError, match=says(fragments)):
        make()


@pytest.mark.parametrize(
    ("options", "least"), [({}, 2 / 3), ({"threshold": 4}, 0.6), ({"variance": "exact"}, 1 / 3)], ids=str
)
def test_the_refused_beta2_end_where_rho_inf_meets_the_threshold(options, least):
    RAdam(parameters(), betas=(0.9, least + 1e-6), **options)
    with pytest.raises(ValueError, match="never leave its start"):
        RAdam(parameters(), betas=(0.9, least - 1e-6), **options)


def test_adam_takes_betas_of_zero():
    params = parameters()
    train(Adam(params, betas=(0.0, 0.0)), params, range(1, 4))
    assert all(torch.isfinite(p).all() for p in params)


def constructed(**options):
    return lambda kind: kind(parameters(), **options)


def loaded(*shapes):
    """Of a model with these parameters, into one that has others."""
    return lambda kind: kind(parameters()).load_state_dict(kind(parameters(shapes=shapes)).state_dict())


def added_twice(kind):
    params = parameters()
    kind(params).add_param_group({"params": params})


LIKE_TORCHS = {
    "lr below 0": constructed(lr=-0.1),
    "lr that is no number": constructed(lr=NAN),
    "tensor lr below 0": constructed(lr=torch.tensor(-2.0)),
    "tensor lr of two elements": constructed(lr=torch.ones(2)),
    "eps": constructed(eps=-1e-8),
    "beta1": constructed(betas=(1.0, 0.999)),
    "beta2": constructed(betas=(0.9, -0.1)),
    "tensor betas": constructed(betas=(torch.tensor(1.0), torch.tensor(0.999))),
    "weight_decay": constructed(weight_decay=-0.01),
    "fused and foreach": constructed(fused=True, foreach=True),
    "fused and differentiable": constructed(fused=True, differentiable=True),
    "a parameter itself": lambda kind: kind(parameters()[0]),
    "no parameters": lambda kind: kind([]),
    "no tensor": lambda kind: kind([1.0]),
    "no leaf": lambda kind: kind([2 * parameters()[0]]),
    "a set": lambda kind: kind([{"params": set(parameters())}]),
    "half of them named": lambda kind: kind([("name", parameters()[0]), parameters()[1]]),
    "no group": lambda kind: kind(parameters()).add_param_group(parameters()),
    "in two groups": added_twice,
    "a save with fewer parameters": loaded((3, 4)),
}


@pytest.mark.parametrize("kind", [Adam, AdamW, RAdam], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("bad_call", LIKE_TORCHS.values(), ids=LIKE_TORCHS.keys())
def test_the_message_contains_torchs(bad_call, kind):
    """So that code which matches torch's words goes on working. (torch's RAdam has no fused: there it is AdamW's.)"""
    theirs = getattr(torch.optim, kind.__name__)
    if kind is RAdam and bad_call in (LIKE_TORCHS["fused and foreach"], LIKE_TORCHS["fused and differentiable"]):
        theirs = torch.optim.AdamW
    with pytest.raises((ValueError, TypeError, RuntimeError)) as torchs:
        bad_call(theirs)
    with pytest.raises(torchs.type, match=re.escape(str(torchs.value))):
        bad_call(kind)


@pytest.mark.parametrize("kind", [Adam, AdamW, RAdam], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("capturable", [False, True])
def test_a_graph_is_not_captured_with_the_count_on_the_host(kind, capturable, monkeypatch):
    """torch.optim.Adam's words; without the check every replay would be the captured step."""
    optimizer, params = trained(kind, capturable=capturable)
    before = picture(optimizer)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    if capturable:
        train(optimizer, params, [4])
        return
    words = (
        f"Attempting CUDA graph capture of step() for an instance of {kind.__name__} but param_groups' capturable is "
    )
    with pytest.raises(RuntimeError, match=says([words + "False.", "set capturable=True"])):
        train(optimizer, params, [4])
    assert picture(optimizer) == before


@pytest.mark.parametrize("late", [False, True], ids=["from the first", "once the plan is made"])
def test_a_sparse_gradient_is_refused_and_nothing_moves(late):
    params = parameters(shapes=((4,), (5, 2)))
    optimizer = AdamW(params)
    if late:
        train(optimizer, params, range(1, 4))
    set_gradients(params, 4)
    params[1].grad = params[1].grad.to_sparse()
    before = [p.detach().clone() for p in params]
    torchs = "Adam does not support sparse gradients, please consider SparseAdam instead"
    with pytest.raises(RuntimeError, match=says(["parameter 1", "(5, 2)", torchs, "dense"])):
        optimizer.step()
    assert all(torch.equal(p, x) for p, x in zip(params, before, strict=True))
    for entry in optimizer.state_dict()["state"].values():
        assert entry["step"] == 3 * late
        assert "exp_avg" in entry, "half an entry: torch.optim would load it and raise KeyError"


@pytest.mark.parametrize("path", [{}, {"foreach": True}], ids=["fused", "foreach"])
@pytest.mark.parametrize("value", [NAN, -0.1, 1.5, math.inf, -math.inf], ids=str)
def test_an_omega_that_means_nothing_names_t_and_nothing_moves(value, path):
    good, bad = parameters(), parameters(seed=1)
    groups = [{"params": good}, {"params": bad, "warmup": Spoilt(value)}]
    optimizer = Adam(groups, weight_decay=0.1, **path)
    train(optimizer, good + bad, range(1, 3))
    before, state = picture(optimizer), [numbers(p) for p in bad]
    set_gradients(good + bad, 3)
    with pytest.raises(ValueError, match=says(["t = 3", str(value), "Spoilt"])):
        optimizer.step()
    assert picture(optimizer) == before
    assert all((numbers(p) == x).all() for p, x in zip(bad, state, strict=True))


def test_a_parameter_resized_after_it_stepped_is_refused_by_name():
    p = parameters(shapes=((3,),))[0]
    optimizer = Adam([p])
    train(optimizer, [p], [1])
    p.grad = None
    p.data = torch.ones(4, dtype=torch.float64)
    p.grad = torch.ones_like(p)
    with pytest.raises(RuntimeError, match=says(["parameter 0", "(4,)", "(3,)", "del optimizer.state[parameter]"])):
        optimizer.step()
    del optimizer.state[p]
    optimizer.step()
    assert (p != 1).all()


def huge(kind=RAdam, scale=1e3, hooked=False, **options):
    params = parameters(torch.float32)
    optimizer = kind(params, **options)
    if hooked:
        optimizer.register_step_pre_hook(lambda *_: None)
    set_gradients(params, 1, scale=scale)
    return optimizer, params


@pytest.mark.parametrize("hooked", [False, True])
def test_a_huge_momentum_start_warns_once_with_the_ratio_and_the_way_out(hooked):
    optimizer, params = huge(hooked=hooked)
    moved = 1e-3 * sum(float(p.grad.square().sum()) for p in params) ** 0.5
    weights = sum(float(p.detach().square().sum()) for p in params) ** 0.5
    with pytest.warns(UserWarning, match="start='hold'") as told:
        optimizer.step()
    (warning,) = told
    assert f"{moved / weights:.2g} times" in str(warning.message)
    assert warning.filename == __file__, "it points at the line that called step()"
    train(optimizer, params, range(2, 9), scale=1e3)  # any further warning is an error here
    late = parameters(torch.float32, seed=1)
    optimizer.add_param_group({"params": late})
    train(optimizer, late, range(1, 3), scale=1e3)


def test_a_momentum_start_that_is_delayed_warns_when_it_comes():
    optimizer, params = huge(kind=Adam, warmup=OwnMomentum())
    train(optimizer, params, [1, 2], scale=1e3)  # v alone
    set_gradients(params, 3, scale=1e3)
    moved = 1e-3 * sum(float(p.grad.square().sum()) for p in params) ** 0.5
    before = [p.detach().clone() for p in params]
    weights = sum(float(x.square().sum()) for x in before) ** 0.5
    with pytest.warns(UserWarning, match="start='hold'") as told:
        optimizer.step()
    assert f"{moved / weights:.2g} times" in str(told[0].message)
    really = sum(float((p.detach() - x).square().sum()) for p, x in zip(params, before, strict=True)) ** 0.5
    assert really == pytest.approx(moved, rel=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: huge(start="hold"),
        lambda: huge(scale=1.0),
        lambda: huge(lr=1e-7),
        lambda: huge(kind=Adam),
        lambda: huge(kind=Adam, warmup=SecondMomentOnly(3)),
    ],
    ids=["hold", "ordinary gradients", "small lr", "adam", "adam-2k"],
)
def test_no_other_start_warns(make):
    optimizer, _ = make()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()
