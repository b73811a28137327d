"""Methods by name: what they build, and what is refused before anything runs."""

import pytest
import pytorch_optimizer
import schedulefree
import torch

import rectified
from rectified import optim
from rectified.study.config.ablation import Unrectified
from rectified.study.config.methods import known, parse, parse_list
from rectified.warmup import Linear, Rectified, SecondMomentOnly, UntunedExponential, UntunedLinear


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("adam", rectified.Adam, {"warmup": None, "weight_decay": 0}),
        ("adamw", rectified.AdamW, {"decoupled_weight_decay": True}),
        ("sgd", torch.optim.SGD, {"momentum": 0.9}),
        ("radam", rectified.RAdam, {"warmup": Rectified("first-order", 5.0, "momentum"), "eps_hat": True}),
        ("radam-paper", rectified.RAdam, {"warmup": Rectified("first-order", 4.0, "momentum")}),
        ("radam-exact", rectified.RAdam, {"warmup": Rectified("exact", 2.0, "momentum")}),
        ("radam-hold", rectified.RAdam, {"warmup": Rectified("first-order", 5.0, "hold")}),
        ("radam-4hold", rectified.RAdam, {"warmup": Rectified("first-order", 4.0, "hold"), "eps_hat": True}),
        ("radam-4adam", rectified.Adam, {"warmup": Unrectified(1, 4), "eps_hat": True}),
        ("radam-4momentum-4adam", rectified.Adam, {"warmup": Unrectified(5, 8), "eps_hat": True}),
        ("adam-2k", rectified.Adam, {"warmup": SecondMomentOnly(2000)}),
        ("adam-eps", rectified.Adam, {"eps": 1e-4, "eps_hat": True, "warmup": None}),
        ("adam+untuned-linear", rectified.Adam, {"warmup": UntunedLinear()}),
        ("adam+untuned-exponential", rectified.Adam, {"warmup": UntunedExponential()}),
        ("adam+linear-500", rectified.Adam, {"warmup": Linear(500)}),
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
    assert method.around == UntunedLinear()
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
        parse_list("adam,torch.optim.LBFGS")


def test_a_keyword_that_another_would_swallow_is_refused():
    with pytest.raises(
        ValueError, match=r"'pytorch_optimizer.AdaBound\(gama=1\)': AdaBound makes nothing of 'gama'; it .*gamma"
    ):
        parse("pytorch_optimizer.AdaBound(gama=1)")
    assert parse("pytorch_optimizer.Lion+linear-9(foreach=False)").options == {"foreach": False}


def test_options_before_the_warmup_are_told_their_place():
    with pytest.raises(ValueError, match=r"options stand last, as in adam\+linear-500\(beta2=0.95\)"):
        parse("torch.optim.Adam(amsgrad=True)+linear-9")


def test_trying_out_draws_no_random_number():
    torch.manual_seed(1)
    parse_list("schedulefree.AdamWScheduleFree,pytorch_optimizer.AdaBound")
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
        ("adamm", "unknown method 'adamm'; there are adam, "),
        ("radam+linear-5", "unknown method"),
        ("adam+linear", "unknown method"),
        ("adam+untuned-linear-5", "unknown method"),
        ("cocob+linear-5", "unknown method"),
        ("adam-eps+linear-5", "unknown method"),
        ("cocob(lr=0.1)", "COCOB takes no lr"),
        ("nowhere.Adam", "No module named 'nowhere'; install"),
        ("torch.optim.Adamm", "torch.optim has no Adamm"),
        ("torch.nn.Linear", "no torch.optim.Optimizer"),
        ("torch.optim.Adagrad+rectified", "a sum that grows for ever"),
        ("torch.optim.SGD+untuned-linear", "pass beta2="),
        ("torch.optim.Adam(colour=3)", "unexpected keyword argument 'colour'"),
        ("adam+linear-0", "Linear needs at least 1"),
        ("adam(0.1)", "write options as name=value"),
        ("adam(lr=", "unknown method"),
        ("adam(lr=x)", "method 'adam(lr=x)'"),
        ("adam(lr=-1)", "Invalid learning rate: -1"),
        ("adam(colour=3)", "unexpected keyword argument 'colour'"),
        ("radam(beta2=0.5)", "never leave its start"),
        ("adam(__import__('os').system('true'))", "name=value"),
    ],
)
def test_a_wrong_method_is_refused_with_the_reason(text, says):
    with pytest.raises(ValueError, match="method") as error:
        parse(text)
    assert says in str(error.value)


def test_omega_of_an_optimizer_without_warmup_is_one():
    assert parse("sgd").omegas([1, 100]) == parse("adam").omegas([1, 100]) == [1.0, 1.0]
    assert parse("radam").omegas([5, 6]) == [0.0, rectified.theory.rectification(6, 0.999)]


def test_the_list_keeps_commas_in_parentheses():
    names = [method.name for method in parse_list("adam(beta1=0.8,beta2=0.9),sgd , radam(lr=0.1)")]
    assert names == ["adam(beta1=0.8,beta2=0.9)", "sgd", "radam(lr=0.1)"]
