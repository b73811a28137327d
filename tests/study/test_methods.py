"""Methods by name: what they build, and what is refused before anything runs."""

import pytest
import torch

import rectified
from rectified.study.ablation import Unrectified
from rectified.study.methods import known, parse, parse_list
from rectified.warmup import Hold, Linear, Rectified, UntunedExponential, UntunedLinear


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("adam", rectified.Adam, {"warmup": None, "weight_decay": 0}),
        ("adamw", rectified.AdamW, {"decoupled_weight_decay": True}),
        ("sgd", torch.optim.SGD, {"momentum": 0.9}),
        ("radam", rectified.RAdam, {"warmup": Rectified("first", 5.0, "momentum"), "eps_hat": True}),
        ("radam-paper", rectified.RAdam, {"warmup": Rectified("first", 4.0, "momentum")}),
        ("radam-exact", rectified.RAdam, {"warmup": Rectified("exact", 2.0, "momentum")}),
        ("radam-hold", rectified.RAdam, {"warmup": Rectified("first", 5.0, "hold")}),
        ("radam-4hold", rectified.RAdam, {"warmup": Rectified("first", 4.0, "hold"), "eps_hat": True}),
        ("radam-4adam", rectified.Adam, {"warmup": Unrectified(1, 4), "eps_hat": True}),
        ("radam-4momentum-4adam", rectified.Adam, {"warmup": Unrectified(5, 8), "eps_hat": True}),
        ("adam-2k", rectified.Adam, {"warmup": Hold(2000)}),
        ("adam-eps", rectified.Adam, {"eps": 1e-4, "eps_hat": True, "warmup": None}),
        ("adam+untuned-linear", rectified.Adam, {"warmup": UntunedLinear()}),
        ("adam+untuned-exponential", rectified.Adam, {"warmup": UntunedExponential()}),
        ("adam+linear-500", rectified.Adam, {"warmup": Linear(500)}),
        ("adam+hold-7", rectified.Adam, {"warmup": Hold(7)}),
        ("adamw+linear-3", rectified.AdamW, {"warmup": Linear(3), "decoupled_weight_decay": True}),
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
