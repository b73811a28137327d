"""Methods by name: what they build, and what is refused before anything runs."""

import sys

import pytest
import pytorch_optimizer
import schedulefree
import torch

import rectified
from rectified import optim
from rectified.study.config.ablation import Unrectified
from rectified.study.config.methods import known, parse, read_method
from rectified.warmup import GuardedLinear, Linear, Rectified, SecondMomentOnly, UntunedExponential, UntunedLinear
from rectified.workloads.specs import split


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("adam", rectified.Adam, {"warmup": None, "weight_decay": 0}),
        ("adamw", rectified.AdamW, {"decoupled_weight_decay": True}),
        ("sgd", torch.optim.SGD, {"momentum": 0.9}),
        ("radam", rectified.RAdam, {"warmup": Rectified("first-order", 5.0, "momentum"), "eps_hat": True}),
        ("radam-paper", rectified.RAdam, {"warmup": Rectified("first-order", 4.0, "momentum")}),
        ("radam-exact", rectified.RAdam, {"warmup": Rectified("exact", 2.0, "momentum")}),
        ("radam-ema", rectified.RAdam, {"warmup": Rectified("ema", 2.0, "momentum")}),
        ("radam-hold", rectified.RAdam, {"warmup": Rectified("first-order", 5.0, "hold")}),
        ("radam-4hold", rectified.RAdam, {"warmup": Rectified("first-order", 4.0, "hold"), "eps_hat": True}),
        ("radam-4adam", rectified.Adam, {"warmup": Unrectified(1, 4), "eps_hat": True}),
        ("radam-4momentum-4adam", rectified.Adam, {"warmup": Unrectified(5, 8), "eps_hat": True}),
        ("adam+second-moment-only-2000", rectified.Adam, {"warmup": SecondMomentOnly(2000)}),
        ("adam-eps", rectified.Adam, {"eps": 1e-4, "eps_hat": True, "warmup": None}),
        ("adam+untuned-linear", rectified.Adam, {"warmup": UntunedLinear()}),
        ("adam+untuned-exponential", rectified.Adam, {"warmup": UntunedExponential()}),
        ("adam+linear-500", rectified.Adam, {"warmup": Linear(500)}),
        ("adam+guarded-linear-9", rectified.Adam, {"warmup": GuardedLinear(9)}),
        ("adam+second-moment-only-7", rectified.Adam, {"warmup": SecondMomentOnly(7)}),
        ("adamw+linear-3", rectified.AdamW, {"warmup": Linear(3), "decoupled_weight_decay": True}),
        ("adam+rectified", rectified.Adam, {"warmup": Rectified(), "eps_hat": False}),
        ("rmsprop", rectified.RMSprop, {"warmup": None, "alpha": 0.99}),
        ("rmsprop+rectified(centered=True)", rectified.RMSprop, {"warmup": Rectified(), "centered": True}),
        ("nadam+linear-5(beta2=0.9)", rectified.NAdam, {"warmup": Linear(5), "betas": (0.9, 0.9)}),
        ("adadelta+untuned-linear", rectified.Adadelta, {"warmup": UntunedLinear()}),
        ("lamb+rectified", rectified.LAMB, {"warmup": Rectified()}),
        ("gi-adam", optim.GIAdam, {"warmup": None}),
        ("random-v0-adam(sigma=0.1)", optim.RandomV0Adam, {}),
        ("stable-adamw+linear-5", optim.StableAdamW, {"warmup": Linear(5)}),
        ("sgd-hd(hyper_lr=0.1)", optim.SGDHD, {"hyper_lr": 0.1}),
        ("adam-hd", optim.AdamHD, {"hyper_lr": 1e-7}),
        ("yellowfin", optim.YellowFin, {"window": 20}),
        ("torch.optim.NAdam(betas=(0.9,0.99))", torch.optim.NAdam, {"betas": (0.9, 0.99)}),
        ("torch.optim.Adam(beta2=0.5)", torch.optim.Adam, {"betas": (0.9, 0.5)}),
        ("pytorch_optimizer.AdaBound(gamma=1e-2)", pytorch_optimizer.AdaBound, {"gamma": 1e-2}),
        ("schedulefree.RAdamScheduleFree", schedulefree.RAdamScheduleFree, {"betas": (0.9, 0.999)}),
        ("adam(beta2=0.95,eps=1e-6)", rectified.Adam, {"betas": (0.9, 0.95), "eps": 1e-6}),
        ("radam(weight_decay=0.1, decoupled_weight_decay=True)", rectified.RAdam, {"weight_decay": 0.1}),
    ],
)
def test_a_name_builds_its_optimizer(name, kind, options):
    optimizer = parse(name).build([torch.nn.Parameter(torch.zeros(2))], lr=0.3)
    assert type(optimizer) is kind
    group = optimizer.param_groups[0]
    assert group["lr"] == 0.3
    assert {key: group[key] for key in options} == options


def test_a_warmup_around_anothers_optimizer():
    method = parse("torch.optim.RMSprop+untuned-linear(alpha=0.9)")
    optimizer = method.build([torch.nn.Parameter(torch.zeros(2))], lr=0.3)
    assert isinstance(optimizer.optimizer, torch.optim.RMSprop)
    assert method.warmup == UntunedLinear()
    assert method.omegas([1, 4, 100]) == pytest.approx([0.05, 0.2, 1.0])
    assert method.warm_at() == 19  # 0.05 * 18 is 0.9 less a rounding
    assert parse("torch.optim.NAdam+rectified").omegas([5, 6]) == [0.0, rectified.theory.rectification(6, 0.999)]
    assert not method.same_as(parse("torch.optim.RMSprop(alpha=0.9)"))


def test_weight_decay_of_the_task_is_decoupled_where_that_is_an_option():
    p = [torch.nn.Parameter(torch.zeros(2))]
    for name in ("adam", "radam", "nadam", "torch.optim.NAdam"):
        group = parse(name).build(p, lr=0.1, weight_decay=0.2).param_groups[0]
        assert (group["weight_decay"], group["decoupled_weight_decay"]) == (0.2, True)
    assert parse("torch.optim.Adagrad").build(p, lr=0.1, weight_decay=0.2).param_groups[0]["weight_decay"] == 0.2
    assert parse("adam(weight_decay=0.3)").build(p, lr=0.1, weight_decay=0.2).param_groups[0]["weight_decay"] == 0.3
    parse("schedulefree.SGDScheduleFree").build(p, lr=0.1, weight_decay=0.2)


def test_a_method_without_an_lr_runs_once():
    assert parse("cocob").lr == 1.0
    assert "lr" not in parse("cocob").build([torch.nn.Parameter(torch.zeros(2))], lr=1.0).param_groups[0]


def test_an_optimizer_that_cannot_step_so_is_refused_before_anything_runs():
    with pytest.raises(ValueError, match=r"method 'torch.optim.LBFGS' fails at its first step: .*closure"):
        parse("torch.optim.LBFGS")


def test_a_keyword_that_another_would_swallow_is_refused():
    with pytest.raises(
        ValueError, match=r"'pytorch_optimizer.AdaBound\(gama=1\)': AdaBound does not use 'gama'; it .*gamma"
    ):
        parse("pytorch_optimizer.AdaBound(gama=1)")
    assert parse("pytorch_optimizer.Lion+linear-9(foreach=False)").options == {"foreach": False}


def test_options_before_the_warmup_are_told_their_place():
    with pytest.raises(ValueError, match=r"options go last, as in adam\+linear-500\(beta2=0.95\)"):
        parse("torch.optim.Adam(amsgrad=True)+linear-9")


def test_trying_out_draws_no_random_number():
    torch.manual_seed(1)
    parse("schedulefree.AdamWScheduleFree")
    parse("pytorch_optimizer.AdaBound")
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(1))


def test_every_known_name_parses():
    for name in known():
        assert parse(name.replace("-N", "-10")).name == name.replace("-N", "-10")


def test_an_lr_in_parentheses_is_the_methods_own():
    assert parse("sgd(lr=0.1,momentum=0.5)").lr == 0.1
    assert parse("sgd").lr is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("adamm", "unknown method 'adamm': did you mean adam or "),
        ("qwertz", "unknown method 'qwertz': there are adam, "),
        ("radam+linear-5", "radam has its own first steps"),
        (
            "adam+linear",
            "linear needs a length: steps, as in adam+linear-500, or a fraction of the run, as in adam+linear-10%",
        ),
        ("adam+second-moment-only", "second-moment-only needs a length: steps, as in adam+second-moment-only-500"),
        ("adam+linear-0%", "the warmup's fraction of the run is 0%; it must be above 0% and at most 100%"),
        ("adam+linear-101%", "the warmup's fraction of the run is 101%; it must be above 0% and at most 100%"),
        ("adam+linear-1.5", "linear needs a whole number of steps, or a fraction of the run such as 10%"),
        ("adam-2k", "it is now called adam+second-moment-only-2000"),
        (
            "adam+untuned-linear-5",
            "unknown warmup 'untuned-linear-5'; did you mean untuned-linear, or your own, such as",
        ),
        ("adam+linaer-10%", "unknown warmup 'linaer-10%'; did you mean linear, or"),
        ("adam+zzz", "unknown warmup 'zzz'; use one of untuned-linear, "),
        ("cocob+linear-5", "cocob has its own first steps and takes no warmup"),
        ("adam-eps+linear-5", "adam-eps has its own first steps and takes no warmup"),
        ("cocob(lr=0.1)", "COCOB takes no lr"),
        ("nowhere.Adam", "No module named 'nowhere'; install"),
        ("torch.optim.Adamm", "torch.optim has no Adamm"),
        ("torch.nn.Linear", "not a torch.optim.Optimizer"),
        ("torch.optim.Adagrad+rectified", "a sum that grows forever"),
        ("torch.optim.SGD+untuned-linear", "pass beta2="),
        ("torch.optim.Adam(color=3)", "unexpected keyword argument 'color'"),
        ("adam+linear-0", "Linear needs at least 1"),
        ("adam(0.1)", "write options as name=value"),
        ("adam(lr=", "cannot parse the options 'lr=)'; write name=value"),
        ("adam(lr=x)", "method 'adam(lr=x)'"),
        ("adam(lr=-1)", "lr is -1: a learning rate must be a positive number"),
        ("adam(color=3)", "unexpected keyword argument 'color'"),
        ("radam(beta2=0.5)", "never leave its start"),
        (
            "adam(__import__('os').system('true'))",
            "__import__('os').system('true') is not a plain value; write a number",
        ),
    ],
)
def test_a_wrong_method_is_refused_with_the_reason(text, says):
    with pytest.raises(ValueError, match="method") as error:
        parse(text)
    assert says in str(error.value)


def test_omega_of_an_optimizer_without_warmup_is_one():
    assert parse("sgd").omegas([1, 100]) == parse("adam").omegas([1, 100]) == [1.0, 1.0]
    assert parse("radam").omegas([5, 6]) == [0.0, rectified.theory.rectification(6, 0.999)]


def test_a_list_keeps_commas_in_parentheses():
    names = split("adam(beta1=0.8,beta2=0.9),sgd , radam(lr=0.1)")
    assert names == ["adam(beta1=0.8,beta2=0.9)", "sgd", "radam(lr=0.1)"]


def test_a_part_of_the_run_becomes_steps_once_the_run_is_known():
    method = parse("adam+linear-12.5%(beta2=0.9)")
    assert method.over(2000).warmup == Linear(250)
    assert method.over(2000).name == method.name
    assert parse("adam+second-moment-only-100%").over(30).warmup == SecondMomentOnly(30)
    assert parse("adam+linear-1%").over(7).warmup == Linear(1), "one step at least"
    assert parse("torch.optim.NAdam+linear-10%").over(100).omegas([1, 10]) == pytest.approx([0.1, 1.0])
    with pytest.raises(ValueError, match="its warmup depends on the length of the run"):
        method.build([torch.nn.Parameter(torch.zeros(2))], lr=0.1)


WARMUPS = """
class Cosine:
    def __init__(self, steps, power=1.0):
        self.steps, self.power = steps, power
    def omega(self, t, beta2):
        return min(1.0, t / self.steps) ** self.power

HALF = Cosine(2)
NONE = 3
def boom(): raise RuntimeError("out of luck")
"""


@pytest.fixture
def own_warmups(tmp_path, monkeypatch):
    """A user's module in the current folder."""
    (tmp_path / "own_warmups.py").write_text(WARMUPS)
    (tmp_path / "broken_warmups.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in ("own_warmups", "broken_warmups"):
        sys.modules.pop(name, None)


def test_a_warmup_of_ones_own_from_the_current_folder(own_warmups):
    assert parse("adam+own_warmups.Cosine(100)").omegas([1, 50, 200]) == pytest.approx([0.01, 0.5, 1.0])
    method = parse("torch.optim.NAdam+own_warmups.Cosine(4, power=2)(eps=1e-6)")
    assert method.omegas([2, 4]) == [0.25, 1.0]
    assert method.options == {"eps": 1e-6}
    assert parse("adamw+own_warmups.HALF").omegas([1, 2]) == [0.5, 1.0], "an object is a warmup as it is"
    assert read_method("adam+own_warmups.Cosine(100)") is None, "a folder's name runs nobody's code"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("adam+own_warmups.Sine(100)", "own_warmups has no Sine"),
        ("adam+own_warmups.Cosine", "own_warmups.Cosine does not make a warmup: "),
        ("adam+own_warmups.Cosine(a=1)", "own_warmups.Cosine does not make a warmup: "),
        ("adam+own_warmups.NONE", "own_warmups.NONE does not make a warmup: "),
        (
            "adam+own_warmups.boom()",
            "own_warmups.boom does not make a warmup: own_warmups.py, line 10: RuntimeError: out of luck",
        ),
        (
            "adam+broken_warmups.Cosine(1)",
            "broken_warmups cannot be imported: broken_warmups.py, line 1: SystemExit: 3",
        ),
        ("adam+nowhere.Cosine(1)", "No module named 'nowhere'; install its package or correct the name"),
        ("radam+own_warmups.Cosine(1)", "radam has its own first steps"),
    ],
)
def test_a_warmup_that_is_none_is_refused_in_a_line(own_warmups, text, says):
    with pytest.raises(ValueError, match="method") as error:
        parse(text)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["from-the-future", "adam+sine-3", "somewhere.Adam", "radam(speed=3)"])
def test_a_name_in_a_folder_that_this_version_does_not_know_is_none(name):
    assert read_method(name) is None


def test_a_name_in_a_folder_of_an_earlier_version_is_what_it_was():
    method = read_method("adam-2k")
    assert (method.name, method.warmup) == ("adam-2k", SecondMomentOnly(2000))
